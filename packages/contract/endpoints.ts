// Every endpoint of the control API in one table, which the gateway routes by and clients call by.
//
// `auth`: "none" is open to whoever reaches the listener; "bearer" wants a delegation (JWT or handle)
// in `Authorization: Bearer`. `answer`: "json" is `response`; "ndjson" is one JSON value a line, each
// of shape `response`; "bytes" is a file as it lies on disk, and "text" a line of text.

import { z } from "zod";
import { clientCertificateBodySchema, clientCertificateSchema } from "./client-certificates.ts";
import {
  delegationDetailSchema,
  delegationListSchema,
  renewBodySchema,
  renewResponseSchema,
  revokeDelegationBodySchema,
  revokeDelegationResponseSchema,
  targetListSchema,
  whoamiSchema,
} from "./delegations.ts";
import {
  erasedSchema,
  erasureSchema,
  evidencePartSchema,
  evidenceScopeSchema,
  logShardsSchema,
} from "./evidence.ts";
import { denialSchema, explainBodySchema, explanationSchema } from "./explanations.ts";
import {
  introspectRequestSchema,
  introspectResponseSchema,
  jwksSchema,
  metadataSchema,
  revokeRequestSchema,
  tokenRequestSchema,
  tokenResponseSchema,
} from "./oauth.ts";
import {
  logoutRequestSchema,
  providerListSchema,
  refreshBodySchema,
  refreshResponseSchema,
  samlLoginQuerySchema,
  samlResponseSchema,
} from "./providers.ts";
import {
  approvalRequestSchema,
  requestListQuerySchema,
  requestListSchema,
  voteBodySchema,
} from "./requests.ts";
import {
  endSessionBodySchema,
  endSessionResponseSchema,
  eventLineSchema,
  healthSchema,
  joinBodySchema,
  readySchema,
  recordingLineSchema,
  recordingQuerySchema,
  sessionListQuerySchema,
  sessionListSchema,
  sessionSchema,
  terminalLineSchema,
  typeBodySchema,
} from "./sessions.ts";
import { sshAuthoritiesSchema, sshCertificateBodySchema, sshCertificateSchema } from "./ssh.ts";

export interface Endpoint {
  readonly method: "GET" | "POST";
  /** `:name` is one segment; `*` at the end is the rest. */
  readonly path: string;
  readonly auth: "none" | "bearer";
  readonly summary: string;
  readonly query: z.ZodType;
  /** How the body is encoded; "none" has no body, "jwt" is a signed token as it stands. */
  readonly encoding: "none" | "json" | "form" | "jwt";
  readonly body: z.ZodType;
  readonly answer: "json" | "ndjson" | "bytes" | "text";
  readonly response: z.ZodType;
}

const nothing = z.strictObject({});

const get = <Response extends z.ZodType>(
  path: string,
  summary: string,
  response: Response,
  auth: "none" | "bearer" = "bearer",
) => ({
  method: "GET" as const,
  path,
  auth,
  summary,
  query: nothing,
  encoding: "none" as const,
  body: nothing,
  answer: "json" as const,
  response,
});

const post = <Body extends z.ZodType, Response extends z.ZodType>(
  path: string,
  summary: string,
  body: Body,
  response: Response,
) => ({
  method: "POST" as const,
  path,
  auth: "bearer" as const,
  summary,
  query: nothing,
  encoding: "json" as const,
  body,
  answer: "json" as const,
  response,
});

