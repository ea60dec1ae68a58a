// A token shown by OAUTHBEARER: of the gateway's own, or an access token of the provider that the door
// sends people to. That one signs its principal in, as at the token endpoint. Shown again, as long as it has
// not expired, it is the same sign-in: a client that connects often makes one delegation and not hundreds,
// and one that was revoked is not made anew of the token it came from.
//
// Owns which tokens (by their digest) were shown lately.

import { createHash } from "node:crypto";
import { decodeJwt, type JWTPayload } from "jose";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { Authenticate } from "./authenticate.ts";
import type { Chain } from "./chain.ts";
import type { Exchange } from "./exchange.ts";
import type { Tree } from "./tree.ts";

/** Throws GatewayError: unauthenticated, dependency_unavailable. */
export type AuthenticateOauth = (token: Secret) => Promise<Chain>;

export interface AuthenticateOauthDeps {
  readonly tree: Pick<Tree, "chain">;
  readonly authenticate: Authenticate;
  readonly exchange: Exchange;
  /** Whose access tokens are taken; undefined: nobody's. A reload gives another. */
  readonly providerIssuer: () => string | undefined;
  readonly clock: Clock;
}

interface Remembered {
  readonly delegation: Promise<string>;
  readonly untilMs: number;
}

const MAX_REMEMBERED = 1_000;

export function createAuthenticateOauth(deps: AuthenticateOauthDeps): AuthenticateOauth {
  const { authenticate, clock, exchange, providerIssuer, tree } = deps;
  const shown = new Map<string, Remembered>();
  return async (token) => {
    // Not verified: it only chooses who verifies.
    const claims = claimsOf(token);
    const issuer = providerIssuer();
    if (issuer === undefined || claims?.iss !== issuer) return authenticate(token);
    // RFC 9449 section 7.1: it is bound to a key, and nothing here proves one.
    if (claims.cnf !== undefined)
      throw new GatewayError(
        "unauthenticated",
        "the token is bound to a key, which was not proved",
      );
    const digest = createHash("sha256").update(token.reveal()).digest("base64url");
    const known = shown.get(digest);
    if (known !== undefined && clock.nowMs() < known.untilMs)
      return tree.chain(await known.delegation);
    const delegation = signIn(exchange, token);
    shown.set(digest, { delegation, untilMs: (claims.exp ?? 0) * 1000 });
    if (shown.size > MAX_REMEMBERED)
      for (const oldest of shown.keys()) if (shown.delete(oldest)) break;
    try {
      return tree.chain(await delegation);
    } catch (thrown) {
      shown.delete(digest);
      throw thrown;
    }
  };
}

function claimsOf(token: Secret): JWTPayload | undefined {
  try {
    return decodeJwt(token.reveal());
  } catch {
    return undefined;
  }
}

async function signIn(exchange: Exchange, token: Secret): Promise<string> {
  const result = await exchange({
    subject: { token, type: "access_token" },
    actor: undefined,
    shape: "jwt",
    authorizationDetails: undefined,
    ttlMs: undefined,
    audiences: [],
  });
  if (!result.ok) throw new GatewayError("unauthenticated", result.message);
  return result.minted.node.id;
}
