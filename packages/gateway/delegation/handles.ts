// The opaque shape of a delegation: `cst_<id>_<secret>`, for password fields. The secret is 260 random
// bits, so a plain SHA-256 is a sound verifier: there is nothing to guess offline, and a slow hash
// would only be a way to load the gateway. The store keeps the verifier, never the secret.

import { createHash, timingSafeEqual } from "node:crypto";
import { base32, type RandomBytes } from "../base/ids.ts";
import { Secret } from "../base/secret.ts";
import { proofKeys } from "./handle-proof.ts";

const PREFIX = "cst_";
const SECRET_LENGTH = 52;
const FORM = /^cst_([0-9a-hjkmnp-tv-z]{4,32})_([0-9a-hjkmnp-tv-z]{52})$/;

export interface Handle {
  readonly delegationId: string;
  readonly secret: Secret;
}

export function newHandle(
  delegationId: string,
  random: RandomBytes,
): { readonly handle: Secret; readonly verifier: Uint8Array; readonly proofKeys: Uint8Array } {
  const secret = base32(random(SECRET_LENGTH), SECRET_LENGTH);
  const text = `${PREFIX}${delegationId.slice(2)}_${secret}`;
  return {
    handle: new Secret(text),
    verifier: digest(delegationId, secret),
    proofKeys: proofKeys(delegationId, text),
  };
}

/** Does it claim to be a handle? Says nothing about whether it is a good one. */
export function looksLikeHandle(credential: string): boolean {
  return credential.startsWith(PREFIX);
}

export function parseHandle(credential: string): Handle | undefined {
  const parts = FORM.exec(credential);
  if (parts === null) return undefined;
  return { delegationId: `d-${parts[1]}`, secret: new Secret(parts[2] ?? "") };
}

/** The same work whether there is a verifier or not, so that time does not tell which ids exist. */
export function verifyHandle(handle: Handle, verifier: Uint8Array | undefined): boolean {
  const shown = digest(handle.delegationId, handle.secret.reveal());
  const equal = timingSafeEqual(shown, verifier?.length === 32 ? verifier : NO_VERIFIER);
  return equal && verifier !== undefined;
}

const NO_VERIFIER = new Uint8Array(32);

// The id is part of it, so that a verifier moved to another row verifies nothing.
function digest(delegationId: string, secret: string): Buffer {
  return createHash("sha256").update(`custody-handle\0${delegationId}\0${secret}`).digest();
}
