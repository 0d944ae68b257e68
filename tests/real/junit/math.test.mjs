import test, { describe, it } from 'node:test';
import assert from 'node:assert';

test('adds', () => assert.equal(1 + 2, 3));
test('fails', () => assert.equal(1 + 2, 4, 'sum <is> "wrong"'));
test('throws', () => { throw new TypeError('boom'); });
test('skipped', { skip: 'no database' }, () => {});
test('later', { todo: true }, () => {});
test('later, and fails', { todo: true }, () => assert.ok(false));
describe('outer', () => {
  describe('x', () => { it('same', () => {}); });
  describe('y', () => { describe('x', () => { it('same', () => assert.ok(false)); }); });
});
for (const [a, b, c] of [[1, 2, 3], [1, 2, 4], [5, 5, 10]]) {
  test(`sum of ${a} and ${b} is ${c}`, () => assert.equal(a + b, c));
}
