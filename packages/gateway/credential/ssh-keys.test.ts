import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { openSshKeys } from "./ssh-keys.ts";

function folder(t: { after(run: () => void): void }): string {
  const made = mkdtempSync(join(tmpdir(), "custody-ssh-keys-"));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

test("four different keys are made once, and read again as they are", (t) => {
  const data = folder(t);
  const first = openSshKeys(data);
  const pem = (key: (typeof first)["host"]) => key.export({ type: "pkcs8", format: "pem" });
  assert.equal(new Set(Object.values(first).map(pem)).size, 4);
  const second = openSshKeys(data);
  for (const name of ["host", "hostCa", "userCa", "targetCa"] as const)
    assert.equal(pem(second[name]), pem(first[name]), name);
  for (const name of readdirSync(join(data, "keys")))
    assert.equal(statSync(join(data, "keys", name)).mode & 0o777, 0o600, name);
});

test("a key that others can read, or that is none, stops the start and is left as it is", (t) => {
  const data = folder(t);
  openSshKeys(data);
  const file = join(data, "keys", "ssh-user-ca.key");
  chmodSync(file, 0o640);
  assert.throws(() => openSshKeys(data), { code: "configuration", message: /read by others/ });
  chmodSync(file, 0o600);
  writeFileSync(file, "");
  assert.throws(() => openSshKeys(data), { code: "configuration", message: /not a private key/ });
  assert.equal(statSync(file).size, 0);
});
