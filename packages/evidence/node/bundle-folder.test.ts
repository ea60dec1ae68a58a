// Folders that are no bundle, made by somebody who wants whoever checks them to wait or to fail.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { verifyBundle } from "./bundle-verify.ts";

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function folderWith(make: (folder: string) => void): string {
  const folder = mkdtempSync(join(tmpdir(), "custody-hostile-"));
  folders.push(folder);
  mkdirSync(join(folder, "recordings"));
  for (const name of ["manifest.json", "checkpoint", "records.ndjson"])
    writeFileSync(join(folder, name), "");
  make(folder);
  return folder;
}

async function problemsOf(folder: string): Promise<string> {
  const report = await verifyBundle(folder, { log: [], witnesses: [], quorum: 0 });
  assert.equal(report.ok, false);
  return report.problems.join("\n");
}

const SET = '{\n  "schema": "a",\n  "policies": []\n}\n';

test("nothing is read but plain files: a link to a device or out of the folder, a pipe", async () => {
  const link = folderWith((folder) => {
    rmSync(join(folder, "manifest.json"));
    symlinkSync("/dev/zero", join(folder, "manifest.json"));
  });
  assert.equal(await problemsOf(link), "manifest.json is missing");
  const recording = folderWith((folder) => {
    symlinkSync("/dev/zero", join(folder, "recordings", "s-a.rec"));
    symlinkSync("/etc", join(folder, "policies"));
  });
  // It went past both, and came to what is no manifest.
  assert.equal(await problemsOf(recording), "manifest.json is not written as it must be");
  const pipe = folderWith((folder) => {
    rmSync(join(folder, "checkpoint"));
    execFileSync("mkfifo", [join(folder, "checkpoint")]);
    const exported = { index: 0, leaf: "", proof: [] };
    const about = { format: "custody-evidence/1", scope: { session: "s-a" }, origin: "o" };
    const manifest = { ...about, exported, withheld: {} };
    writeFileSync(join(folder, "manifest.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
  });
  assert.equal(await problemsOf(pipe), "checkpoint is missing");
});

test("more of it than a bundle has is told at once", async () => {
  const large = folderWith((folder) => {
    for (const name of ["s-a", "s-b", "s-c", "s-d", "s-e"]) {
      writeFileSync(join(folder, "recordings", `${name}.rec`), "");
      // Of nothing but a size.
      truncateSync(join(folder, "recordings", `${name}.rec`), 2 ** 30);
    }
  });
  assert.match(await problemsOf(large), /^more than 4294967296 bytes$/);
  const text = folderWith((folder) => truncateSync(join(folder, "manifest.json"), 300 << 20));
  assert.match(await problemsOf(text), /^manifest.json is longer than/);
  const records = folderWith((folder) => {
    const exported = { index: 0, leaf: "", proof: [] };
    const about = { format: "custody-evidence/1", scope: { session: "s-a" }, origin: "o" };
    const manifest = { ...about, exported, withheld: {} };
    writeFileSync(join(folder, "manifest.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
    writeFileSync(join(folder, "records.ndjson"), "{}\n".repeat(200_001));
    mkdirSync(join(folder, "policies"));
    writeFileSync(join(folder, "policies", `${"0".repeat(64)}.json`), SET);
  });
  assert.match(await problemsOf(records), /^records.ndjson: more than 200000 records$/);
});
