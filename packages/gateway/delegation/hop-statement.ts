// The hop statement: what a parent that holds a key says, and signs, about a child of its own. A compact
// JWS, `typ: custody-hop+jwt`, that names the place in the tree (root, parent, the parent's own
// statement, depth), who is to act, the child's key, the whole grant and the times. Kept with the node,
// so that anybody can check afterwards that this hop is the parent's word and not the gateway's.
//
// The id of a delegation made from a statement is a digest of it: a parent that signs offline knows the
// ids of its children and theirs, and a statement makes one delegation, once, for good.
//
// Every member is required, none is added: what a verifier does not know could be a limit it ignores.

import { createHash } from "node:crypto";
import { compactVerify } from "jose";
import { GatewayError } from "../base/errors.ts";
import { base32 } from "../base/ids.ts";
import { type Grant, parseGrant } from "./grant.ts";
import { algorithmOf, keyObjectOf, type PublicKey, readPublicKey } from "./key.ts";

export const HOP_STATEMENT_TYPE = "custody-hop+jwt";

export interface HopStatement {
  /** The compact JWS as the parent signed it. */
  readonly text: string;
  /** Of the delegation that it makes. */
  readonly delegationId: string;
  readonly rootId: string;
  readonly parentId: string;
  /** Digest of the parent's own statement; undefined: the parent has none. */
  readonly parentDigest: string | undefined;
  readonly actor: StatedActor;
  /** undefined: the child is bound to no key. */
  readonly key: PublicKey | undefined;
  readonly grant: Grant;
  readonly depth: number;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

export type StatedActor =
  | { readonly kind: "agent"; readonly name: string }
  /** SHA-256, base64url, of the actor token that is shown at the exchange. */
  | { readonly kind: "token"; readonly digest: string };

/** What a statement has to fit: the node above it. */
export interface StatedParent {
  readonly id: string;
  readonly rootId: string;
  readonly depth: number;
  readonly createdAtMs: number;
  /** Its children are stated to live no longer; offline it is the parent's end, else how far it may be renewed. */
  readonly boundMs: number;
  readonly statement: string | undefined;
}

export const MAX_STATEMENT_LENGTH = 12_288;
const ID_LENGTH = 26;
/** How far a signer's clock may be from ours, or from the one of whoever signed above it. */
const SKEW_MS = 30_000;
const MEMBERS = ["aud", "root", "parent", "parent_hash", "actor", "cnf"].concat([
  "authorization_details",
  "depth",
  "iat",
  "exp",
  "jti",
]);
const DIGEST = /^[A-Za-z0-9_-]{43}$/;
const NODE_ID = /^d-[0-9a-hjkmnp-tv-z]{4,32}$/;

/** Throws GatewayError "invalid" with what does not fit; the signature is checked first. */
export async function verifyStatement(
  text: string,
  signer: PublicKey,
  issuer: string,
): Promise<HopStatement> {
  if (text.length > MAX_STATEMENT_LENGTH) throw unfit("it is too long");
  let claims: unknown;
  try {
    const { payload, protectedHeader } = await compactVerify(text, keyObjectOf(signer), {
      algorithms: [algorithmOf(signer)],
    });
    if (protectedHeader.typ !== HOP_STATEMENT_TYPE)
      throw unfit(`typ: expected ${HOP_STATEMENT_TYPE}`);
    claims = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch (thrown) {
    if (thrown instanceof GatewayError) throw thrown;
    throw unfit("its signature is not one of the parent's key", thrown);
  }
  return readClaims(text, { ...Object(claims) }, issuer);
}

export function statementDigest(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

export function statementNodeId(text: string): string {
  const digest = createHash("sha256").update(`custody-delegation\0${text}`).digest();
  return `d-${base32(digest, ID_LENGTH)}`;
}

/**
 * Why the statement makes no child of this parent; undefined: its place and times fit. Its grant is for
 * the tree to compare, its signature was checked when it was read.
 */
export function whyUnfit(
  statement: HopStatement,
  parent: StatedParent,
  nowMs: number,
): string | undefined {
  if (statement.parentId !== parent.id) return "parent: it was signed for another parent";
  if (statement.rootId !== parent.rootId) return "root: it was signed for another root";
  const above = parent.statement === undefined ? undefined : statementDigest(parent.statement);
  if (statement.parentDigest !== above)
    return "parent_hash: it does not fit the parent's statement";
  if (statement.depth !== parent.depth + 1) return `depth: expected ${parent.depth + 1}`;
  // A child may be stated in the second its parent was made in, by a clock that is a little behind.
  if (statement.issuedAtMs < parent.createdAtMs - SKEW_MS)
    return "iat: it was signed before its parent was made";
  if (statement.issuedAtMs > nowMs + SKEW_MS) return "iat: it is from the future";
  if (statement.expiresAtMs > parent.boundMs) return "exp: it outlives its parent";
  if (statement.expiresAtMs <= nowMs) return "exp: it has expired";
  return undefined;
}

function readClaims(
  text: string,
  claims: Readonly<Record<string, unknown>>,
  issuer: string,
): HopStatement {
  for (const name of Object.keys(claims))
    if (!MEMBERS.includes(name)) throw unfit(`${JSON.stringify(name.slice(0, 64))} is not known`);
  for (const name of MEMBERS) if (!Object.hasOwn(claims, name)) throw unfit(`${name} is missing`);
  if (claims.aud !== issuer) throw unfit("aud: it is for another gateway");
  const issuedAtMs = wholeNumber(claims, "iat") * 1000;
  const expiresAtMs = wholeNumber(claims, "exp") * 1000;
  if (issuedAtMs >= expiresAtMs) throw unfit("exp: it ends before it begins");
  if (typeof claims.jti !== "string" || claims.jti.length < 16 || claims.jti.length > 64)
    throw unfit("jti: expected 16 to 64 characters");
  return {
    text,
    delegationId: statementNodeId(text),
    rootId: matching(claims, "root", NODE_ID),
    parentId: matching(claims, "parent", NODE_ID),
    parentDigest: claims.parent_hash === null ? undefined : matching(claims, "parent_hash", DIGEST),
    actor: readActor(claims.actor),
    key: claims.cnf === null ? undefined : readConfirmation(claims.cnf),
    grant: parseGrant(claims.authorization_details),
    depth: wholeNumber(claims, "depth"),
    issuedAtMs,
    expiresAtMs,
  };
}

function readActor(value: unknown): StatedActor {
  const { name, token_hash: digest, ...others } = Object(value);
  const known = Object.keys(others).length === 0;
  if (known && typeof name === "string" && digest === undefined) return { kind: "agent", name };
  if (known && typeof digest === "string" && DIGEST.test(digest) && name === undefined)
    return { kind: "token", digest };
  throw unfit("actor: expected a name or a token_hash");
}

function readConfirmation(value: unknown): PublicKey {
  const { jwk, ...others } = Object(value);
  const key = Object.keys(others).length === 0 ? readPublicKey(jwk) : undefined;
  if (key === undefined) throw unfit("cnf: expected the jwk of an Ed25519 or P-256 key");
  return key;
}

function matching(claims: Readonly<Record<string, unknown>>, name: string, form: RegExp): string {
  const value = claims[name];
  if (typeof value !== "string" || !form.test(value)) throw unfit(`${name}: not of its form`);
  return value;
}

function wholeNumber(claims: Readonly<Record<string, unknown>>, name: string): number {
  const value = claims[name];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0 || value > 1e11)
    throw unfit(`${name}: expected a whole number`);
  return value;
}

function unfit(why: string, cause?: unknown): GatewayError {
  return new GatewayError("invalid", `the hop statement is not accepted: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
  });
}
