// The control API: HTTPS with JSON, as the contract's table says. Every answer carries a request id;
// none carries a stack, a cause or a server's version.
//
// Owns the listener. Certificates are replaced while it runs; open connections go on.

import type { AddressInfo } from "node:net";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { GatewayError } from "../base/errors.ts";
import { newId, systemRandom } from "../base/ids.ts";
import { createLanes } from "../base/lanes.ts";
import { KEY_ALGORITHMS } from "../delegation/key.ts";
import { addAuditRoutes } from "./audit-routes.ts";
import { addClientCertificateRoutes } from "./client-certificate-routes.ts";
import { addDelegationRoutes } from "./delegation-routes.ts";
import type { ApiDeps } from "./deps.ts";
import { addErasureRoutes, addEvidenceRoutes } from "./evidence-routes.ts";
import { addExplainRoutes } from "./explain-routes.ts";
import { apiError, faultOf, oauthError, STATUS } from "./faults.ts";
import { parseForm } from "./form.ts";
import { addOAuthRoutes, OAuthRefusal } from "./oauth-routes.ts";
import { createOpenStreams } from "./open-streams.ts";
import { addProviderRoutes, EventRefusal } from "./provider-routes.ts";
import { createRateLimit } from "./rate-limit.ts";
import { addRequestRoutes } from "./request-routes.ts";
import { makeRoom } from "./room-for-others.ts";
import { createRouter } from "./routing.ts";
import { addSamlRoutes } from "./saml-routes.ts";
import { addSessionRoutes } from "./session-routes.ts";
import { addSshRoutes } from "./ssh-routes.ts";

export interface Api extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
}

const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 1000;
/** Each costs a signature to check or a leaf to write, whoever sends it. */
const TOKEN_SHARE = 1 / 4;
/** Lists and exports that one person waits for. */
const MOST_EACH = 8;
const CHALLENGE = `Bearer realm="custody", DPoP realm="custody", algs="${KEY_ALGORITHMS.join(" ")}"`;
const OAUTH_PATHS: ReadonlySet<string> = new Set(["/token", "/revoke", "/introspect"]);

/** Listens; port 0 is any free port. Throws GatewayError "configuration" when it cannot. */
export async function startApi(
  deps: ApiDeps,
  listen: { readonly host: string; readonly port: number },
): Promise<Api> {
  const server = createServer(deps);
  const { tree } = deps.delegations;
  const { clock, onFault } = deps.outside;
  const isAlive = (delegationId: string) => (tree.aliveUntil(delegationId) ?? 0) > clock.nowMs();
  const streams = createOpenStreams(isAlive, onFault);
  server.addHook("onClose", async () => streams[Symbol.dispose]());
  const router = createRouter(server, deps, streams);
  const lists = createLanes(MOST_EACH);
  addOAuthRoutes(router, deps);
  addProviderRoutes(router, deps);
  addSamlRoutes(router, deps);
  addDelegationRoutes(router, deps);
  addRequestRoutes(router, deps, lists);
  addSessionRoutes(router, deps, lists);
  addSshRoutes(router, deps);
  addClientCertificateRoutes(router, deps);
  addExplainRoutes(router, deps);
  addAuditRoutes(router, deps);
  addEvidenceRoutes(router, deps, createLanes(MOST_EACH));
  addErasureRoutes(router, deps);
  try {
    await server.listen(listen);
  } catch (thrown) {
    await server.close();
    throw new GatewayError("configuration", `cannot listen on ${listen.host}:${listen.port}`, {
      cause: thrown,
    });
  }
  const { address, port } = server.server.address() as AddressInfo;
  return {
    host: address,
    port,
    async [Symbol.asyncDispose]() {
      // Tails never end by themselves.
      const closed = server.close();
      server.server.closeAllConnections();
      await closed;
    },
  };
}

