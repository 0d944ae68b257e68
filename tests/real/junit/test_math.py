"""Tests for pytest to run, some to fail."""
import pytest


def test_adds():
    assert 1 + 2 == 3


def test_fails():
    assert 1 + 2 == 4, "sum <is> wrong"


def test_throws():
    raise RuntimeError("boom")


@pytest.mark.skip(reason="no database")
def test_skipped():
    pass


@pytest.mark.xfail
def test_xfail():
    assert False


@pytest.mark.xfail
def test_xpass():
    pass


@pytest.mark.xfail(strict=True)
def test_xpass_strict():
    pass


@pytest.mark.parametrize("a,b,c", [(1, 2, 3), (1, 2, 4), (5, 5, 10)])
def test_sum(a, b, c):
    assert a + b == c


@pytest.fixture
def broken():
    raise OSError("no setup")


@pytest.fixture
def breaks():
    yield
    raise OSError("no teardown")


def test_setup(broken):
    pass


def test_teardown(breaks):
    pass


def test_both(breaks):
    assert False


class TestClass:
    def test_adds(self):
        print("\x07 ]]> <testcase name='no'/>")