export const endpoints = {
  metadata: get(
    "/.well-known/oauth-authorization-server",
    "What this authorization server offers (RFC 8414)",
    metadataSchema,
    "none",
  ),
  jwks: get("/jwks", "Keys that sign delegations (RFC 7517)", jwksSchema, "none"),
  token: {
    ...post(
      "/token",
      "Sign in, or delegate to an agent (RFC 8693)",
      tokenRequestSchema,
      tokenResponseSchema,
    ),
    auth: "none",
    encoding: "form",
  },
  revokeToken: {
    ...post("/revoke", "Give a token back (RFC 7009)", revokeRequestSchema, nothing),
    auth: "none",
    encoding: "form",
  },
  introspect: {
    ...post(
      "/introspect",
      "What a token stands for now (RFC 7662)",
      introspectRequestSchema,
      introspectResponseSchema,
    ),
    encoding: "form",
  },

  providers: get(
    "/v1/providers",
    "Where people sign in, and as which client",
    providerListSchema,
    "none",
  ),
  backchannelLogout: {
    ...post(
      "/oidc/:provider/backchannel-logout",
      "A provider ended a session (OpenID Connect Back-Channel Logout 1.0)",
      logoutRequestSchema,
      nothing,
    ),
    auth: "none",
    encoding: "form",
  },
  securityEvents: {
    ...post(
      "/oidc/:provider/events",
      "A provider pushes a security event: CAEP session-revoked (RFC 8935)",
      z.string().min(1).max(16_384),
      z.string(),
    ),
    auth: "none",
    encoding: "jwt",
    answer: "text",
  },

  samlMetadata: {
    ...get(
      "/saml/:provider/metadata",
      "The gateway as a SAML service provider",
      z.string(),
      "none",
    ),
    answer: "text",
  },
  samlLogin: {
    ...get("/saml/:provider/login", "A browser starts a SAML sign-in", z.string(), "none"),
    query: samlLoginQuerySchema,
    answer: "text",
  },
  samlAnswer: {
    ...post(
      "/saml/:provider/acs",
      "A browser brings a SAML provider's response (assertion consumer service)",
      samlResponseSchema,
      z.string(),
    ),
    auth: "none",
    encoding: "form",
    answer: "text",
  },

  whoami: get("/v1/whoami", "Who the caller is, by chain", whoamiSchema),
  targets: get("/v1/targets", "Targets and where to reach them", targetListSchema),

  delegations: get(
    "/v1/delegations",
    "The caller's subtree; administrators: all",
    delegationListSchema,
  ),
  delegation: get("/v1/delegations/:id", "One delegation", delegationDetailSchema),
  revokeDelegation: post(
    "/v1/delegations/:id/revoke",
    "Revoke a delegation and everything below it",
    revokeDelegationBodySchema,
    revokeDelegationResponseSchema,
  ),
  renewDelegation: post(
    "/v1/delegations/:id/renew",
    "Extend a delegation, never past its parent",
    renewBodySchema,
    renewResponseSchema,
  ),
  refreshDelegation: post(
    "/v1/delegations/:id/refresh",
    "A sign-in vouched for anew by its provider: groups are read again",
    refreshBodySchema,
    refreshResponseSchema,
  ),

  sshAuthorities: get(
    "/v1/ssh/authorities",
    "Who signs for the gateway's SSH door, and for its targets",
    sshAuthoritiesSchema,
  ),
  sshCertificate: post(
    "/v1/ssh/certificates",
    "A certificate of the caller's delegation for an SSH client's key",
    sshCertificateBodySchema,
    sshCertificateSchema,
  ),

  clientCertificate: post(
    "/v1/client-certificates",
    "A certificate of the caller's delegation for a TLS client's key",
    clientCertificateBodySchema,
    clientCertificateSchema,
  ),

  requests: {
    ...get("/v1/requests", "Requests the caller asked for or may vote on", requestListSchema),
    query: requestListQuerySchema,
  },
  request: get("/v1/requests/:id", "One request for approval", approvalRequestSchema),
  approveRequest: post(
    "/v1/requests/:id/approve",
    "Approve one exact operation, once",
    voteBodySchema,
    approvalRequestSchema,
  ),
  denyRequest: post(
    "/v1/requests/:id/deny",
    "Deny a request",
    voteBodySchema,
    approvalRequestSchema,
  ),

  denial: get(
    "/v1/denials/:id",
    "A command that was refused lately, and what would help",
    denialSchema,
  ),
  explain: post(
    "/v1/targets/:name/explain",
    "What would be decided about a command, without running it",
    explainBodySchema,
    explanationSchema,
  ),

  sessions: {
    ...get("/v1/sessions", "Sessions of the caller's subtree, newest first", sessionListSchema),
    query: sessionListQuerySchema,
  },
  session: get("/v1/sessions/:id", "One session", sessionSchema),
  recording: {
    ...get("/v1/sessions/:id/recording", "Replay a session", recordingLineSchema),
    query: recordingQuerySchema,
    answer: "ndjson",
  },
  endSession: post(
    "/v1/sessions/:id/end",
    "End a live session",
    endSessionBodySchema,
    endSessionResponseSchema,
  ),
  joinSession: {
    ...post(
      "/v1/sessions/:id/join",
      "Watch a live shell, or take part in it",
      joinBodySchema,
      terminalLineSchema,
    ),
    answer: "ndjson",
  },
  typeInSession: post(
    "/v1/participants/:id/input",
    "What a participant of mode peer types",
    typeBodySchema,
    nothing,
  ),

  events: {
    ...get("/v1/events", "Audit leaves as they come", eventLineSchema),
    answer: "ndjson",
  },
  evidence: {
    ...post(
      "/v1/evidence",
      "Everything about a session, request, root or time, to be checked elsewhere",
      evidenceScopeSchema,
      evidencePartSchema,
    ),
    answer: "ndjson",
  },
  erase: post(
    "/v1/erasures",
    "Erase what was recorded of a session, or of all that a root has done",
    erasureSchema,
    erasedSchema,
  ),
  checkpoint: {
    ...get("/v1/audit/checkpoint", "The log's signed head", z.string(), "none"),
    answer: "text",
  },
  cosigned: {
    ...get("/v1/audit/cosigned", "The newest head that witnesses cosigned", z.string(), "none"),
    answer: "text",
  },
  vkey: {
    ...get(
      "/v1/audit/vkey",
      "The key that signs the log's head; of its shards under their names",
      z.string(),
      "none",
    ),
    answer: "text",
  },
  tile: {
    ...get("/v1/audit/tile/*", "Tiles and entries of the log (C2SP tlog-tiles)", z.unknown()),
    answer: "bytes",
  },
  shards: get(
    "/v1/audit/shards",
    "The log, or each of its shards, which are logs of their own at /v1/audit/shards/<name>",
    logShardsSchema,
    "none",
  ),
  shardCheckpoint: {
    ...get("/v1/audit/shards/:shard/checkpoint", "A shard's signed head", z.string(), "none"),
    answer: "text",
  },
  shardCosigned: {
    ...get(
      "/v1/audit/shards/:shard/cosigned",
      "The newest head of a shard that witnesses cosigned",
      z.string(),
      "none",
    ),
    answer: "text",
  },
  shardTile: {
    ...get("/v1/audit/shards/:shard/tile/*", "Tiles and entries of a shard", z.unknown()),
    answer: "bytes",
  },

  healthz: get("/healthz", "The process is alive", healthSchema, "none"),
  readyz: get("/readyz", "The gateway can do its work", readySchema, "none"),
} as const satisfies Record<string, Endpoint>;

export type Endpoints = typeof endpoints;
export type EndpointName = keyof Endpoints;
/** What a client sends. */
export type BodyOf<Name extends EndpointName> = z.input<Endpoints[Name]["body"]>;
export type QueryOf<Name extends EndpointName> = z.input<Endpoints[Name]["query"]>;
/** What a client receives; for "ndjson" one line. */
export type ResponseOf<Name extends EndpointName> = z.output<Endpoints[Name]["response"]>;

/** The path with its parameters filled in: `pathOf("session", { id })`; `rest` stands for the `*`. */
export function pathOf(
  name: EndpointName,
  parameters: Readonly<Record<string, string>> = {},
): string {
  const fill = (key: string): string => {
    const value = parameters[key];
    if (value === undefined) throw new TypeError(`${name} needs the parameter ${key}`);
    return value;
  };
  return endpoints[name].path
    .replace(/:([a-z]+)/g, (_match, key: string) => encodeURIComponent(fill(key)))
    .replace(/\*$/, () => fill("rest"));
}
