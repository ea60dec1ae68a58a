// The gateway's own SSH keys, Ed25519, made at the first start and readable by its user only. Each has
// one purpose, so that a signature made for one can never be taken for another:
//
//   ssh-host.key     proves the gateway to its clients
//   ssh-host-ca.key  signs the certificate of ssh-host.key: what clients' known_hosts name, once
//   ssh-user-ca.key  signs the certificates that clients show to the gateway
//   ssh-target-ca.key signs the certificates that the gateway shows to targets, one a session
//
// Who owns the state: the files in <data>/keys. Reading gives the keys; nothing here signs.

import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { closeSync, fstatSync, mkdirSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { GatewayError } from "../base/errors.ts";
import { writeNewFile } from "../base/new-file.ts";

export interface SshKeys {
  readonly host: KeyObject;
  readonly hostCa: KeyObject;
  readonly userCa: KeyObject;
  readonly targetCa: KeyObject;
}

const FILES = {
  host: "ssh-host.key",
  hostCa: "ssh-host-ca.key",
  userCa: "ssh-user-ca.key",
  targetCa: "ssh-target-ca.key",
} as const satisfies Record<keyof SshKeys, string>;

const MAX_KEY_BYTES = 8 * 1024;

/** Opens the keys of `dataDirectory`, making those that are not there. Throws GatewayError "configuration". */
export function openSshKeys(dataDirectory: string): SshKeys {
  const directory = join(dataDirectory, "keys");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const open = (name: keyof SshKeys) => openKey(join(directory, FILES[name]));
  return {
    host: open("host"),
    hostCa: open("hostCa"),
    userCa: open("userCa"),
    targetCa: open("targetCa"),
  };
}

function openKey(file: string): KeyObject {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return makeKey(file);
    throw new GatewayError("configuration", `${file}: cannot be read`, { cause: thrown });
  }
  try {
    const { mode } = fstatSync(descriptor);
    if ((mode & 0o077) !== 0)
      throw new GatewayError("configuration", `${file} can be read by others`, {
        hint: `chmod 600 ${file}; replace the key if somebody may have read it`,
      });
    const pem = Buffer.alloc(MAX_KEY_BYTES);
    const length = readSync(descriptor, pem, 0, MAX_KEY_BYTES, 0);
    return ed25519(file, pem.subarray(0, length));
  } finally {
    closeSync(descriptor);
  }
}

function ed25519(file: string, pem: Buffer): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (thrown) {
    throw new GatewayError("configuration", `${file}: not a private key in PEM`, { cause: thrown });
  }
  if (key.asymmetricKeyType !== "ed25519")
    throw new GatewayError("configuration", `${file}: expected an Ed25519 key`);
  return key;
}

// What is there and is no key is refused by name: a CA that was made anew unseen would be worse than one that an
// operator has to look at.
function makeKey(file: string): KeyObject {
  const { privateKey } = generateKeyPairSync("ed25519");
  writeNewFile(file, privateKey.export({ type: "pkcs8", format: "pem" }).toString(), 0o600);
  return privateKey;
}
