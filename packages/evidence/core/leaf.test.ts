// What a leaf looks like, to the byte, and that what is remembered of one is not taken for another.

import assert from "node:assert/strict";
import test from "node:test";
import {
  decodeLeaf,
  encodeLeaf,
  type Leaf,
  type LeafFields,
  type LeafHop,
  leafText,
} from "./leaf.ts";

const CHAIN: readonly LeafHop[] = [
  { d: "d-1", s: "corp/ann", k: "user", p: "attested" },
  { d: "d-2", s: "d-2", k: "agent", p: "possession" },
];
const EFFECTS = ["sql:select orders/shop/public/orders"];
const POLICIES = ["starter.read"];
const INTENT: LeafFields = {
  event: "command.intent",
  session: "s-1",
  request: "r-1-1",
  target: "orders",
  account: "app",
  chain: CHAIN,
  effects: EFFECTS,
  decision: "permit",
  policies: POLICIES,
  policyVersion: "v1",
  command: "c",
  parameters: "p",
  masked: ["pii"],
  outcome: "ok",
  rows: 3,
  bytes: 4,
  detail: { kind: "x" },
};
const TEXT =
  '{"v":1,"event":"command.intent","at":5,"worker":6,"seq":7,"session":"s-1","request":"r-1-1",' +
  '"target":"orders","account":"app","chain":[{"d":"d-1","s":"corp/ann","k":"user","p":"attested"},' +
  '{"d":"d-2","s":"d-2","k":"agent","p":"possession"}],"effects":["sql:select orders/shop/public/orders"],' +
  '"decision":"permit","policies":["starter.read"],"policyVersion":"v1","command":"c","parameters":"p",' +
  '"masked":["pii"],"outcome":"ok","rows":3,"bytes":4,"detail":{"kind":"x"}}';

test("members in the order of the interface, and read back as they were", () => {
  assert.equal(leafText(INTENT, 5, 6, 7), TEXT);
  const leaf = { v: 1, at: 5, worker: 6, seq: 7, ...INTENT } as Leaf;
  assert.deepEqual(decodeLeaf(encodeLeaf(leaf)), leaf);
});

test("what differs from the leaf before, about the same chain and effects, is written", () => {
  assert.equal(leafText(INTENT, 5, 6, 7), TEXT);
  const others: readonly [Partial<LeafFields>, string, string][] = [
    [{ target: "stock" }, '"target":"orders"', '"target":"stock"'],
    [{ account: "admin" }, '"account":"app"', '"account":"admin"'],
    [{ decision: "approved" }, '"decision":"permit"', '"decision":"approved"'],
    [{ policies: ["other"] }, '["starter.read"]', '["other"]'],
    [{ policyVersion: "v2" }, '"v1"', '"v2"'],
    [{ effects: ["none orders"] }, EFFECTS[0]!, "none orders"],
    [{ chain: CHAIN.slice(0, 1) }, ',{"d":"d-2","s":"d-2","k":"agent","p":"possession"}', ""],
    [{ request: 'r-"' }, '"r-1-1"', '"r-\\""'],
  ];
  for (const [change, from, to] of others) {
    assert.equal(
      leafText({ ...INTENT, ...change }, 5, 6, 7),
      TEXT.replace(from, () => to),
    );
    assert.equal(leafText(INTENT, 5, 6, 7), TEXT);
  }
});

test("members that are not there are not written", () => {
  const { policies: _, ...without } = INTENT;
  assert.equal(
    leafText(without, 5, 6, 7),
    TEXT.replace(',"policies":["starter.read"]', () => ""),
  );
  assert.equal(
    leafText({ event: "gateway.started" }, 1, 2, 3),
    '{"v":1,"event":"gateway.started","at":1,"worker":2,"seq":3}',
  );
});
