import assert from "node:assert/strict";
import { test } from "node:test";
import { actorsOf } from "./actors.ts";

test("nested actors are read oldest first, by the provider that claims them", () => {
  const act = {
    sub: "reviewer",
    act: { sub: "corp2/dba1@example.com", iss: "https://other.test" },
  };
  assert.deepEqual(actorsOf("corp", { act }), {
    ok: true,
    actors: [
      { subject: "corp/corp2/dba1@example.com", name: "asserted corp2_dba1_example.com" },
      { subject: "corp/reviewer", name: "asserted reviewer" },
    ],
  });
  assert.deepEqual(actorsOf("corp", {}), { ok: true, actors: [] });
});

test("a chain that cannot be read whole refuses the token", () => {
  let deep: object = { sub: "x" };
  for (let depth = 0; depth < 20; depth++) deep = { sub: "x", act: deep };
  const acts: unknown[] = [null, "reviewer", [], {}, { sub: "" }, { sub: 7 }, { sub: "a,b" }, deep];
  for (const act of [...acts, { sub: "x", act: { name: "no subject" } }])
    assert.equal(actorsOf("corp", { act }).ok, false, JSON.stringify(act));
});
