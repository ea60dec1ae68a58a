import assert from "node:assert/strict";
import { test } from "node:test";
import { requireSeen } from "./lineage-seen.ts";
import { isTree, loadParser, parseSql, Unsupported } from "./parse.ts";

test("a node no handler looked at is refused, wherever it is", async () => {
  await loadParser(18);
  const parsed = parseSql("SELECT a FROM t WHERE lower(b) = (SELECT c)", 1000, 18);
  assert.ok(!("unclassified" in parsed));
  const body = parsed.statements[0]?.body;
  assert.ok(body);
  const nodes: object[] = [];
  const collect = (at: unknown): void => {
    if (Array.isArray(at)) at.forEach(collect);
    else if (isTree(at))
      for (const [key, value] of Object.entries(at)) {
        if (/^[A-Z]/.test(key) && isTree(value) && key !== "String" && key !== "A_Star")
          nodes.push(value);
        collect(value);
      }
  };
  collect(body);
  assert.ok(nodes.length >= 8);
  requireSeen({ seen: new Set(nodes) }, body);
  for (const missing of nodes) {
    const seen = new Set(nodes);
    seen.delete(missing);
    assert.throws(() => requireSeen({ seen }, body), Unsupported);
  }
});
