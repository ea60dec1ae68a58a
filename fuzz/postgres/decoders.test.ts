import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { fileURLToPath } from "node:url";

test("30,000 mutated messages are decoded or refused", () => {
  const program = fileURLToPath(new URL("./decoders.ts", import.meta.url));
  const done = spawnSync(process.execPath, [program, "--runs", "30000", "--seed", "2026"], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(done.stdout, "30000 passed, 0 failed, 0 skipped\n", done.stderr);
  assert.equal(done.status, 0);
});
