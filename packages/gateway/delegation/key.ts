// A public key that a delegation is bound to (RFC 7800): Ed25519 or P-256, the two that every runtime
// can make. Read strictly: a private member, an unknown one or a point that is not on its curve is no
// key, and what is kept is spelt anew from the members that its thumbprint (RFC 7638) covers.

import { createHash, createPublicKey, type KeyObject } from "node:crypto";

export interface PublicKey {
  /** RFC 7638 thumbprint with SHA-256, base64url. */
  readonly jkt: string;
  readonly jwk: PublicJwk;
}

export type PublicJwk =
  | { readonly kty: "OKP"; readonly crv: "Ed25519"; readonly x: string }
  | { readonly kty: "EC"; readonly crv: "P-256"; readonly x: string; readonly y: string };

export const KEY_ALGORITHMS = ["EdDSA", "ES256"] as const;

/** Besides the key itself; they say nothing that is believed. */
const NOTES: ReadonlySet<string> = new Set(["alg", "kid", "use", "key_ops", "ext"]);
const COORDINATE = /^[A-Za-z0-9_-]{43}$/;

/** undefined: not a public key of a kind that is taken here. */
export function readPublicKey(value: unknown): PublicKey | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const jwk = jwkOf({ ...value });
  if (jwk === undefined) return undefined;
  try {
    createPublicKey({ key: jwk, format: "jwk" });
  } catch {
    return undefined;
  }
  return { jkt: thumbprint(jwk), jwk };
}

export function algorithmOf(key: PublicKey): (typeof KEY_ALGORITHMS)[number] {
  return key.jwk.kty === "OKP" ? "EdDSA" : "ES256";
}

export function keyObjectOf(key: PublicKey): KeyObject {
  return createPublicKey({ key: key.jwk, format: "jwk" });
}

function jwkOf(members: Readonly<Record<string, unknown>>): PublicJwk | undefined {
  const { kty, crv, x, y, ...others } = members;
  if (Object.keys(others).some((name) => !NOTES.has(name))) return undefined;
  if (typeof x !== "string" || !COORDINATE.test(x)) return undefined;
  if (kty === "OKP" && crv === "Ed25519" && y === undefined) return { kty, crv, x };
  if (kty === "EC" && crv === "P-256" && typeof y === "string" && COORDINATE.test(y))
    return { kty, crv, x, y };
  return undefined;
}

/** RFC 7638 section 3.2: the required members in lexicographic order, no space. */
function thumbprint(jwk: PublicJwk): string {
  const members =
    jwk.kty === "OKP"
      ? { crv: jwk.crv, kty: jwk.kty, x: jwk.x }
      : { crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y };
  return createHash("sha256").update(JSON.stringify(members)).digest("base64url");
}
