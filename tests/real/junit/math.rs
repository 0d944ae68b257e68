//! Tests for libtest to run, some to fail.

#[test]
fn adds() {
    assert_eq!(1 + 2, 3);
}

#[test]
fn fails() {
    assert_eq!(1 + 2, 4, "sum <is> wrong");
}

#[test]
#[should_panic]
fn should_panic() {}

#[test]
#[ignore]
fn ignored() {}

mod inner {
    #[test]
    fn adds() {
        println!("]]> \x07 <testcase name='no'/>");
    }

    #[test]
    fn sum_of_sets() {
        for (a, b, c) in [(1, 2, 3), (5, 5, 10)] {
            assert_eq!(a + b, c);
        }
    }
}
