// A token shown by OAUTHBEARER: of the gateway's own, or an access token of the provider that the door
// sends people to. That one signs its principal in, as at the token endpoint. Shown again it is the same
// sign-in: a client that connects often makes one delegation and not hundreds, and one that was revoked is
// not made anew of the token it came from, whether or not the gateway was started again since.
//
// Owns which tokens (by their digest) are signing in just now; the store has those that have.

import { createHash } from "node:crypto";
import { decodeJwt, type JWTPayload } from "jose";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { ShownTokenStore } from "../identity/sign-ins.ts";
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
  readonly shownTokens: ShownTokenStore;
  readonly clock: Clock;
}

export function createAuthenticateOauth(deps: AuthenticateOauthDeps): AuthenticateOauth {
  const { authenticate, clock, providerIssuer, shownTokens, tree } = deps;
  const signingIn = new Map<string, Promise<string>>();
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
    const known = shownTokens.delegationOf(digest);
    const untilMs = (claims.exp ?? 0) * 1000;
    if (known !== undefined) {
      // It was verified when it was first shown: what it says of its end is its issuer's.
      if (clock.nowMs() < untilMs) return tree.chain(known);
      throw new GatewayError("unauthenticated", "the token has expired");
    }
    let delegation = signingIn.get(digest);
    if (delegation === undefined) {
      delegation = signIn(deps, token, digest, untilMs);
      signingIn.set(digest, delegation);
    }
    try {
      return tree.chain(await delegation);
    } finally {
      signingIn.delete(digest);
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

async function signIn(
  deps: AuthenticateOauthDeps,
  token: Secret,
  digest: string,
  untilMs: number,
): Promise<string> {
  const result = await deps.exchange({
    subject: { token, type: "access_token" },
    actor: undefined,
    shape: "jwt",
    authorizationDetails: undefined,
    ttlMs: undefined,
    audiences: [],
  });
  if (!result.ok) throw new GatewayError("unauthenticated", result.message);
  const { id } = result.minted.node;
  deps.shownTokens.record(digest, id, untilMs);
  return id;
}
