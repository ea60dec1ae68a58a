// What an approver who holds a key signs when they vote: a compact JWS (`typ: custody-vote+jwt`) about one
// exact request. It stands in the log (`hold.voted`, detail.statement), so that the gateway alone cannot
// invent a vote of somebody whose sign-in is bound to a key.
//
// The header carries the public key, as a DPoP proof does (RFC 9449): whoever reads the statement can check
// it, and holds the key's thumbprint against the one the log has for the approver's sign-in.

import { createHash, createPublicKey, type JsonWebKey, verify } from "node:crypto";

export const VOTE_STATEMENT_TYPE = "custody-vote+jwt";
export const MAX_VOTE_STATEMENT_LENGTH = 4_096;

export interface VoteStatement {
  /** `h-…` */
  readonly hold: string;
  /** What the approval is bound to; the same in the leaf. */
  readonly binding: string;
  /** SHA-256, base64url, of the command as the approver was shown it. */
  readonly command: string;
  readonly vote: "approve" | "deny";
  /** The approver's delegation. */
  readonly delegation: string;
  /** Seconds since the Unix epoch. */
  readonly iat: number;
  /** The key's thumbprint (RFC 7638, SHA-256). */
  readonly jkt: string;
}

/** undefined: it is not a statement whose signature verifies. */
export function readVoteStatement(text: string): VoteStatement | undefined {
  if (text.length > MAX_VOTE_STATEMENT_LENGTH) return undefined;
  const [head, body, signature, ...more] = text.split(".");
  if (head === undefined || body === undefined || signature === undefined || more.length > 0)
    return undefined;
  try {
    const { typ, alg, jwk, ...others } = parsed(head);
    if (typ !== VOTE_STATEMENT_TYPE || Object.keys(others).length > 0) return undefined;
    const key = readKey(jwk, alg);
    if (key === undefined) return undefined;
    const input = Buffer.from(`${head}.${body}`, "latin1");
    const bytes = Buffer.from(signature, "base64url");
    const options = { key: createPublicKey({ key: key.jwk, format: "jwk" }) };
    const isGood =
      key.hash === null
        ? verify(null, input, options.key, bytes)
        : verify(key.hash, input, { ...options, dsaEncoding: "ieee-p1363" }, bytes);
    return isGood ? claimsOf(parsed(body), key.jkt) : undefined;
  } catch {
    return undefined;
  }
}

function claimsOf(claims: Record<string, unknown>, jkt: string): VoteStatement | undefined {
  const { hold, binding, command, vote, delegation, iat, ...others } = claims;
  if (Object.keys(others).length > 0) return undefined;
  if (typeof hold !== "string" || typeof binding !== "string") return undefined;
  if (typeof command !== "string") return undefined;
  if (typeof delegation !== "string" || !Number.isSafeInteger(iat)) return undefined;
  if (vote !== "approve" && vote !== "deny") return undefined;
  return { hold, binding, command, vote, delegation, iat: Number(iat), jkt };
}

/** Ed25519 and P-256: the keys delegations are bound to. */
function readKey(
  value: unknown,
  alg: unknown,
): { jwk: JsonWebKey; jkt: string; hash: string | null } | undefined {
  const { kty, crv, x, y, ...others } = Object(value) as Record<string, unknown>;
  if (Object.keys(others).length > 0 || typeof x !== "string") return undefined;
  if (alg === "EdDSA" && kty === "OKP" && crv === "Ed25519" && y === undefined)
    return { jwk: { kty, crv, x }, jkt: thumbprint({ crv, kty, x }), hash: null };
  if (alg === "ES256" && kty === "EC" && crv === "P-256" && typeof y === "string")
    return { jwk: { kty, crv, x, y }, jkt: thumbprint({ crv, kty, x, y }), hash: "sha256" };
  return undefined;
}

/** RFC 7638 section 3.2: the members in the order given, which is the lexicographic one. */
function thumbprint(members: Readonly<Record<string, string>>): string {
  return createHash("sha256").update(JSON.stringify(members)).digest("base64url");
}

function parsed(part: string): Record<string, unknown> {
  const bytes = Buffer.from(part, "base64url");
  if (bytes.toString("base64url") !== part) throw new SyntaxError("not canonical base64url");
  return Object(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
}
