// How a client spells what it holds, in a password field or an Authorization header:
//
//   credential   = base [ "~" presentation ]
//   base         = handle | delegation JWT | statement *( "~" statement )
//
// The statements are a chain signed offline (offline.ts), topmost first. The presentation is for
// password fields, where no proof can be asked for: signed with the key that the base is bound to, for
// this gateway, this base and a short time. Whoever reads it can use it until it ends and no longer;
// over HTTP it is not taken, a proof for each request is (proof.ts).

import { createHash } from "node:crypto";
import { compactVerify, decodeProtectedHeader } from "jose";
import { GatewayError } from "../base/errors.ts";
import { looksLikeHandle } from "./handles.ts";
import { HOP_STATEMENT_TYPE } from "./hop-statement.ts";
import { algorithmOf, keyObjectOf, type PublicKey } from "./key.ts";

export const PRESENTATION_TYPE = "custody-presentation+jwt";
/** A pool that connects again needs more than seconds; a leaked one should not last. */
export const PRESENTATION_MAX_MS = 3_600_000;

export interface Presented {
  readonly base: Base;
  /** The text the presentation, or a DPoP proof's `ath`, is about. */
  readonly baseText: string;
  readonly presentation: string | undefined;
}

export type Base =
  | { readonly kind: "handle"; readonly text: string }
  | { readonly kind: "jwt"; readonly text: string }
  | { readonly kind: "statements"; readonly texts: readonly [string, ...string[]] };

const MAX_PARTS = 66;
const MAX_AHEAD_MS = 60_000;

/** undefined: not of this grammar. Nothing is believed yet. */
export function parseCredential(text: string): Presented | undefined {
  const parts = text.split("~");
  if (parts.length > MAX_PARTS) return undefined;
  const last = parts[parts.length - 1] ?? "";
  const presentation =
    parts.length > 1 && typeOf(last) === PRESENTATION_TYPE ? parts.pop() : undefined;
  const [first = "", ...rest] = parts;
  const baseText = parts.join("~");
  if (rest.length === 0 && looksLikeHandle(first))
    return { base: { kind: "handle", text: first }, baseText, presentation };
  if (typeOf(first) === HOP_STATEMENT_TYPE)
    return { base: { kind: "statements", texts: [first, ...rest] }, baseText, presentation };
  if (rest.length > 0) return undefined;
  return { base: { kind: "jwt", text: first }, baseText, presentation };
}

/** Throws GatewayError "unauthenticated". */
export async function verifyPresentation(
  presented: Presented & { readonly presentation: string },
  key: PublicKey,
  issuer: string,
  nowMs: number,
): Promise<void> {
  const claims = await signedClaims(presented.presentation, key);
  const { aud, cth, iat, exp, ...others } = claims;
  if (Object.keys(others).length > 0) throw refused("it has a claim that is not known here");
  if (aud !== issuer) throw refused("it is for another gateway");
  if (cth !== createHash("sha256").update(presented.baseText).digest("base64url"))
    throw refused("it is for another credential");
  if (typeof iat !== "number" || typeof exp !== "number") throw refused("it has no times");
  if (iat * 1000 > nowMs + MAX_AHEAD_MS) throw refused("it is from the future");
  if (!(exp * 1000 > nowMs)) throw refused("it has expired");
  if (!((exp - iat) * 1000 <= PRESENTATION_MAX_MS)) throw refused("it lives longer than an hour");
}

async function signedClaims(
  text: string,
  key: PublicKey,
): Promise<Readonly<Record<string, unknown>>> {
  try {
    const { payload, protectedHeader } = await compactVerify(text, keyObjectOf(key), {
      algorithms: [algorithmOf(key)],
    });
    if (protectedHeader.typ !== PRESENTATION_TYPE) throw refused("it is of another type");
    return { ...Object(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload))) };
  } catch (thrown) {
    throw thrown instanceof GatewayError
      ? thrown
      : refused("it is not signed with the delegation's key", thrown);
  }
}

function typeOf(part: string): string | undefined {
  try {
    return decodeProtectedHeader(part).typ;
  } catch {
    return undefined;
  }
}

function refused(why: string, cause?: unknown): GatewayError {
  return new GatewayError("unauthenticated", `the presentation is not accepted: ${why}`, {
    hint: "make a new one with the delegation's key: custody token",
    ...(cause === undefined ? {} : { cause }),
  });
}
