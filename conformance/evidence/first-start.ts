// The keys and names that a gateway makes at its first start and keeps, opened one after the other. As a
// program: prints `ack name=fingerprint` for each.
//   first-start.ts <data folder>

import { createHash, createPublicKey } from "node:crypto";
import { existsSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@custody/gateway/base/clock.ts";
import { prepareData } from "@custody/gateway/compose/data-folder.ts";
import { caFiles, openAuthority } from "@custody/gateway/config/ca.ts";
import { openClientAuthority } from "@custody/gateway/config/client-authority.ts";
import { createSealKey } from "@custody/gateway/credential/secrets.ts";
import { openSshKeys } from "@custody/gateway/credential/ssh-keys.ts";
import { openSigningKey } from "@custody/gateway/delegation/signing-key.ts";

export async function openFirst(
  directory: string,
  tell: (what: string) => void = () => undefined,
): Promise<void> {
  const say = (name: string, of: string | Buffer): void =>
    tell(`${name}=${createHash("sha256").update(of).digest("hex")}`);
  say("instance", prepareData(directory).instance);
  const keys = openSshKeys(directory);
  for (const [name, key] of Object.entries(keys))
    say(`ssh-${name}`, createPublicKey(key).export({ type: "spki", format: "der" }));
  const nowMs = systemClock.nowMs();
  say("ca", (await openAuthority(caFiles(directory), "Custody gateway CA", nowMs)).certificatePem);
  say("client-ca", (await openClientAuthority(directory, nowMs)).certificatePem);
  say("tokens", (await openSigningKey(join(directory, "keys", "token.key"), systemClock)).kid);
  const seal = join(directory, "keys", "seal.key");
  if (!existsSync(seal)) await createSealKey(directory);
  say("seal", readFileSync(seal));
}

if (process.argv[1] === import.meta.filename) {
  await openFirst(process.argv[2] ?? "", (what) => writeSync(1, `ack ${what}\n`));
}
