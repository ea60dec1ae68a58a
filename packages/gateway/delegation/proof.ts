// Proofs that whoever sends an HTTP request holds a key: DPoP (RFC 9449). A proof is for one method, one
// URL of ours, one credential where one is sent along, a minute, and one use.
//
// Owns the memory of the proofs that were used.

import { createHash } from "node:crypto";
import { compactVerify, decodeProtectedHeader } from "jose";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { algorithmOf, keyObjectOf, type PublicKey, readPublicKey } from "./key.ts";
import { createOnce, type Once } from "./once.ts";

export interface ProvedRequest {
  readonly method: string;
  /** As our issuer spells its URLs; query and fragment do not count (RFC 9449 section 4.3). */
  readonly url: string;
  /** The credential of the Authorization header; undefined at the token endpoint. */
  readonly credential: string | undefined;
}

export interface KeyProofs {
  /** The key that was proved. Throws GatewayError: unauthenticated, limit. */
  verify(proof: string, request: ProvedRequest): Promise<PublicKey>;
}

const MAX_PROOF_LENGTH = 4096;
const WINDOW_MS = 60_000;
/** A clock that is ahead of ours by more is to be mended, not waited for. */
const AHEAD_MS = 30_000;
const CLAIMS: ReadonlySet<string> = new Set([
  "jti",
  "htm",
  "htu",
  "iat",
  "exp",
  "nbf",
  "ath",
  "nonce",
]);

export function createKeyProofs(clock: Clock, once: Once = createOnce(clock)): KeyProofs {
  return {
    async verify(proof, request) {
      if (proof.length > MAX_PROOF_LENGTH) throw refused("it is too long");
      const key = keyOf(proof);
      const claims = await claimsOf(proof, key);
      const issuedAtMs = checkTime(claims, clock.nowMs());
      checkRequest(claims, request);
      const { jti } = claims;
      if (typeof jti !== "string" || jti.length < 8 || jti.length > 256)
        throw refused("jti: expected 8 to 256 characters");
      // The id is the client's choice: one key's cannot use up another's.
      const used = createHash("sha256").update(`${key.jkt}\0${jti}`).digest("base64url");
      if (!once.use(used, issuedAtMs + WINDOW_MS + AHEAD_MS)) throw refused("it was used before");
      return key;
    },
  };
}

/** The key in the header, which alone says nothing: it has to be the one a delegation is bound to. */
function keyOf(proof: string): PublicKey {
  let header: ReturnType<typeof decodeProtectedHeader>;
  try {
    header = decodeProtectedHeader(proof);
  } catch (thrown) {
    throw refused("it is not a signed JWT", thrown);
  }
  if (header.typ !== "dpop+jwt") throw refused("typ: expected dpop+jwt");
  const key = readPublicKey(header.jwk);
  if (key === undefined) throw refused("jwk: expected a public Ed25519 or P-256 key");
  return key;
}

async function claimsOf(proof: string, key: PublicKey): Promise<Readonly<Record<string, unknown>>> {
  try {
    const { payload } = await compactVerify(proof, keyObjectOf(key), {
      algorithms: [algorithmOf(key)],
    });
    const claims: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
    return { ...Object(claims) };
  } catch (thrown) {
    throw refused("its signature does not fit its key", thrown);
  }
}

function checkTime(claims: Readonly<Record<string, unknown>>, nowMs: number): number {
  const { iat } = claims;
  if (typeof iat !== "number" || !Number.isFinite(iat)) throw refused("iat: expected a time");
  const issuedAtMs = iat * 1000;
  if (issuedAtMs < nowMs - WINDOW_MS) throw refused("iat: it is too old");
  if (issuedAtMs > nowMs + AHEAD_MS) throw refused("iat: it is from the future");
  return issuedAtMs;
}

function checkRequest(claims: Readonly<Record<string, unknown>>, request: ProvedRequest): void {
  for (const name of Object.keys(claims))
    if (!CLAIMS.has(name)) throw refused("it has a claim that is not known here");
  if (claims.htm !== request.method) throw refused("htm: it is for another method");
  if (normalUrl(claims.htu) !== normalUrl(request.url)) throw refused("htu: it is for another URL");
  const digest =
    request.credential === undefined
      ? undefined
      : createHash("sha256").update(request.credential).digest("base64url");
  if (claims.ath !== digest) throw refused("ath: it is not for this credential");
}

function normalUrl(value: unknown): string | undefined {
  if (typeof value !== "string" || !URL.canParse(value)) return undefined;
  const { origin, pathname } = new URL(value);
  return `${origin}${pathname}`;
}

function refused(why: string, cause?: unknown): GatewayError {
  return new GatewayError("unauthenticated", `the key proof (DPoP) is not accepted: ${why}`, {
    hint: "make a new proof for each request",
    ...(cause === undefined ? {} : { cause }),
  });
}
