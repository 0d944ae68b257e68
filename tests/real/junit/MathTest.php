<?php
// Tests for PHPUnit to run, some to fail.
use PHPUnit\Framework\TestCase;

final class MathTest extends TestCase
{
    public function testAdds(): void { $this->assertSame(3, 1 + 2); }
    public function testFails(): void { $this->assertSame(4, 1 + 2, 'sum <is> wrong'); }
    public function testThrows(): void { throw new RuntimeException('boom & bust'); }
    public function testSkipped(): void { $this->markTestSkipped('no database'); }
    public function testIncomplete(): void { $this->markTestIncomplete('later'); }
    public function testRisky(): void { }

    public function testWarns(): void
    {
        $this->addWarning('careful');
        $this->assertTrue(true);
    }

    /** @dataProvider sums */
    public function testSum(int $a, int $b, int $c): void { $this->assertSame($c, $a + $b); }

    public function sums(): array
    {
        return ['one' => [1, 2, 3], 'wrong "named"' => [1, 2, 4], [5, 5, 10]];
    }

    public function testPrints(): void
    {
        echo "hello ]]> <testcase name='no'/> \x07";
        $this->assertTrue(true);
    }
}
