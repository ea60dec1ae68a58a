// The key that signs delegations: a PKCS #8 file that only the gateway's user reads. One that has signed for
// long enough is replaced at a start; of the earlier ones the public halves are kept beside it, for the
// tokens that they signed, and forgotten when no such token can live.
//
// Files: `token.key`, and `token.key.<kid>.pem` with when it was replaced as its time of change. Replacing
// writes the public half first: a crash in between leaves a key that signs and is known twice.

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { calculateJwkThumbprint, type JWK } from "jose";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";

export interface VerificationKey {
  readonly publicKey: KeyObject;
  readonly kid: string;
  /** For /jwks. */
  readonly jwk: JWK;
}

export interface SigningKey extends VerificationKey {
  readonly privateKey: KeyObject;
  /** They verify, and sign no more. */
  readonly earlier: readonly VerificationKey[];
}

const DAY_MS = 86_400_000;
export const SIGNS_MS = 90 * DAY_MS;
/** More than any sign-in or delegation lives. */
export const KNOWN_AFTER_MS = 30 * DAY_MS;

/** Reads the key, makes one at the first start, replaces one that is old. */
export async function openSigningKey(file: string, clock: Clock): Promise<SigningKey> {
  const nowMs = clock.nowMs();
  let privateKey = readKey(file) ?? makeKey(file, nowMs);
  if (statSync(file).mtimeMs < nowMs - SIGNS_MS) {
    const old = await verificationKey(createPublicKey(privateKey));
    const pem = old.publicKey.export({ type: "spki", format: "pem" }).toString();
    writeWhole(`${file}.${old.kid}.pem`, pem, nowMs);
    privateKey = makeKey(file, nowMs);
  }
  const current = await verificationKey(createPublicKey(privateKey));
  const earlier = await readEarlier(file, nowMs);
  return { ...current, privateKey, earlier: earlier.filter(({ kid }) => kid !== current.kid) };
}

async function verificationKey(publicKey: KeyObject): Promise<VerificationKey> {
  const { kty = "OKP", crv = "Ed25519", x = "" } = publicKey.export({ format: "jwk" });
  const kid = await calculateJwkThumbprint({ kty, crv, x });
  return { publicKey, kid, jwk: { kty, crv, x, kid, alg: "EdDSA", use: "sig" } };
}

async function readEarlier(file: string, nowMs: number): Promise<readonly VerificationKey[]> {
  const keys: VerificationKey[] = [];
  for (const name of readdirSync(dirname(file)).sort()) {
    if (!name.startsWith(`${basename(file)}.`) || !name.endsWith(".pem")) continue;
    const path = join(dirname(file), name);
    if (statSync(path).mtimeMs < nowMs - KNOWN_AFTER_MS) rmSync(path);
    else keys.push(await verificationKey(readPem(path, createPublicKey)));
  }
  return keys;
}

function readKey(file: string): KeyObject | undefined {
  try {
    return readPem(file, createPrivateKey);
  } catch (thrown) {
    if (Object(Object(thrown).cause).code === "ENOENT") return undefined;
    throw thrown;
  }
}

function readPem(file: string, read: (pem: string) => KeyObject): KeyObject {
  let pem: string;
  try {
    pem = readFileSync(file, "utf8");
  } catch (thrown) {
    throw new GatewayError("configuration", `${file}: cannot be read`, { cause: thrown });
  }
  let key: KeyObject;
  try {
    key = read(pem);
  } catch (thrown) {
    throw new GatewayError("configuration", `${file}: not a key in PEM`, { cause: thrown });
  }
  if (key.asymmetricKeyType !== "ed25519")
    throw new GatewayError("configuration", `${file}: expected an Ed25519 key`);
  return key;
}

function makeKey(file: string, nowMs: number): KeyObject {
  const { privateKey } = generateKeyPairSync("ed25519");
  writeWhole(file, privateKey.export({ type: "pkcs8", format: "pem" }).toString(), nowMs);
  return privateKey;
}

/** Whoever reads sees the old file or the new, whole; its time of change is when it began to count. */
function writeWhole(file: string, text: string, nowMs: number): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.new`;
  rmSync(temporary, { force: true });
  const descriptor = openSync(temporary, "wx", 0o600);
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  utimesSync(temporary, nowMs / 1000, nowMs / 1000);
  renameSync(temporary, file);
}
