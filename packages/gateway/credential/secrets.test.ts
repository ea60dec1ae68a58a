import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { GatewayError } from "../base/errors.ts";
import type { SecretReference } from "./reference.ts";
import { parseSecretReference } from "./reference-text.ts";
import { createSealKey, createSecretResolver, sealSecret } from "./secrets.ts";

const root = mkdtempSync(join(tmpdir(), "custody-secrets-"));
after(() => rmSync(root, { recursive: true }));

const resolve = createSecretResolver({
  dataDirectory: root,
  environment: { GIVEN: "from the environment", EMPTY: "", OTHER: "x", PATH: process.env.PATH },
  timeoutMs: 2000,
});

function script(name: string, body: string): SecretReference {
  const path = join(root, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o700 });
  return { from: "exec", command: [path, "an argument; with $(shell) characters"] };
}

async function refused(reference: SecretReference, message: RegExp): Promise<void> {
  await assert.rejects(resolve(reference), (error: unknown) => {
    assert.ok(error instanceof GatewayError);
    assert.equal(error.code, "dependency_unavailable");
    assert.match(error.message, message);
    return true;
  });
}

test("an environment variable", async () => {
  assert.equal((await resolve({ from: "env", name: "GIVEN" })).reveal(), "from the environment");
  await refused({ from: "env", name: "EMPTY" }, /env:EMPTY is empty or not set/);
  await refused({ from: "env", name: "GONE" }, /env:GONE is empty or not set/);
});

describe("a file", () => {
  const path = join(root, "secret");
  test("its one closing line break is not part of the secret", async () => {
    writeFileSync(path, "two words \n", { mode: 0o600 });
    assert.equal((await resolve({ from: "file", path })).reveal(), "two words ");
  });
  test("that everybody can read is refused, and so is what is no file", async () => {
    chmodSync(path, 0o604);
    await refused({ from: "file", path }, /every user of this machine/);
    await refused({ from: "file", path: root }, /is not a file/);
    await refused({ from: "file", path: join(root, "gone") }, /cannot be opened/);
    writeFileSync(join(root, "long"), "x".repeat(70_000), { mode: 0o600 });
    await refused({ from: "file", path: join(root, "long") }, /longer than 64 KiB/);
  });
});

describe("a program", () => {
  test("gives its output; its arguments reach it as they are", async () => {
    const reference = script("echo", 'printf "%s\\n" "$1"');
    assert.equal((await resolve(reference)).reveal(), "an argument; with $(shell) characters");
  });
  test("does not see the gateway's environment", async () => {
    assert.equal((await resolve(script("env", "env | grep -c OTHER; true"))).reveal(), "0");
  });
  test("that fails, floods or is not there is refused without its output", async () => {
    await refused(script("fails", "echo a-secret; exit 3"), /ended with exit code 3$/);
    await refused(script("floods", "while :; do echo xxxxxxxxxxxxxxxx; done"), /more than 64 KiB/);
    await refused({ from: "exec", command: [join(root, "gone")] }, /cannot be started/);
  });
  test("that takes too long is killed with its children", async () => {
    const quick = createSecretResolver({ dataDirectory: root, environment: {}, timeoutMs: 300 });
    const pidFile = join(root, "pid");
    const reference = script("slow", `/bin/sleep 60 & echo $! > ${pidFile}; wait`);
    await assert.rejects(quick(reference), /no secret in 300 ms/);
    await sleep(200);
    const pid = Number(readFileSync(pidFile, "utf8"));
    assert.ok(
      !existsSync(`/proc/${pid}`) || /\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8")),
    );
  });
});

describe("a sealed secret", () => {
  test("opens with the gateway's key, and with no other", async () => {
    const sealed = await sealSecret(root, "pässword");
    assert.ok(!sealed.includes("pässword"));
    const parsed = parseSecretReference(sealed);
    assert.ok(parsed.ok);
    assert.equal((await resolve(parsed.reference)).reveal(), "pässword");
    assert.equal(statSync(join(root, "keys", "seal.key")).mode & 0o777, 0o600);

    const elsewhere = join(root, "elsewhere");
    mkdirSync(elsewhere);
    await createSealKey(elsewhere);
    const other = createSecretResolver({ dataDirectory: elsewhere, environment: {}, timeoutMs: 1 });
    await assert.rejects(other(parsed.reference), /sealed:… does not open/);
  });
  test("that was changed does not open, and does not show up in the message", async () => {
    const sealed = await sealSecret(root, "password");
    const box = sealed.slice("sealed:".length);
    const changed = `${box.slice(0, -2)}${box.endsWith("AA") ? "BB" : "AA"}`;
    await refused({ from: "sealed", box: changed }, /^the secret sealed:… does not open/);
  });
  test("is never made over an existing key", async () => {
    await assert.rejects(createSealKey(root), /EEXIST/);
  });
});

test("what is no reference is refused without being repeated", () => {
  for (const text of ["hunter2", "", "env:", "env:A B", "file:", "exec: ", "sealed:!", "vault:x"]) {
    const parsed = parseSecretReference(text);
    assert.equal(parsed.ok, false, text);
    if (!parsed.ok && text === "hunter2") assert.ok(!parsed.message.includes("hunter2"));
  }
});
