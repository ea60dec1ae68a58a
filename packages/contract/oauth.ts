// The gateway as an OAuth authorization server for what it fronts: metadata (RFC 8414), keys
// (RFC 7517), token exchange (RFC 8693), revocation (RFC 7009) and introspection (RFC 7662).
// Requests are form-encoded; errors are RFC 6749 §5.2.

import { z } from "zod";
import { authorizationDetailsSchema } from "./shapes.ts";

export const GRANT_TYPE_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";

export const TOKEN_TYPE = {
  accessToken: "urn:ietf:params:oauth:token-type:access_token",
  idToken: "urn:ietf:params:oauth:token-type:id_token",
  jwt: "urn:ietf:params:oauth:token-type:jwt",
  /** A delegation in the shape that fits a password field: `cst_<id>_<secret>`. */
  handle: "urn:custody:params:oauth:token-type:handle",
  /** `<code>.<code verifier>` of a sign-in with a SAML provider: see `samlLogin`. */
  samlSignIn: "urn:custody:params:oauth:token-type:saml-sign-in",
  /** An actor that shows nothing but a name. */
  agentName: "urn:custody:params:oauth:token-type:agent-name",
} as const;

export const metadataSchema = z.object({
  issuer: z.string(),
  token_endpoint: z.string(),
  jwks_uri: z.string(),
  revocation_endpoint: z.string(),
  introspection_endpoint: z.string(),
  grant_types_supported: z.array(z.string()),
  response_types_supported: z.array(z.string()),
  token_endpoint_auth_methods_supported: z.array(z.string()),
  authorization_details_types_supported: z.array(z.string()),
  dpop_signing_alg_values_supported: z.array(z.string()),
});

export const jwksSchema = z.object({
  keys: z.array(z.looseObject({ kty: z.string(), kid: z.string(), alg: z.string() })),
});

const clientIdSchema = z.string().max(200).optional();

/**
 * RFC 8693 §2.1. Sign-in: a provider's token as the subject, no actor, no authorization details.
 * Child: a delegation (JWT or handle) as the subject, an actor, and the grant asked for.
 */
export const tokenRequestSchema = z.strictObject({
  /** GRANT_TYPE_TOKEN_EXCHANGE; another has an error of its own (RFC 6749 section 5.2). */
  grant_type: z.string().min(1).max(200),
  /** Sent by clients that have no secret (RFC 6749 section 3.2.1); says nothing here. */
  client_id: clientIdSchema,
  subject_token: z.string().min(1).max(16_384),
  subject_token_type: z.string().min(1).max(200),
  /** A workload provider's token, or the agent's name when the type is `agentName`. */
  actor_token: z.string().min(1).max(16_384).optional(),
  actor_token_type: z.string().min(1).max(200).optional(),
  /** `accessToken` (the default) and `jwt` give the JWT, `handle` the opaque handle. */
  requested_token_type: z.string().min(1).max(200).optional(),
  /** JSON text of an array of authorization details; required for a child. */
  authorization_details: z.string().min(1).max(65_536).optional(),
  /** Seconds, as decimal text. */
  expires_in: z
    .string()
    .regex(/^[1-9][0-9]{0,8}$/, "a whole number of seconds")
    .optional(),
  /**
   * What a parent that is bound to a key signs about the child (compact JWS, `typ: custody-hop+jwt`);
   * required then, refused otherwise.
   */
  hop_statement: z.string().min(1).max(12_288).optional(),
  /**
   * At a sign-in with a DPoP proof: delegations below it may be signed by their parents without asking
   * here first.
   */
  offline_children: z.enum(["true", "false"]).optional(),
  /** When given, must be the gateway's own issuer. */
  audience: z.string().max(2000).optional(),
  resource: z.string().max(2000).optional(),
  /** Not used by this server: refused rather than ignored. */
  scope: z
    .undefined({ error: "scopes are not used here; ask with authorization_details" })
    .optional(),
});
export type TokenRequest = z.infer<typeof tokenRequestSchema>;

export const tokenResponseSchema = z.object({
  access_token: z.string(),
  issued_token_type: z.string(),
  /** "DPoP": bound to the key that was proved (RFC 9449); each use needs a proof. */
  token_type: z.enum(["Bearer", "DPoP"]),
  /** Seconds. */
  expires_in: z.number().int(),
  /** The grant of the new delegation; absent at a root. */
  authorization_details: authorizationDetailsSchema.optional(),
  delegation_id: z.string(),
});
export type TokenResponse = z.infer<typeof tokenResponseSchema>;

export const OAUTH_ERRORS = [
  "invalid_request",
  "invalid_grant",
  "invalid_target",
  "invalid_client",
  "invalid_authorization_details",
  "invalid_dpop_proof",
  "unsupported_grant_type",
  "unsupported_token_type",
  "unauthorized_client",
  "access_denied",
  "temporarily_unavailable",
  "server_error",
] as const;

export const oauthErrorSchema = z.object({
  error: z.enum(OAUTH_ERRORS),
  error_description: z.string().optional(),
});
export type OAuthError = z.infer<typeof oauthErrorSchema>;

export const revokeRequestSchema = z.strictObject({
  token: z.string().min(1).max(16_384),
  token_type_hint: z.string().max(200).optional(),
  client_id: clientIdSchema,
});

export const introspectRequestSchema = z.strictObject({
  token: z.string().min(1).max(16_384),
  token_type_hint: z.string().max(200).optional(),
  client_id: clientIdSchema,
});

/** RFC 8693 §4.1: the outermost is the current actor; inner ones came before it. */
export interface Actor {
  readonly sub: string;
  readonly name?: string | undefined;
  readonly act?: Actor | undefined;
}

export const actorSchema: z.ZodType<Actor> = z.lazy(() =>
  z.object({ sub: z.string(), name: z.string().optional(), act: actorSchema.optional() }),
);

export const introspectResponseSchema = z.object({
  active: z.boolean(),
  iss: z.string().optional(),
  aud: z.string().optional(),
  sub: z.string().optional(),
  act: actorSchema.optional(),
  exp: z.number().optional(),
  iat: z.number().optional(),
  token_type: z.string().optional(),
  /** RFC 7800: the thumbprint of the key it is bound to. */
  cnf: z.object({ jkt: z.string() }).optional(),
  delegation_id: z.string().optional(),
  authorization_details: authorizationDetailsSchema.optional(),
});
export type IntrospectResponse = z.infer<typeof introspectResponseSchema>;
