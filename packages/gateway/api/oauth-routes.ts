// The OAuth endpoints: metadata (RFC 8414), keys, token exchange (RFC 8693), revocation (RFC 7009),
// introspection (RFC 7662). A DPoP header at the token endpoint binds what is made to its key (RFC 9449
// section 5).

import { endpoints } from "@custody/contract/endpoints.ts";
import {
  GRANT_TYPE_TOKEN_EXCHANGE,
  type IntrospectResponse,
  type OAuthError,
  TOKEN_TYPE,
  type TokenRequest,
} from "@custody/contract/oauth.ts";
import type { FastifyRequest } from "fastify";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import { type Chain, expiryOf, leafOf, rootOf } from "../delegation/chain.ts";
import type { ExchangeRequest } from "../delegation/exchange.ts";
import { KEY_ALGORITHMS, type PublicKey } from "../delegation/key.ts";
import { actorOf } from "../delegation/tokens.ts";
import type { PresentedType } from "../identity/oidc.ts";
import type { ApiDeps } from "./deps.ts";
import { description } from "./faults.ts";
import { provedKey, type Router } from "./routing.ts";
import { grantView } from "./views.ts";

export function addOAuthRoutes(router: Router, deps: ApiDeps): void {
  const { tokens, exchange } = deps.delegations;
  const at = (path: string): string => new URL(path, tokens.issuer).href;
  router.anyone("metadata", async () => ({
    issuer: tokens.issuer,
    token_endpoint: at(endpoints.token.path),
    jwks_uri: at(endpoints.jwks.path),
    revocation_endpoint: at(endpoints.revokeToken.path),
    introspection_endpoint: at(endpoints.introspect.path),
    grant_types_supported: [GRANT_TYPE_TOKEN_EXCHANGE],
    response_types_supported: [],
    token_endpoint_auth_methods_supported: ["none"],
    authorization_details_types_supported: ["custody"],
    dpop_signing_alg_values_supported: [...KEY_ALGORITHMS],
  }));
  router.anyone("jwks", async () => ({
    keys: tokens.jwks.map(({ kty = "", kid = "", alg = "", crv, x, use }) => {
      return { kty, kid, alg, crv, x, use };
    }),
  }));
  router.anyone("token", async ({ body, request, reply }) => {
    const key = await proved(deps, request);
    const result = await exchange({ ...exchangeRequest(body, audiencesOf(request.body)), key });
    if (!result.ok) throw new OAuthRefusal(result.error, result.message);
    const { minted, credential } = result;
    const { node } = minted;
    reply.header("cache-control", "no-store");
    return {
      access_token: credential.reveal(),
      issued_token_type: minted.handle === undefined ? TOKEN_TYPE.jwt : TOKEN_TYPE.handle,
      token_type: node.key === undefined ? ("Bearer" as const) : ("DPoP" as const),
      expires_in: Math.floor((node.expiresAtMs - deps.outside.clock.nowMs()) / 1000),
      ...(node.grant === undefined ? {} : { authorization_details: grantView(node.grant) }),
      delegation_id: node.id,
    };
  });
  router.anyone("revokeToken", async ({ body }) => {
    const chain = await chainOrNothing(deps, body.token);
    // RFC 7009 section 2.2: an invalid token is answered as if it had been revoked.
    if (chain !== undefined)
      deps.delegations.lifecycle.revoke(chain, leafOf(chain).delegationId, undefined);
    return {};
  });
  router.holder("introspect", async ({ body }) => introspect(deps, body.token));
}

/** An OAuth error that is not a fault: carried to the edge, where it becomes RFC 6749's answer. */
export class OAuthRefusal extends Error {
  readonly body: OAuthError;
  constructor(error: OAuthError["error"], message: string) {
    super(message);
    this.body = { error, error_description: description(message) };
  }
}

function exchangeRequest(body: TokenRequest, audiences: readonly string[]): ExchangeRequest {
  if (body.grant_type !== GRANT_TYPE_TOKEN_EXCHANGE)
    throw new OAuthRefusal(
      "unsupported_grant_type",
      `grant_type: only ${GRANT_TYPE_TOKEN_EXCHANGE}`,
    );
  return {
    subject: { token: new Secret(body.subject_token), type: subjectType(body.subject_token_type) },
    actor: actorFrom(body),
    shape: shapeOf(body.requested_token_type),
    authorizationDetails: detailsOf(body.authorization_details),
    statement: body.hop_statement,
    offlineChildren: body.offline_children === "true",
    ttlMs: body.expires_in === undefined ? undefined : Number(body.expires_in) * 1000,
    audiences,
  };
}

