// The key that a delegation is bound to, on the side of who holds it: a file that CUSTODY_KEY names
// (PKCS #8, Ed25519), and what is signed with it. DPoP proofs (RFC 9449) for each request; a presentation
// for password fields; statements about children (`typ: custody-hop+jwt`), online and offline.

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { readFileSync } from "node:fs";

import { replace } from "./contexts.ts";
import { CliError } from "./faults.ts";

export interface HolderKey {
  readonly privateKey: KeyObject;
  /** The public half. */
  readonly jwk: { readonly kty: string; readonly crv: string; readonly x: string };
}

/** Where a child is put: the delegation that signs it. */
export interface StatedParent {
  readonly id: string;
  readonly root: string;
  readonly depth: number;
  /** The parent's own statement; null: it has none. */
  readonly statement: string | null;
  /** Seconds since the epoch; its children end no later. */
  readonly expiresAt: number;
  /** The same, if it is renewed as far as it may be; undefined: nothing is known of that. */
  readonly renewableUntil?: number | undefined;
}

export interface StatedChild {
  readonly actor: { readonly name: string } | { readonly token_hash: string };
  /** authorization_details. */
  readonly grant: unknown;
  readonly key: HolderKey | undefined;
  readonly ttlSeconds: number;
}

const PRESENTATION_SECONDS = 900;

export function readHolderKey(file: string): HolderKey {
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(readFileSync(file, "utf8"));
  } catch (error) {
    throw new CliError("usage", `${file} is not a private key that can be read`, { cause: error });
  }
  if (privateKey.asymmetricKeyType !== "ed25519")
    throw new CliError("usage", `${file} is not an Ed25519 key`, { hint: "custody key makes one" });
  return keyOf(privateKey);
}

/** A new key, in a file that only this user reads. */
export function makeHolderKey(file: string): HolderKey {
  const { privateKey } = generateKeyPairSync("ed25519");
  replace(file, privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  return keyOf(privateKey);
}

export function proofFor(
  key: HolderKey,
  request: { readonly method: string; readonly url: string; readonly credential?: string },
  nowMs: number,
): string {
  const { method, url, credential } = request;
  const claims = { jti: fresh(), htm: method, htu: url, iat: seconds(nowMs) };
  const ath = credential === undefined ? {} : { ath: digest(credential) };
  return signed(key, { typ: "dpop+jwt", jwk: key.jwk }, { ...claims, ...ath });
}

/** The credential as a password: good for a quarter of an hour, for whoever has it. */
export function presented(
  key: HolderKey,
  credential: string,
  issuer: string,
  nowMs: number,
): string {
  const iat = seconds(nowMs);
  const claims = { aud: issuer, cth: digest(credential), iat, exp: iat + PRESENTATION_SECONDS };
  return `${credential}~${signed(key, { typ: "custody-presentation+jwt" }, claims)}`;
}

export function stateChild(
  key: HolderKey,
  issuer: string,
  parent: StatedParent,
  child: StatedChild,
  nowMs: number,
): string {
  const iat = seconds(nowMs);
  return signed(
    key,
    { typ: "custody-hop+jwt" },
    {
      aud: issuer,
      root: parent.root,
      parent: parent.id,
      parent_hash: parent.statement === null ? null : digest(parent.statement),
      actor: child.actor,
      cnf: child.key === undefined ? null : { jwk: child.key.jwk },
      authorization_details: child.grant,
      depth: parent.depth + 1,
      iat,
      exp: iat + child.ttlSeconds,
      jti: fresh(),
    },
  );
}

/** One vote on one exact request, for the log (evidence/node/vote-statement.ts). */
export function stateVote(
  key: HolderKey,
  vote: {
    readonly hold: string;
    readonly binding: string;
    /** Digest of the command as it was shown. */
    readonly command: string;
    readonly vote: "approve" | "deny";
    readonly delegation: string;
  },
  nowMs: number,
): string {
  const { kty, crv, x } = key.jwk;
  return signed(
    key,
    { typ: "custody-vote+jwt", jwk: { kty, crv, x } },
    { ...vote, iat: seconds(nowMs) },
  );
}

/** What a chain signed offline says about its own leaf, to sign the next below it; undefined: it is none. */
export function statedLeaf(
  credential: string,
): { readonly parent: StatedParent; readonly issuer: string } | undefined {
  const statement = credential.split("~").at(-1) ?? "";
  const { aud, root, depth, exp } = claimsOf(statement);
  if (typeof root !== "string" || typeof depth !== "number") return undefined;
  const parent = { id: statedId(statement), root, depth, statement, expiresAt: Number(exp) };
  return { parent, issuer: String(aud) };
}

export function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

// As the gateway names a delegation that a statement makes: the first 130 bits of a digest, five a letter.
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const ID_LENGTH = 26;

function statedId(statement: string): string {
  const bytes = createHash("sha256").update(`custody-delegation\0${statement}`).digest();
  let id = "d-";
  for (const byte of bytes.subarray(0, ID_LENGTH)) id += ALPHABET[byte & 31];
  return id;
}

function claimsOf(jws: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(Buffer.from(jws.split(".")[1] ?? "", "base64url").toString("utf8")));
  } catch {
    return {};
  }
}

function keyOf(privateKey: KeyObject): HolderKey {
  const { kty = "", crv = "", x = "" } = createPublicKey(privateKey).export({ format: "jwk" });
  return { privateKey, jwk: { kty, crv, x } };
}

function signed(key: HolderKey, header: object, claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const input = `${part({ alg: "EdDSA", ...header })}.${part(claims)}`;
  return `${input}.${sign(null, Buffer.from(input), key.privateKey).toString("base64url")}`;
}

function fresh(): string {
  return randomBytes(18).toString("base64url");
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}
