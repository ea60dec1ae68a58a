// Everybody whose tokens are taken: OpenID Connect issuers (oidc.ts) and clusters that are asked
// (token-review.ts). The unverified `iss` of a token chooses whom it is shown to, and nothing else.
//
// Owns the clusters' connections; a new configuration replaces the set, or nothing of it.

import { decodeJwt } from "jose";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { Config } from "../config/config.ts";
import { type IdentityLimits, MAX_TOKEN_LENGTH } from "./issuers.ts";
import { createIdentity, type Identity } from "./oidc.ts";
import { openTokenReviews, type TokenReviewDeps, type TokenReviews } from "./token-review.ts";

export type ProviderSet = Pick<Config, "providers" | "clusterProviders">;

export interface Identities extends Identity, AsyncDisposable {
  /** Throws GatewayError "configuration"; then all is as it was. */
  replace(next: ProviderSet): void;
}

/** Throws GatewayError "configuration". */
export function createIdentities(
  first: ProviderSet,
  deps: TokenReviewDeps & { readonly limits: IdentityLimits },
): Identities {
  const oidc = createIdentity(first.providers.values(), deps.limits, deps.clock);
  const open = (set: ProviderSet) =>
    [...set.clusterProviders.values()].map((provider) => openTokenReviews(provider, deps));
  let clusters: readonly TokenReviews[] = open(first);
  return {
    async verify(token, presented) {
      const issuer = issuerNamed(token);
      const cluster = clusters.find(({ provider }) => provider.issuer === issuer);
      if (cluster === undefined) return oidc.verify(token, presented);
      if (presented === "access_token")
        throw new GatewayError(
          "unauthenticated",
          `this token is not accepted: provider ${cluster.provider.name} takes service account tokens, presented as a JWT`,
        );
      return cluster.verify(token);
    },
    signal: (provider, kind, token) => oidc.signal(provider, kind, token),
    replace(next) {
      const opened = open(next);
      try {
        oidc.replace(next.providers.values());
      } catch (thrown) {
        close(opened);
        throw thrown;
      }
      close(clusters);
      clusters = opened;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([oidc, ...clusters].map((one) => one[Symbol.asyncDispose]()));
    },
  };
}

function close(clusters: readonly TokenReviews[]): void {
  for (const cluster of clusters)
    Promise.resolve(cluster[Symbol.asyncDispose]()).catch(() => undefined);
}

/** undefined: none that could be a cluster's; oidc.ts says what is wrong with it. */
function issuerNamed(token: Secret): string | undefined {
  const text = token.reveal();
  if (text.length > MAX_TOKEN_LENGTH) return undefined;
  try {
    return decodeJwt(text).iss;
  } catch {
    return undefined;
  }
}
