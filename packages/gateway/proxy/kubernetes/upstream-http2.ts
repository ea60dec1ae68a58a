// Watches of one session on few connections: HTTP/2 to an API server that speaks it, as many watches on each
// connection as the server allows, so that a thousand of them are ten connections and what comes for many
// at once is read at once. A server that speaks 1.1 only is found out by ALPN, once a session.
//
// Who owns the state: the session's upstream (upstream.ts), which closes them with it: a client certificate
// or token is never on a connection that another session uses.

import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";
import { GatewayError } from "../../base/errors.ts";
import { FedBody } from "./answer-body.ts";
import { type ConnectAt, connected } from "./upstream-connect.ts";
import type { UpstreamRequest, UpstreamResponse } from "./upstream-request.ts";

export interface Http2Upstream {
  /** undefined: the server does not speak it. Rejects with whatever broke it before there was an answer. */
  request(
    asked: UpstreamRequest,
    headers: Readonly<Record<string, string | string[]>>,
  ): Promise<UpstreamResponse | undefined>;
  destroy(): void;
}

interface Connection {
  readonly session: ClientHttp2Session;
  streams: number;
  isLeaving: boolean;
}

/** What Go's servers allow (`http2-max-streams-per-connection` of kube-apiserver is 100 by default). */
const MAX_STREAMS = 100;
/** Of one watch that is not read, and of a connection: more than all its watches together. */
const STREAM_WINDOW_BYTES = 256 << 10;
const CONNECTION_WINDOW_BYTES = MAX_STREAMS * STREAM_WINDOW_BYTES;
const MAX_SESSION_MEMORY_MB = 64;
const MAX_HEADER_BYTES = 64 << 10;

export function createHttp2Upstream(at: ConnectAt): Http2Upstream {
  return new Connections(at);
}

class Connections implements Http2Upstream {
  readonly #at: ConnectAt;
  readonly #open = new Set<Connection>();
  #opening: Promise<Connection | undefined> | undefined;
  #isSpoken = true;
  #isOver = false;

  constructor(at: ConnectAt) {
    this.#at = at;
  }

  async request(
    asked: UpstreamRequest,
    headers: Readonly<Record<string, string | string[]>>,
  ): Promise<UpstreamResponse | undefined> {
    for (;;) {
      const connection = this.#withRoom() ?? (await this.#another());
      if (connection === undefined) return undefined;
      asked.signal.throwIfAborted();
      const { session } = connection;
      if (session.closed || session.destroyed)
        throw new GatewayError("target_unavailable", "the API server closes its connections");
      // Somebody else may have taken the room while it was opened.
      if (hasRoom(connection)) return await ask(connection, asked, headers);
    }
  }

  destroy(): void {
    this.#isOver = true;
    for (const { session } of this.#open) session.destroy();
  }

  #withRoom(): Connection | undefined {
    for (const connection of this.#open) {
      const { isLeaving, session } = connection;
      const isGone = isLeaving || session.closed || session.destroyed;
      if (!isGone && hasRoom(connection)) return connection;
    }
    return undefined;
  }

  #another(): Promise<Connection | undefined> {
    if (!this.#isSpoken) return Promise.resolve(undefined);
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #connect(): Promise<Connection | undefined> {
    const socket = await connected(this.#at, { ALPNProtocols: ["h2", "http/1.1"] });
    if (socket.alpnProtocol !== "h2") {
      this.#isSpoken = false;
      socket.destroy();
      return undefined;
    }
    const session = connectHttp2(this.#at.server, {
      createConnection: () => socket,
      settings: {
        enablePush: false,
        initialWindowSize: STREAM_WINDOW_BYTES,
        maxHeaderListSize: MAX_HEADER_BYTES,
      },
      maxSessionMemory: MAX_SESSION_MEMORY_MB,
    });
    const connection: Connection = { session, streams: 0, isLeaving: false };
    // Each of its streams is told by itself.
    session.on("error", () => session.destroy());
    session.on("close", () => this.#open.delete(connection));
    // No more is asked on it, and what runs goes on until it ends.
    session.on("goaway", () => {
      connection.isLeaving = true;
    });
    session.once("connect", () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
    if (this.#isOver) session.destroy();
    else this.#open.add(connection);
    return connection;
  }
}

function hasRoom({ session, streams }: Connection): boolean {
  const allowed = session.remoteSettings.maxConcurrentStreams ?? MAX_STREAMS;
  return streams < Math.min(MAX_STREAMS, allowed);
}

function ask(
  connection: Connection,
  { method, path, body, signal }: UpstreamRequest,
  headers: Readonly<Record<string, string | string[]>>,
): Promise<UpstreamResponse> {
  const stream = connection.session.request(
    { ...headers, ":method": method, ":path": path },
    { endStream: body === undefined },
  );
  connection.streams++;
  const end = () => stream.close(constants.NGHTTP2_CANCEL);
  signal.addEventListener("abort", end, { once: true });
  stream.once("close", () => {
    connection.streams--;
    signal.removeEventListener("abort", end);
  });
  if (body !== undefined) stream.end(body);
  return answered(stream, signal);
}

function answered(stream: ClientHttp2Stream, signal: AbortSignal): Promise<UpstreamResponse> {
  const answer = new FedBody({
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    destroy: () => stream.close(constants.NGHTTP2_CANCEL),
  });
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      reject(error);
      answer.fail(error);
    };
    let hasEnded = false;
    stream.on("error", fail);
    stream.on("close", () => {
      if (!hasEnded) fail(signal.aborted ? signal.reason : new Error("the stream was closed"));
    });
    stream.on("response", (headers: IncomingHttpHeaders & { ":status"?: number }) => {
      stream.on("data", (chunk: Buffer) => answer.push(chunk));
      stream.on("end", () => {
        hasEnded = stream.rstCode === constants.NGHTTP2_NO_ERROR;
        if (hasEnded) answer.end();
      });
      resolve({ status: headers[":status"] ?? 502, headers, body: answer });
    });
  });
}
