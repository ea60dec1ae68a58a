import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { formatCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import { ED25519, parseKey, verifyNote } from "@custody/evidence/core/note.ts";
import { makeSigningKey, parseSigningKey } from "@custody/evidence/node/signing-key.ts";
import { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import { loadLogKey, rotateLogKey } from "./log-key.ts";

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0))
    rmSync(directory, { recursive: true, force: true });
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "custody-log-key-"));
  directories.push(directory);
  return directory;
}

const textOf = (origin: string) =>
  formatCheckpoint({ origin, size: 3, root: new Uint8Array(32).fill(7) });

async function accepts(note: string, ...vkeys: string[]): Promise<void> {
  await verifyNote(Buffer.from(note), vkeys.map(parseKey));
}

test("a key is made once, and signs in its own name", async () => {
  const directory = temporary();
  const key = loadLogKey(directory, systemRandom, { origin: "log.example/a" });
  const again = loadLogKey(directory, systemRandom);
  assert.equal(again.vkey, key.vkey);
  rmSync(join(directory, "keys", "log.vkey"));
  loadLogKey(directory, systemRandom);
  assert.equal(readFileSync(join(directory, "keys", "log.vkey"), "utf8").trim(), key.vkey);
  const note = again.sign(textOf("log.example/a"));
  await accepts(note, key.vkey);
  assert.ok(key.isOwn(note));
  assert.ok(!loadLogKey(temporary(), systemRandom).isOwn(note));
  assert.ok(!key.isOwn(note.replace("\n3\n", "\n4\n")));
  assert.equal(statSync(join(directory, "keys", "log.key")).mode & 0o777, 0o600);
  writeFileSync(join(directory, "keys", "log.key"), "PRIVATE+KEY+x+00000000+AA==\n");
  assert.throws(() => loadLogKey(directory, systemRandom), GatewayError);
});

test("an ML-DSA-44 cosignature stands under the Ed25519 one and verifies by itself", async () => {
  const key = loadLogKey(temporary(), systemRandom, { postQuantum: true });
  const note = key.sign(textOf(key.origin));
  await accepts(note, key.vkey, key.mlDsaVkey ?? "");
  await assert.rejects(
    accepts(note.replace("\n3\n", "\n4\n"), key.mlDsaVkey ?? ""),
    /does not verify/,
  );
});

test("after a rotation heads of the key before are ours still, and new ones have the new key", async () => {
  const directory = temporary();
  const before = loadLogKey(directory, systemRandom);
  const old = before.sign(textOf(before.origin));
  for (let round = 0; round < 2; round++) {
    const { vkey, retired } = rotateLogKey(directory, systemRandom);
    const after = loadLogKey(directory, systemRandom);
    assert.equal(after.vkey, vkey);
    assert.notEqual(retired, vkey);
    assert.equal(after.origin, before.origin);
    assert.ok(after.isOwn(old));
    const note = after.sign(textOf(after.origin));
    await accepts(note, vkey);
    assert.ok(!before.isOwn(note));
    assert.equal(readFileSync(join(directory, "keys", "log.vkey"), "utf8").trim(), vkey);
  }
});

test("a command signs in the file's stead; what is not a signature of its key is not used", async () => {
  const directory = temporary();
  const text = makeSigningKey("log.example/kms", ED25519, systemRandom);
  const { vkey } = parseSigningKey(text);
  const seed = Buffer.from(text.split("+").slice(4).join("+"), "base64")
    .subarray(1)
    .toString("hex");
  const count = join(directory, "count");
  // What stands for a KMS: another program that has the key and gives the signature only. Its first answer
  // is a failure, its second a signature of something else.
  const program = `
    import { createPrivateKey, sign } from "node:crypto";
    import { appendFileSync, readFileSync } from "node:fs";
    appendFileSync(${JSON.stringify(count)}, "x");
    const asked = readFileSync(${JSON.stringify(count)}).length;
    if (asked === 1) process.exit(1);
    const der = Buffer.from("302e020100300506032b657004220420${seed}", "hex");
    const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    const input = asked === 2 ? Buffer.from("another") : readFileSync(0);
    process.stdout.write(sign(null, input, key).toString("base64"));
  `;
  const script = join(directory, "sign.mjs");
  writeFileSync(script, program);
  chmodSync(script, 0o700);
  const signer = { command: [process.execPath, script], vkey };
  const key = loadLogKey(directory, systemRandom, { signer });
  assert.equal(key.origin, "log.example/kms");
  await accepts(key.sign(textOf(key.origin)), vkey);
  assert.equal(readFileSync(count, "utf8"), "xxx");
});
