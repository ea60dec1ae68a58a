import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { judgeSetting, mayShow, parseOptions } from "./settings.ts";

const kindOf = (name: string, value: string | undefined, bounds?: ReadonlyMap<string, number>) => {
  const judged = judgeSetting(name, value, bounds);
  return judged.ok ? judged.kind : "refused";
};

test("free settings may be set and reset, by any spelling", () => {
  for (const name of ["DateStyle", "TimeZone", "extra_float_digits", "ENABLE_SEQSCAN", "jit"]) {
    assert.equal(kindOf(name, "x"), "free", name);
    assert.equal(kindOf(name, undefined), "free", name);
  }
});

test("what changes lexing, name resolution or identity is pinned", () => {
  for (const name of ["search_path", "role", "session_authorization", "SEARCH_PATH"]) {
    assert.equal(kindOf(name, "x"), "refused", name);
    assert.equal(kindOf(name, undefined), "refused", name);
  }
  assert.equal(kindOf("standard_conforming_strings", "off"), "refused");
  assert.equal(kindOf("standard_conforming_strings", "on"), "noop");
  assert.equal(kindOf("client_encoding", "GBK"), "refused");
  assert.equal(kindOf("client_encoding", "'utf-8'"), "noop");
  assert.equal(kindOf("client_encoding", "UTF8"), "noop");
  assert.equal(kindOf("session_replication_role", "replica"), "refused");
});

test("an unknown setting is refused", () => {
  fc.assert(
    fc.property(fc.string(), (name) => {
      assert.equal(kindOf(`x.${name}`, "1"), "refused");
    }),
  );
  for (const name of ["local_preload_libraries", "dynamic_library_path", "createrole_self_grant"])
    assert.equal(kindOf(name, "x"), "refused");
});

test("time-outs and read-only may only be tightened", () => {
  const bounds = new Map([
    ["statement_timeout", 60_000],
    ["default_transaction_read_only", 1],
  ]);
  assert.equal(kindOf("statement_timeout", "30s", bounds), "tighten");
  assert.equal(kindOf("statement_timeout", "1min", bounds), "tighten");
  for (const value of ["0", "2min", "60001", "1h", "-1", "x", "1 fortnight"])
    assert.equal(kindOf("statement_timeout", value, bounds), "refused", value);
  assert.equal(kindOf("statement_timeout", undefined, bounds), "tighten");
  assert.equal(kindOf("default_transaction_read_only", "off", bounds), "refused");
  assert.equal(kindOf("default_transaction_read_only", "on", bounds), "tighten");
  assert.equal(kindOf("statement_timeout", "0"), "tighten", "nothing to keep to");
});

test("the gateway's own settings are answered by the gateway", () => {
  assert.equal(kindOf("custody.justification", "because"), "custody");
  assert.equal(kindOf("custody.justification", undefined), "custody");
  assert.equal(kindOf("custody.justification", "x".repeat(501)), "refused");
  assert.equal(kindOf("custody.justification", "two\nlines"), "refused");
  assert.equal(kindOf("custody.other", "x"), "refused");
});

test("a secret of the server's is not shown", () => {
  assert.equal(mayShow("search_path"), true);
  assert.equal(mayShow("Primary_ConnInfo"), false);
  assert.equal(mayShow("app.jwt_secret"), false);
  assert.equal(mayShow("custody.justification"), true);
});

test("startup options are split as PostgreSQL splits them", () => {
  assert.deepEqual(parseOptions("-c a=1 -cb=2 --c-d=3 -c e=x\\ y"), {
    ok: true,
    settings: [
      ["a", "1"],
      ["b", "2"],
      ["c_d", "3"],
      ["e", "x y"],
    ],
  });
  assert.deepEqual(parseOptions("  "), { ok: true, settings: [] });
  for (const odd of ["-f", "-c", "-c a", "--a", "x=1", "-c =1", "-d 5", "-cSearch_Path"])
    assert.equal(parseOptions(odd).ok, false, odd);
});
