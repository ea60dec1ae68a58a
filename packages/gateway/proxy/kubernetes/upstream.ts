// Connections to an API server. Plain requests share a pool of their account's own; an upgrade gets a
// connection for itself that is never used again, whatever came of it (CVE-2018-1002105).
//
// Who owns the state: one pool a session, closed with it, so that a client certificate or token is never
// on a connection that another session uses.

import { request as httpsRequest, type RequestOptions } from "node:https";
import type { Duplex } from "node:stream";
import type { ConnectionOptions } from "node:tls";
import { GatewayError } from "../../base/errors.ts";
import type { UpstreamCredential } from "../../session/control.ts";
import { createHttp1Upstream } from "./upstream-http1.ts";
import { createHttp2Upstream } from "./upstream-http2.ts";
import type { UpstreamRequest, UpstreamResponse } from "./upstream-request.ts";

export type KubernetesCredentialOf = Extract<UpstreamCredential, { kind: "kubernetes" }>;

export interface UpstreamAt {
  /** `https://host:port` */
  readonly server: string;
  /** PEM; undefined: the system's authorities. */
  readonly ca: string | undefined;
  readonly connectTimeoutMs: number;
  /** The API server takes the credential no more. */
  readonly onRefused?: () => void;
}

export interface Upstream extends AsyncDisposable {
  /** Throws GatewayError "target_unavailable". */
  request(asked: UpstreamRequest): Promise<UpstreamResponse>;
  /** The socket after 101, or the answer that was given instead. Throws "target_unavailable". */
  upgrade(asked: Omit<UpstreamRequest, "body">): Promise<Upgraded>;
}

export type Upgraded =
  | {
      readonly kind: "upgraded";
      readonly socket: Duplex;
      readonly head: Buffer;
      readonly headers: UpstreamResponse["headers"];
    }
  | { readonly kind: "refused"; readonly status: number; readonly body: Buffer };

const MAX_REFUSAL_BYTES = 64 << 10;
const MAX_HEADER_BYTES = 64 << 10;
/** The connection was going away when it was asked on it. */
const ENDED = new Set([
  ...["ERR_HTTP2_INVALID_SESSION", "ERR_HTTP2_GOAWAY_SESSION", "ERR_HTTP2_STREAM_ERROR"],
  ...["ERR_HTTP2_SESSION_ERROR", "ECONNRESET", "EPIPE"],
]);

export function openUpstream(at: UpstreamAt, credential: KubernetesCredentialOf): Upstream {
  const { certificate } = credential;
  const tls = {
    ...(at.ca === undefined ? {} : { ca: at.ca }),
    ...(certificate === undefined
      ? {}
      : { cert: certificate.certificate, key: certificate.privateKey.reveal() }),
    minVersion: "TLSv1.2" as const,
  };
  const own = credentialHeaders(credential);
  const connectAt = { server: at.server, connectTimeoutMs: at.connectTimeoutMs, tls };
  // A watch has a connection for itself where it shares none, and says nothing as long as nothing happens.
  const requests = createHttp1Upstream(connectAt, own);
  const watches = createHttp2Upstream(connectAt);
  return {
    async request(asked) {
      const { method, headers, signal } = asked;
      const ask = async () => {
        if (asked.isWatch !== true) return await requests.request(asked);
        return (await watches.request(asked, { ...headers, ...own })) ?? requests.request(asked);
      };
      try {
        // A connection may have ended just now. Only what reads is asked for again.
        const answer = await ask().catch((error: unknown) => {
          if (method !== "GET" || signal.aborted || !hasEnded(error)) throw error;
          return ask();
        });
        if (answer.status === 401) at.onRefused?.();
        return answer;
      } catch (cause) {
        throw unavailable(cause);
      }
    },
    async upgrade({ method, path, headers, signal }) {
      const { hostname, port } = new URL(at.server);
      const upgraded = await upgrade(
        {
          ...tls,
          ...{ method, path, signal, host: hostname.replace(/^\[(.*)\]$/, "$1") },
          port: port === "" ? 443 : Number(port),
          headers: { ...headers, ...own },
          agent: false,
          ALPNProtocols: ["http/1.1"],
          timeout: at.connectTimeoutMs,
          maxHeaderSize: MAX_HEADER_BYTES,
        },
        signal,
      );
      if (upgraded.kind === "refused" && upgraded.status === 401) at.onRefused?.();
      return upgraded;
    },
    async [Symbol.asyncDispose]() {
      watches.destroy();
      requests.destroy();
    },
  };
}

function hasEnded(error: unknown): boolean {
  return error instanceof Error && "code" in error && ENDED.has(String(error.code));
}

/** What shows who asks, whatever else there was. */
function credentialHeaders({ token, impersonate }: KubernetesCredentialOf) {
  const headers: Record<string, string | string[]> = {};
  if (token !== undefined) headers.authorization = `Bearer ${token.reveal()}`;
  if (impersonate !== undefined) {
    headers["impersonate-user"] = headerText(impersonate.user);
    if (impersonate.groups.length > 0)
      headers["impersonate-group"] = impersonate.groups.map(headerText);
    for (const [key, values] of Object.entries(impersonate.extra))
      headers[`impersonate-extra-${key}`] = values.map(headerText);
  }
  return headers;
}

/** Names come from identity providers: nothing that ends a header gets into one (RFC 9110 section 5.5). */
function headerText(text: string): string {
  return text.replace(/[^\x21-\x7e ]/g, "?").slice(0, 1024);
}

function upgrade(
  options: RequestOptions & ConnectionOptions,
  signal: AbortSignal,
): Promise<Upgraded> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(options);
    request.on("error", (cause) => reject(unavailable(cause)));
    request.on("timeout", () => request.destroy(new Error("timed out")));
    request.on("upgrade", (answer, socket, head) => {
      socket.setTimeout(0);
      // Until it is joined to the client's it may break with nobody else to tell.
      socket.on("error", () => socket.destroy());
      signal.addEventListener("abort", () => socket.destroy(), { once: true });
      resolve({ kind: "upgraded", socket, head, headers: answer.headers });
    });
    request.on("response", (answer) => {
      const parts: Buffer[] = [];
      let length = 0;
      answer.on("data", (part: Buffer) => {
        length += part.length;
        if (length <= MAX_REFUSAL_BYTES) parts.push(part);
        else request.destroy();
      });
      answer.on("error", (cause) => reject(unavailable(cause)));
      answer.on("end", () => {
        request.destroy();
        resolve({ kind: "refused", status: answer.statusCode ?? 502, body: Buffer.concat(parts) });
      });
    });
    request.end();
  });
}

function unavailable(cause: unknown): GatewayError {
  return cause instanceof GatewayError
    ? cause
    : new GatewayError("target_unavailable", "the API server cannot be reached", { cause });
}
