// The HTTP side of a witness (C2SP tlog-witness): `POST <prefix>/add-checkpoint` and
// `GET <prefix>/<origin hash>/checkpoint`. Plain HTTP, or TLS with a certificate of the operator's.

import {
  createServer as createPlain,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createTls } from "node:https";
import type { AddressInfo } from "node:net";
import type { Witness } from "./witness.ts";

export interface WitnessServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Called with what went wrong inside; the client is told nothing of it. */
  readonly onFault: (error: unknown) => void;
}

export interface WitnessServer extends AsyncDisposable {
  readonly port: number;
}

/** A request is a proof of at most 63 hashes and a note; ML-DSA-44 signatures are 3.3 KiB each. */
const MAX_BODY_BYTES = 64 << 10;
const MAX_CONNECTIONS = 256;
const REQUEST_TIMEOUT_MS = 10_000;

export async function serveWitness(
  witness: Witness,
  options: WitnessServerOptions,
): Promise<WitnessServer> {
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    answer(witness, request).then(
      ({ status, type, body }) => send(response, status, type, body),
      (error: unknown) => {
        options.onFault(error);
        send(response, 500, "text/plain; charset=utf-8", "the witness failed\n");
      },
    );
  };
  const settings = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS };
  const server: Server =
    options.tls === undefined
      ? createPlain(settings, onRequest)
      : createTls({ ...settings, ...options.tls }, onRequest);
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const NOT_FOUND: Answer = { status: 404, type: "text/plain; charset=utf-8", body: "not found\n" };

async function answer(witness: Witness, request: IncomingMessage): Promise<Answer> {
  const path = (request.url ?? "").split("?", 1)[0]!;
  if (request.method === "POST" && path.endsWith("/add-checkpoint")) {
    const body = await readBody(request);
    if (body !== undefined) return witness.add(body);
    return { ...NOT_FOUND, status: 413, body: "the request is too large\n" };
  }
  const hash = /\/([0-9a-f]{64})\/checkpoint$/.exec(path)?.[1];
  if (request.method !== "GET" || hash === undefined) return NOT_FOUND;
  const note = witness.latest(hash);
  return note === undefined ? NOT_FOUND : { ...NOT_FOUND, status: 200, body: note };
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
  response.end(body);
}
