// A private key as operators keep them: PEM (PKCS #8, PKCS #1, SEC 1), or OpenSSH's own format without a
// passphrase (PROTOCOL.key) for Ed25519 keys.

import { createPrivateKey, type KeyObject } from "node:crypto";
import { SshError } from "@custody/wire/ssh/errors.ts";
import { SshReader } from "@custody/wire/ssh/fields.ts";
import { GatewayError } from "../../base/errors.ts";

const MAGIC = Buffer.from("openssh-key-v1\0", "latin1");
const OPENSSH =
  /^-----BEGIN OPENSSH PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]+)-----END OPENSSH PRIVATE KEY-----\s*$/;

/** Throws GatewayError "dependency_unavailable"; its message never has a part of the key. */
export function parsePrivateKey(text: string): KeyObject {
  const [, body] = OPENSSH.exec(text.trim()) ?? [];
  try {
    if (body === undefined) return createPrivateKey(text);
    return ed25519Of(Buffer.from(body.replaceAll(/\s/g, ""), "base64"));
  } catch (thrown) {
    if (thrown instanceof GatewayError) throw thrown;
    throw unusable(thrown instanceof SshError ? thrown.message : "it cannot be read");
  }
}

function ed25519Of(bytes: Buffer): KeyObject {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw unusable("it cannot be read");
  const outer = new SshReader(bytes.subarray(MAGIC.length));
  if (outer.name() !== "none") throw unusable("it has a passphrase");
  outer.name();
  outer.string();
  if (outer.uint32() !== 1) throw unusable("it holds several keys");
  outer.string();
  const inner = new SshReader(outer.string());
  const check = inner.uint32();
  if (inner.uint32() !== check) throw unusable("it is damaged");
  if (inner.name() !== "ssh-ed25519")
    throw unusable("in OpenSSH's format only Ed25519 is read; ssh-keygen -p -m PKCS8 converts it");
  const x = inner.string();
  const d = inner.string().subarray(0, 32);
  const jwk = {
    kty: "OKP",
    crv: "Ed25519",
    x: x.toString("base64url"),
    d: d.toString("base64url"),
  };
  return createPrivateKey({ key: jwk, format: "jwk" });
}

function unusable(why: string): GatewayError {
  return new GatewayError("dependency_unavailable", `the private key of this account: ${why}`);
}
