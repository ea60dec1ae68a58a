// The listener for whoever runs the gateway: health, readiness and metrics, over TLS as everything else,
// on an address of its own so that a firewall can tell it apart. It reads nothing from a request but
// its path, and knows nothing that names a person or a command.
//
// Owns the listener.

import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { GatewayError } from "../base/errors.ts";
import type { ApiTls } from "./deps.ts";
import { METRICS_TYPE, type MetricSources, metricsText } from "./metrics.ts";

export interface AdminDeps {
  readonly tls: ApiTls;
  readonly metrics: MetricSources;
  /** Each check by name; all true is ready. */
  readonly ready: () => Readonly<Record<string, boolean>>;
}

export interface Admin extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
}

const TIMEOUT_MS = 5000;
const MAX_CONNECTIONS = 64;
const MAX_HEADER_BYTES = 8192;

/** Port 0 is any free port. Throws GatewayError "configuration" when it cannot listen. */
export async function startAdmin(
  deps: AdminDeps,
  listen: { readonly host: string; readonly port: number },
): Promise<Admin> {
  const server = createServer(
    {
      ...deps.tls.current(),
      minVersion: "TLSv1.2",
      handshakeTimeout: TIMEOUT_MS,
      requestTimeout: TIMEOUT_MS,
      headersTimeout: TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    (request, response) => answer(deps, request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new GatewayError("configuration", `cannot listen on ${listen.host}:${listen.port}`, {
          cause,
        }),
      ),
    );
    server.listen(listen.port, listen.host, resolve);
  });
  const stop = deps.tls.onRenew(() => server.setSecureContext(deps.tls.current()));
  const { address, port } = server.address() as AddressInfo;
  return {
    host: address,
    port,
    async [Symbol.asyncDispose]() {
      stop();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function answer(deps: AdminDeps, request: IncomingMessage, response: ServerResponse): void {
  const { status, type, body } = pageOf(deps, request.method === "GET" ? request.url : undefined);
  response.writeHead(status, {
    "content-type": type,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    // A body that nobody reads would keep the connection; it is not worth keeping.
    ...(status === 404 ? { connection: "close" } : {}),
  });
  response.end(body);
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

function pageOf(deps: AdminDeps, path: string | undefined): Page {
  if (path === "/healthz") return { status: 200, type: "text/plain", body: "ok\n" };
  if (path === "/metrics")
    return { status: 200, type: METRICS_TYPE, body: metricsText(deps.metrics) };
  if (path === "/readyz") {
    const checks = deps.ready();
    const ready = Object.values(checks).every((check) => check);
    const body = `${JSON.stringify({ ready, checks })}\n`;
    return { status: ready ? 200 : 503, type: "application/json", body };
  }
  return { status: 404, type: "text/plain", body: "there is /healthz, /readyz and /metrics\n" };
}
