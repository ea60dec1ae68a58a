import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { publicKeyBlob, publicKeyLine } from "@custody/wire/ssh/keys.ts";
import { parsePrivateKey } from "./private-key.ts";

test("PEM of any kind, and OpenSSH's own format as ssh-keygen writes it", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "custody-private-key-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const made = (name: string, ...words: string[]) => {
    const file = join(folder, name);
    const ran = spawnSync("ssh-keygen", ["-q", "-C", "", "-f", file, ...words]);
    assert.equal(ran.status, 0, String(ran.stderr));
    return { text: readFileSync(file, "utf8"), line: readFileSync(`${file}.pub`, "utf8").trim() };
  };
  for (const { text, line } of [
    made("ed25519", "-t", "ed25519", "-N", ""),
    made("rsa", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""),
    made("ecdsa", "-t", "ecdsa", "-m", "PKCS8", "-N", ""),
  ])
    assert.equal(publicKeyLine(publicKeyBlob(parsePrivateKey(text))), line);
  assert.throws(() => parsePrivateKey(made("locked", "-t", "ed25519", "-N", "secret").text), {
    code: "dependency_unavailable",
    message: /passphrase/,
  });
  assert.throws(() => parsePrivateKey(made("old", "-t", "ecdsa", "-N", "").text), {
    message: /ssh-keygen -p -m PKCS8/,
  });
});

test("what is no key is said without a part of it", () => {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  for (const text of ["", "hunter2", pem.slice(0, -60), pem.replace("M", "!")])
    assert.throws(
      () => parsePrivateKey(text),
      (error: Error) =>
        /it cannot be read/.test(error.message) && !/hunter2|MC4/.test(error.message),
    );
});
