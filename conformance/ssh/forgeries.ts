// Certificates that look like the gateway's and must not sign anybody in: made with ssh-keygen by an
// authority of the attacker's, and by the gateway's own authorities for other purposes.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SshKeys } from "@custody/gateway/credential/ssh-keys.ts";
import { type CertificateFields, signCertificate } from "@custody/wire/ssh/certificate.ts";
import {
  parsePublicKeyLine,
  publicKeyBlob,
  publicKeyLine,
  signBlob,
} from "@custody/wire/ssh/keys.ts";

/** By what is wrong with each: the certificate's file. */
export async function forgeries(
  folder: string,
  keyFile: string,
  keys: SshKeys,
): Promise<Readonly<Record<string, string>>> {
  const publicKey = parsePublicKeyLine(readFileSync(`${keyFile}.pub`, "utf8"));
  const now = BigInt(Math.floor(Date.now() / 1000));
  const like: CertificateFields = {
    ...{ publicKey, nonce: Buffer.alloc(32, 7), serial: 9n, role: "user", keyId: "forged" },
    ...{ principals: ["custody"], validAfter: now - 60n, validBefore: now + 600n },
    criticalOptions: [{ name: "delegation@custody", value: "d-00000000" }],
    extensions: [],
  };
  const made: Record<string, string> = {};
  const add = async (what: string, change: Partial<CertificateFields>, key: keyof SshKeys) => {
    const blob = await signCertificate(
      { ...like, ...change },
      {
        publicKey: publicKeyBlob(keys[key]),
        sign: (data) => signBlob(keys[key], "ssh-ed25519", data),
      },
    );
    made[what] = join(folder, `forged-${Object.keys(made).length}-cert.pub`);
    writeFileSync(made[what], `${publicKeyLine(blob)}\n`);
  };
  await add("a delegation that is not there", {}, "userCa");
  await add("signed by the authority for targets", {}, "targetCa");
  await add("signed by the authority for hosts", {}, "hostCa");
  await add("no delegation named", { criticalOptions: [] }, "userCa");
  await add("expired", { validAfter: 1n, validBefore: now - 1n }, "userCa");
  await add("for another principal", { principals: ["root"] }, "userCa");
  made["an authority of the attacker's"] = stranger(folder, keyFile);
  return made;
}

function stranger(folder: string, keyFile: string): string {
  const authority = join(folder, "stranger");
  const run = (...words: string[]) => {
    const ran = spawnSync("ssh-keygen", words, { encoding: "utf8" });
    if (ran.status !== 0) throw new Error(`ssh-keygen: ${ran.stderr}`);
  };
  run("-q", "-t", "ed25519", "-N", "", "-f", authority);
  const copy = join(folder, "stranger-signed");
  writeFileSync(`${copy}.pub`, readFileSync(`${keyFile}.pub`));
  run(
    ...["-q", "-s", authority, "-I", "forged", "-n", "custody", "-V", "+1h"],
    ...["-O", "critical:delegation@custody=d-00000000", `${copy}.pub`],
  );
  return `${copy}-cert.pub`;
}
