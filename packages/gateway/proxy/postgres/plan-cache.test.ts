import assert from "node:assert/strict";
import { test } from "node:test";
import type { QueryPlan } from "./plan.ts";
import { createPlanCache, skeletonOf } from "./plan-cache.ts";

test("statements that differ in small whole numbers alone have one skeleton", () => {
  const pairs: [string, string][] = [
    ["select a from t where b = 1", "select a from t where b = 999999999"],
    ["SELECT a FROM t WHERE b=1;", "SELECT a FROM t WHERE b=22;"],
    ["update t set a = -1 where b in (1,2)", "update t set a = -5 where b in (3,4)"],
    ["insert into t values (1, 2)", "insert into t values (3, 4)"],
    ["select a from t limit 5", "select a from t limit 6"],
  ];
  for (const [one, other] of pairs) {
    assert.notEqual(skeletonOf(one), undefined, one);
    assert.equal(skeletonOf(one), skeletonOf(other));
  }
});

test("what could matter is left to the exact text", () => {
  const exact = [
    "select a, b from t order by 1",
    "select a, count(*) from t group by 1",
    "select distinct a from t where b = 1",
    "select a from t where b = '1'",
    'select "1" from t where a = 1',
    "select 1; select 2",
    "select a -- 1\n from t where b = 2",
    "select a /* 1 */ from t where b = 2",
    "select $1, 2",
    "select e\\'1",
    "select é, 1 from t",
    "set statement_timeout = 1",
    "explain select 1",
    "with x as (select 1) select * from x",
    "select a from t",
  ];
  for (const text of exact) assert.equal(skeletonOf(text), undefined, text);
});

test("numbers inside names, fractions, exponents and large ones stay", () => {
  const differ: [string, string][] = [
    ["select a1 from t where b = 1", "select a2 from t where b = 1"],
    ["select 1.5, 1 from t", "select 1.6, 1 from t"],
    ["select 1e5, 1 from t", "select 1e6, 1 from t"],
    ["select 0x10, 1 from t", "select 0x11, 1 from t"],
    ["select 1234567890, 1 from t", "select 1234567891, 1 from t"],
    ["select 1_000, 1 from t", "select 1_001, 1 from t"],
    ["select t.1, 1 from t", "select t.2, 1 from t"],
  ];
  for (const [one, other] of differ)
    assert.notEqual(skeletonOf(one) ?? one, skeletonOf(other) ?? other);
});

test("a plan found by its skeleton keeps the text that was sent", () => {
  const cache = createPlanCache(1 << 20);
  const operation = { protocol: "postgres", effects: [], touches: [], summary: "" } as const;
  const plan: QueryPlan = {
    text: "select a from t where b = 1",
    epoch: 1,
    statements: [],
    operation,
    plainRead: true,
    refers: [],
  };
  cache.set(plan.text, plan);
  const found = cache.get("select a from t where b = 2");
  assert.equal(found?.text, "select a from t where b = 2");
  assert.equal(found?.operation, operation);
  assert.equal(cache.get("select a from t where c = 2"), undefined);
  cache.clear();
  assert.equal(cache.get(plan.text), undefined);
});

test("the cache is bounded in bytes, the least recently used leaving first", () => {
  const cache = createPlanCache(20_000);
  const operation = { protocol: "postgres", effects: [], touches: [], summary: "" } as const;
  const plan = (text: string): QueryPlan => ({
    text,
    epoch: 1,
    statements: [],
    operation,
    plainRead: true,
    refers: [],
  });
  for (let index = 0; index < 100; index++) {
    const text = `select a${index} from t`;
    cache.set(text, plan(text));
    cache.get("select a0 from t");
  }
  assert.notEqual(cache.get("select a0 from t"), undefined);
  assert.equal(cache.get("select a1 from t"), undefined);
});