function actorFrom(body: TokenRequest): ExchangeRequest["actor"] {
  const { actor_token: token, actor_token_type: type } = body;
  if (token === undefined && type === undefined) return undefined;
  // RFC 8693 section 2.1: neither without the other.
  if (token === undefined || type === undefined)
    throw new OAuthRefusal("invalid_request", "actor_token and actor_token_type go together");
  if (type === TOKEN_TYPE.agentName) return { type: "agent-name", name: token };
  const presented = PRESENTED[type];
  if (presented === undefined)
    throw new OAuthRefusal("invalid_request", "actor_token_type is not one this server takes");
  return { type: presented, token: new Secret(token) };
}

const PRESENTED: Readonly<Record<string, PresentedType>> = {
  [TOKEN_TYPE.idToken]: "id_token",
  [TOKEN_TYPE.accessToken]: "access_token",
  [TOKEN_TYPE.jwt]: "jwt",
};

function subjectType(type: string): ExchangeRequest["subject"]["type"] {
  if (type === TOKEN_TYPE.handle) return "handle";
  if (type === TOKEN_TYPE.samlSignIn) return "saml";
  const presented = PRESENTED[type];
  if (presented === undefined)
    throw new OAuthRefusal("invalid_request", "subject_token_type is not one this server takes");
  return presented;
}

function shapeOf(requested: string | undefined): ExchangeRequest["shape"] {
  switch (requested) {
    case undefined:
    case TOKEN_TYPE.accessToken:
    case TOKEN_TYPE.jwt:
      return "jwt";
    case TOKEN_TYPE.handle:
      return "handle";
    default:
      throw new OAuthRefusal(
        "invalid_request",
        "requested_token_type is not one this server gives",
      );
  }
}

function detailsOf(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new OAuthRefusal(
      "invalid_authorization_details",
      "authorization_details: expected JSON text",
    );
  }
}

/** The form's parser keeps repeated `audience` and `resource` apart with a space (form.ts). */
function audiencesOf(body: unknown): readonly string[] {
  const { audience, resource } = Object(body);
  return [audience, resource].flatMap((value) =>
    typeof value === "string" ? value.split(" ").filter((one) => one !== "") : [],
  );
}

async function proved(deps: ApiDeps, request: FastifyRequest): Promise<PublicKey | undefined> {
  try {
    return await provedKey(deps, request, undefined);
  } catch (thrown) {
    if (!(thrown instanceof GatewayError) || thrown.code !== "unauthenticated") throw thrown;
    throw new OAuthRefusal("invalid_dpop_proof", thrown.message);
  }
}

/** Giving a token back, or asking what it is, does a thief no good: its key is not asked for. */
async function chainOrNothing(deps: ApiDeps, token: string): Promise<Chain | undefined> {
  try {
    return await deps.delegations.authenticate(new Secret(token), "unproved-will-do");
  } catch (thrown) {
    if (thrown instanceof GatewayError && thrown.code === "unauthenticated") return undefined;
    throw thrown;
  }
}

/** RFC 7662: whoever shows a token already has it; what it stands for is no secret from them. */
async function introspect(deps: ApiDeps, token: string): Promise<IntrospectResponse> {
  const chain = await chainOrNothing(deps, token);
  if (chain === undefined) return { active: false };
  const leaf = leafOf(chain);
  const act = actorOf(chain);
  const node = deps.delegations.tree.find(leaf.delegationId);
  return {
    active: true,
    iss: deps.delegations.tokens.issuer,
    aud: deps.delegations.tokens.issuer,
    sub: rootOf(chain).subject,
    ...(act === undefined ? {} : { act }),
    exp: Math.floor(expiryOf(chain) / 1000),
    ...(node === undefined ? {} : { iat: Math.floor(node.createdAtMs / 1000) }),
    ...(leaf.jkt === undefined
      ? { token_type: "Bearer" }
      : { token_type: "DPoP", cnf: { jkt: leaf.jkt } }),
    delegation_id: leaf.delegationId,
    ...(leaf.grant === undefined ? {} : { authorization_details: grantView(leaf.grant) }),
  };
}
