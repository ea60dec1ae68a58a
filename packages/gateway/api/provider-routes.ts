// Identity providers: what a client needs to sign in with one, a sign-in vouched for anew, and what a
// provider says of its own accord (OpenID Connect Back-Channel Logout 1.0, security events pushed as
// RFC 8935 says). What a provider sends is believed for its signature alone.

import type { SetError } from "@custody/contract/providers.ts";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import { leafOf } from "../delegation/chain.ts";
import { looksLikeHandle } from "../delegation/handles.ts";
import { providerCa } from "../identity/issuers.ts";
import type { ApiDeps } from "./deps.ts";
import { description } from "./faults.ts";
import { OAuthRefusal } from "./oauth-routes.ts";
import type { Router } from "./routing.ts";
import { samlViews } from "./saml-routes.ts";
import { delegationView } from "./views.ts";

export function addProviderRoutes(router: Router, deps: ApiDeps): void {
  const { tree, tokens, providers } = deps.delegations;
  const { registry } = deps.sessions;
  router.anyone("providers", async () => ({
    providers: [
      ...[...providers.all()].flatMap((provider) => {
        const { signIn } = provider;
        return signIn === undefined ? [] : [providerView(provider, signIn)];
      }),
      ...samlViews(providers.saml),
    ],
  }));
  router.holder("refreshDelegation", async ({ chain, credential, parameters, body }) => {
    const { delegationId } = leafOf(chain);
    if (parameters.id !== delegationId)
      throw new GatewayError("not_found", "a sign-in is refreshed by itself only");
    const token = new Secret(body.token);
    const node = await providers.sessions.refresh(chain, token, body.tokenType);
    const delegation = delegationView(node, tree.status(node), registry.countUnder(node.id));
    if (looksLikeHandle(credential.reveal())) return { delegation };
    return { delegation, accessToken: await tokens.sign(tree.chain(node.id)) };
  });
  router.anyone("backchannelLogout", async ({ parameters, body }) => {
    const token = new Secret(body.logout_token);
    try {
      const signal = await providers.signal(parameters.provider ?? "", "logout", token);
      providers.sessions.end(signal);
    } catch (thrown) {
      // Section 2.8: a token that is not accepted is a bad request; no client failed to sign in here.
      if (!isRefusal(thrown)) throw thrown;
      throw new OAuthRefusal("invalid_request", thrown.message);
    }
    return {};
  });
  router.anyone("securityEvents", async ({ parameters, body, reply }) => {
    try {
      const token = new Secret(body);
      const signal = await providers.signal(parameters.provider ?? "", "session-revoked", token);
      providers.sessions.end(signal);
    } catch (thrown) {
      if (!isRefusal(thrown)) throw thrown;
      throw new EventRefusal(thrown.message);
    }
    reply.code(202);
    return "";
  });
}

/** RFC 8935 section 2.3: carried to the edge, where it becomes its answer. */
export class EventRefusal extends Error {
  readonly body: SetError;
  constructor(message: string) {
    super(message);
    this.body = { err: "invalid_request", description: description(message) };
  }
}

function isRefusal(thrown: unknown): thrown is GatewayError {
  return thrown instanceof GatewayError && thrown.code === "unauthenticated";
}

function providerView(provider: Provider, signIn: NonNullable<Provider["signIn"]>) {
  const { name, issuer, clientId, audience, insecureHttp } = provider;
  const flows: ("browser" | "device")[] = signIn.device ? ["browser", "device"] : ["browser"];
  return {
    name,
    issuer,
    // The audience of an ID token is the client it was issued to (OpenID Connect Core section 2).
    clientId: clientId ?? audience,
    scopes: [...signIn.scopes],
    flows,
    ca: providerCa(provider) ?? null,
    insecureHttp,
  };
}