function createServer(deps: ApiDeps): FastifyInstance {
  const { tls, limits, onFault } = deps.outside;
  const server = Fastify({
    https: { ...tls.current(), minVersion: "TLSv1.2" },
    bodyLimit: limits.apiBodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    trustProxy: false,
    genReqId: () => newId("r", 10, systemRandom),
    routerOptions: { maxParamLength: 200 },
  });
  server.server.headersTimeout = HEADERS_TIMEOUT_MS;
  const room = makeRoom(server.server, MAX_CONNECTIONS);
  server.addHook("preHandler", async (request) => room.answering(request.socket));
  server.addHook("onResponse", async (request) => room.answered(request.socket));
  const stop = tls.onRenew(() => server.server.setSecureContext(tls.current()));
  server.addHook("onClose", async () => stop());
  addParsers(server);
  addGuards(server, deps);
  server.setNotFoundHandler((request, reply) => {
    const error = new GatewayError("not_found", "there is no such endpoint");
    return reply.code(404).send(apiError(error, request.id));
  });
  server.setErrorHandler((thrown, request, reply) => {
    const error = faultOf(thrown);
    if (error.code === "internal" && !isAnswer(thrown)) onFault(thrown);
    return answerFault(thrown, error, request, reply);
  });
  return server;
}

function addParsers(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "string" },
    (request, body, done) => {
      if (isOAuth(request) || isSaml(request)) done(null, parseForm(String(body)));
      else done(new GatewayError("invalid", "this endpoint reads JSON"));
    },
  );
  server.addContentTypeParser(
    "application/secevent+jwt",
    { parseAs: "string" },
    (request, body, done) => {
      if (isSecurityEvent(request)) done(null, String(body).trim());
      else done(new GatewayError("invalid", "this endpoint reads no security events"));
    },
  );
  server.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    if (isOAuth(request) || isSaml(request)) {
      done(new GatewayError("invalid", "this endpoint reads application/x-www-form-urlencoded"));
      return;
    }
    try {
      done(null, body === "" ? {} : JSON.parse(String(body)));
    } catch {
      done(new GatewayError("invalid", "the body is not JSON"));
    }
  });
}

function addGuards(server: FastifyInstance, deps: ApiDeps): void {
  const { clock, limits } = deps.outside;
  const general = createRateLimit(limits.apiRequestsPerMinute, clock);
  const tokens = createRateLimit(limits.apiRequestsPerMinute * TOKEN_SHARE, clock);
  server.addHook("onRequest", async (request, reply) => {
    reply.headers({
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "referrer-policy": "no-referrer",
      "strict-transport-security": "max-age=31536000",
      "x-content-type-options": "nosniff",
      "x-request-id": request.id,
    });
    const address = request.socket.remoteAddress ?? "";
    const isCostly = isOAuth(request) || isSecurityEvent(request) || isSaml(request);
    const limits = isCostly ? [general, tokens] : [general];
    if (limits.every((limit) => limit.allow(address))) return;
    reply.header("retry-after", "1");
    throw new GatewayError("limit", "too many requests from this address; wait a second");
  });
}

function answerFault(
  thrown: unknown,
  error: GatewayError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  if (isAnswer(thrown)) return reply.code(400).send(thrown.body);
  const status = Object(thrown).statusCode === 413 ? 413 : STATUS[error.code];
  // RFC 6750 section 3, RFC 9449 section 7.1.
  if (status === 401) reply.header("www-authenticate", CHALLENGE);
  if (!isOAuth(request)) return reply.code(status).send(apiError(error, request.id));
  return reply.code(status).send(oauthError(error));
}

/** Refusals that are written down in their own endpoint's words already. */
function isAnswer(thrown: unknown): thrown is OAuthRefusal | EventRefusal {
  return thrown instanceof OAuthRefusal || thrown instanceof EventRefusal;
}

function isSecurityEvent(request: FastifyRequest): boolean {
  return /^\/oidc\/[^/]+\/events$/.test(request.url.split("?", 1)[0] ?? "");
}

function isSaml(request: FastifyRequest): boolean {
  return /^\/saml\/[^/]+\/(?:login|acs)$/.test(request.url.split("?", 1)[0] ?? "");
}

function isOAuth(request: FastifyRequest): boolean {
  const path = request.url.split("?", 1)[0] ?? "";
  return OAUTH_PATHS.has(path) || /^\/oidc\/[^/]+\/backchannel-logout$/.test(path);
}
