import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { writeNewFile } from "./new-file.ts";

test("a file appears whole, is never written over, and what a killed run has left is no hindrance", () => {
  const directory = mkdtempSync(join(tmpdir(), "custody-new-file-"));
  try {
    const path = join(directory, "one.key");
    writeFileSync(`${path}.new`, "half of something longer", { mode: 0o600 });
    writeNewFile(path, "whole\n", 0o600);
    assert.equal(readFileSync(path, "utf8"), "whole\n");
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.throws(() => writeNewFile(path, "another\n", 0o600), { code: "EEXIST" });
    assert.equal(readFileSync(path, "utf8"), "whole\n");
    assert.throws(() => writeNewFile(join(directory, "none", "x"), "", 0o600), { code: "ENOENT" });
    assert.deepEqual(readdirSync(directory), ["one.key"]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
