// A handle proved without being shown: SCRAM-SHA-256 (RFC 5802, RFC 7677) with the handle as the password.
// The store keeps StoredKey and ServerKey; neither signs in, and neither is the secret.
//
// The salt is made of the delegation's id: it is another for each handle, which is what a salt is for, it
// can be told for an id that does not exist without a list of invented ones, and keys moved to another row
// prove nothing. The secret has 260 bits, so the iterations are the fewest that clients take.

import { createHash, createHmac, pbkdf2Sync, timingSafeEqual } from "node:crypto";

export const HANDLE_ITERATIONS = 4096;

export interface HandleProof {
  readonly delegationId: string;
  /** RFC 5802 section 3. */
  readonly authMessage: Uint8Array;
  readonly proof: Uint8Array;
}

export function handleSalt(delegationId: string): Uint8Array {
  const salt = createHash("sha256").update(`custody-handle-salt\0${delegationId}`).digest();
  return salt.subarray(0, SALT_BYTES);
}

/** `cst_<id>`, which users put behind their target's name, to the delegation's id. */
export function delegationOfHandleName(name: string): string | undefined {
  const id = /^cst_([0-9a-hjkmnp-tv-z]{4,32})$/.exec(name)?.[1];
  return id === undefined ? undefined : `d-${id}`;
}

/** StoredKey and ServerKey, one behind the other. A millisecond. */
export function proofKeys(delegationId: string, handle: string): Uint8Array {
  const salted = pbkdf2Sync(
    handle,
    handleSalt(delegationId),
    HANDLE_ITERATIONS,
    KEY_BYTES,
    "sha256",
  );
  const storedKey = digest(hmac(salted, Buffer.from("Client Key", "latin1")));
  return Buffer.concat([storedKey, hmac(salted, Buffer.from("Server Key", "latin1"))]);
}

/**
 * The server's own proof, for the client; undefined: not proved. The same work whether there are keys or
 * not, so that time does not tell which ids exist.
 */
export function verifyProof(shown: HandleProof, keys: Uint8Array | undefined): Buffer | undefined {
  const exists = keys?.length === 2 * KEY_BYTES;
  const known = exists ? keys : NO_KEYS;
  const storedKey = known.subarray(0, KEY_BYTES);
  const clientSignature = hmac(storedKey, shown.authMessage);
  const clientKey = Buffer.from(
    clientSignature.map((byte, index) => byte ^ (shown.proof[index] ?? 0)),
  );
  const equal = timingSafeEqual(digest(clientKey), storedKey);
  const signature = hmac(known.subarray(KEY_BYTES), shown.authMessage);
  return equal && exists && shown.proof.length === KEY_BYTES ? signature : undefined;
}

const SALT_BYTES = 16;
const KEY_BYTES = 32;
const NO_KEYS = new Uint8Array(2 * KEY_BYTES);

function hmac(key: Uint8Array, message: Uint8Array): Buffer {
  return createHmac("sha256", key).update(message).digest();
}

function digest(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}
