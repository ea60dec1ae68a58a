import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { lockJournal } from "./journal-lock.ts";

const folder = mkdtempSync(join(tmpdir(), "custody-lock-"));
after(() => rmSync(folder, { recursive: true, force: true }));
mkdirSync(join(folder, "journal"));

const HOLDER = `
  import { lockJournal } from ${JSON.stringify(new URL("./journal-lock.ts", import.meta.url).href)};
  lockJournal(process.argv[1], 1);
  process.stdout.write("locked");
  setInterval(() => undefined, 1000);
`;

test("a journal has one writer, until that one is gone, however it ends", async () => {
  const holder = spawn(process.execPath, ["--input-type=module-typescript", "-e", HOLDER, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(holder.stdout, "data");
    assert.throws(() => lockJournal(folder, 1, 100), { code: "configuration" });
    using other = lockJournal(folder, 2, 100);
    assert.ok(other);
  } finally {
    holder.kill("SIGKILL");
  }
  // It is still there when this begins to wait.
  using mine = lockJournal(folder, 1);
  assert.ok(mine);
  assert.throws(() => lockJournal(folder, 1, 50), { code: "configuration" });
});

test("it is free again when its owner lets go of it", () => {
  lockJournal(folder, 3)[Symbol.dispose]();
  using again = lockJournal(folder, 3, 50);
  assert.ok(again);
});

test("a folder that cannot be written is told as such", () => {
  assert.throws(() => lockJournal(join(folder, "missing"), 1), {
    code: "evidence_unavailable",
    message: /cannot be opened/,
  });
});
