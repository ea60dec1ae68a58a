import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { fileURLToPath } from "node:url";

test("20,000 mutated messages and 200 connections are decoded or refused", () => {
  const program = fileURLToPath(new URL("./decoders.ts", import.meta.url));
  const done = spawnSync(process.execPath, [program, "--runs", "20000", "--seed", "2026"], {
    encoding: "utf8",
    timeout: 120_000,
  });
  assert.equal(done.stdout, "20000 passed, 0 failed, 0 skipped\n", done.stderr);
  assert.equal(done.status, 0);
});
