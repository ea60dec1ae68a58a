// The door for clients of Kubernetes: TLS, HTTP/2 and 1.1 on one port, one credential a request. The
// first segment of the path names the target, `[account~]target`; everything after it is the API's.
//
// A connection is accepted as it is and handed to node's own servers, which never listen themselves: one
// of TLS, with the certificate of the moment, and one for each version of HTTP.
//
// Who owns the state: the listener its sockets and sessions.

import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import {
  constants,
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type ServerHttp2Session,
} from "node:http2";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { KubernetesWireError } from "@custody/wire/kubernetes/errors.ts";
import { parseRequestUrl, type RequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import type { ClientAnswer } from "./answer.ts";
import { BodyRoom, beginIntake, isOver } from "./body-intake.ts";
import { statusOf } from "./faults.ts";
import {
  type HttpSession,
  HttpSessions,
  type HttpSessionsDeps,
  type ShownIdentity,
  tokenExpiry,
} from "./http-session.ts";
import { justificationIn, splitJustification } from "./justification.ts";
import { answerStatus, type RequestDeps, serveRequest } from "./request.ts";
import { EventSharing } from "./shared-events.ts";
import { type StreamDeps, serveStream } from "./streams.ts";

export interface KubernetesListenerDeps
  extends HttpSessionsDeps,
    Omit<RequestDeps, "remembered" | "events">,
    StreamDeps {
  readonly host: string;
  readonly port: number;
  /** PEM; another one after a renewal. */
  readonly certificate: () => { readonly cert: string; readonly key: string };
  readonly maxConnections: number;
  readonly startupTimeoutMs: number;
  readonly maxBodyBytes: number;
}

export interface KubernetesListener extends AsyncDisposable {
  readonly port: number;
}

type Incoming = IncomingMessage | Http2ServerRequest;

const MAX_HEADER_BYTES = 96 << 10;
const MAX_STREAMS = 2000;
/** No client of Kubernetes sends a request before the one before it is answered. */
const MAX_PIPELINED = 32;
/** Of bodies at once; each is several times as much while it is judged. */
const SESSION_BODY_BYTES = 16 << 20;
const BODY_BYTES = 256 << 20;
const NOTHING = Buffer.alloc(0);
/** For the answer to a request whose body is not read. */
const UNREAD_MS = 1000;

export async function listenKubernetes(deps: KubernetesListenerDeps): Promise<KubernetesListener> {
  const door = new Door(deps);
  const server = createServer({ noDelay: true, keepAlive: true }, (socket) => door.accept(socket));
  server.maxConnections = deps.maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new GatewayError("configuration", `cannot listen on ${deps.host}:${deps.port}`, { cause }),
      ),
    );
    server.listen(deps.port, deps.host, resolve);
  });
  server.on("error", (error) => deps.log("kubernetes listener", error));
  return {
    port: portOf(server),
    async [Symbol.asyncDispose]() {
      server.close();
      await door[Symbol.asyncDispose]();
    },
  };
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

class Door implements AsyncDisposable {
  readonly #deps: KubernetesListenerDeps;
  readonly #sessions: HttpSessions;
  readonly #requests: RequestDeps;
  readonly #sockets = new Set<Socket>();
  /** Of connections of HTTP/1.1 on which a request is being answered: those that came behind it. */
  readonly #waiting = new WeakMap<Socket, [IncomingMessage, ClientAnswer][]>();
  /** For the bodies of requests, until they are answered; a session's has a part of all. */
  readonly #room = new BodyRoom(BODY_BYTES);
  readonly #rooms = new WeakMap<HttpSession, BodyRoom>();
  /** Connections on which nobody has shown a good credential yet, by their place, with their time. */
  readonly #strangers = new Map<string, NodeJS.Timeout>();
  /** What connections were made with, by their place: looked at once each. */
  readonly #certificates = new Map<string, ShownIdentity>();
  readonly #http = createHttpServer({ maxHeaderSize: MAX_HEADER_BYTES, insecureHTTPParser: false });
  readonly #http2 = createHttp2Server({
    maxHeaderListPairs: 128,
    settings: { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADER_BYTES },
  });

  readonly #tls;
  /** The certificate the TLS server has. */
  #cert: string;

  constructor(deps: KubernetesListenerDeps) {
    this.#deps = deps;
    const { cert, key } = deps.certificate();
    this.#cert = cert;
    this.#tls = createTlsServer(
      {
        ...{ cert, key, minVersion: "TLSv1.2", ALPNProtocols: ["h2", "http/1.1"] },
        handshakeTimeout: deps.startupTimeoutMs,
        // Asked for and not needed. TLS proves the client's key whoever issued; who did is for the control
        // side to judge, each time a session is opened.
        ...{ requestCert: true, rejectUnauthorized: false },
      },
      (secure) => this.#secured(secure),
    );
    this.#tls.on("tlsClientError", (_error, socket) => socket.destroy());
    this.#sessions = new HttpSessions(deps);
    this.#requests = { ...deps, remembered: new WeakMap(), events: new EventSharing() };
    this.#http.on("request", (request, answer) => this.#inTurn(request, answer));
    this.#http.on("upgrade", (request, socket, head) => {
      const address = addressOf(request);
      void this.#upgrade(request, socket as Socket, head, address);
    });
    this.#http.on("clientError", (_error, socket) => socket.destroy());
    this.#http2.on(
      "request",
      (request, answer) => void this.#serve(request, answer as unknown as ClientAnswer),
    );
    this.#http2.on("session", (session) => endWhenIdle(session, deps.sessionIdleMs));
    this.#http2.on("sessionError", () => undefined);
    this.#http2.on("error", (error) => deps.log("kubernetes listener", error));
  }

  accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
    const { cert, key } = this.#deps.certificate();
    if (cert !== this.#cert) {
      this.#cert = cert;
      this.#tls.setSecureContext({ cert, key, minVersion: "TLSv1.2" });
    }
    this.#tls.emit("connection", socket);
  }

  #secured(secure: TLSSocket): void {
    secure.on("error", () => secure.destroy());
    this.#giveTime(secure);
    this.#keepCertificate(secure);
    const server = secure.alpnProtocol === "h2" ? this.#http2 : this.#http;
    server.emit("connection", secure);
  }

  /** node's own time limits of requests begin with a server that listens, and these never do. */
  #giveTime(secure: TLSSocket): void {
    const place = placeOf(secure);
    const timer = setTimeout(() => secure.destroy(), this.#deps.startupTimeoutMs).unref();
    this.#strangers.set(place, timer);
    secure.once("close", () => {
      clearTimeout(timer);
      if (this.#strangers.get(place) === timer) this.#strangers.delete(place);
    });
  }

  #keepCertificate(secure: TLSSocket): void {
    const certificate = certificateOf(secure);
    if (certificate === undefined) return;
    const place = placeOf(secure);
    this.#certificates.set(place, certificate);
    secure.once("close", () => {
      if (this.#certificates.get(place) === certificate) this.#certificates.delete(place);
    });
  }

  #shown(request: Incoming): ShownIdentity {
    return shownBy(request, this.#certificates.get(placeOf(request.socket)));
  }

  /** From here on the connection is its session's, which ends with the delegation. */
  #isKnown(socket: Socket): void {
    const place = placeOf(socket);
    clearTimeout(this.#strangers.get(place));
    this.#strangers.delete(place);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions[Symbol.asyncDispose]();
    for (const socket of this.#sockets) socket.destroy();
    this.#http.close();
    this.#http2.close();
  }

  /** Answers of one connection go out in the order of their requests, which are taken in it, one by one. */
  #inTurn(request: IncomingMessage, answer: ClientAnswer): void {
    const { socket } = request;
    const waiting = this.#waiting.get(socket);
    if (waiting === undefined) void this.#serveAll(request, answer);
    else if (waiting.length < MAX_PIPELINED) waiting.push([request, answer]);
    else socket.destroy();
  }

  async #serveAll(request: IncomingMessage, answer: ClientAnswer): Promise<void> {
    const { socket } = request;
    const waiting: [IncomingMessage, ClientAnswer][] = [];
    this.#waiting.set(socket, waiting);
    await this.#serve(request, answer);
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
      if (!socket.destroyed) await this.#serve(...next);
    this.#waiting.delete(socket);
  }

  async #serve(request: Incoming, answer: ClientAnswer): Promise<void> {
    try {
      await this.#answer(request, answer);
    } catch (thrown) {
      const error = toGatewayError(thrown);
      if (error.code === "internal") this.#deps.log(error.message, error.cause);
      if (answer.headersSent) answer.destroy();
      else answerStatus(answer, statusOf(error, undefined));
      if (!request.complete && !isOver(request)) endUnread(request);
    }
  }

  async #answer(request: Incoming, answer: ClientAnswer): Promise<void> {
    const { maxBodyBytes: maxBytes, startupTimeoutMs: startMs } = this.#deps;
    const intake = beginIntake(request, { maxBytes, startMs });
    try {
      const { target, account, url } = addressedTo(request.url ?? "");
      const session = await this.#sessions.of({
        ...{ ...this.#shown(request), target, account, clientAddress: addressOf(request) },
      });
      this.#isKnown(request.socket);
      const body = intake === undefined ? NOTHING : await intake.whole(this.#roomOf(session));
      const { headers, method = "" } = request;
      await serveRequest(this.#requests, session, { method, url, headers, body }, answer);
    } finally {
      intake?.end();
    }
  }

  #roomOf(session: HttpSession): BodyRoom {
    const known = this.#rooms.get(session);
    if (known !== undefined) return known;
    const made = new BodyRoom(SESSION_BODY_BYTES, this.#room);
    this.#rooms.set(session, made);
    return made;
  }

  async #upgrade(
    request: IncomingMessage,
    socket: Socket,
    head: Buffer,
    clientAddress: string,
  ): Promise<void> {
    socket.on("error", () => socket.destroy());
    try {
      const { target, account, url } = addressedTo(request.url ?? "");
      const shown = { ...this.#shown(request), target, account, clientAddress };
      const session = await this.#sessions.of(shown);
      this.#isKnown(socket);
      const { headers, method = "" } = request;
      await serveStream(this.#deps, session, { method, url, headers, socket, head });
    } catch (thrown) {
      const error = toGatewayError(thrown);
      if (error.code === "internal") this.#deps.log(error.message, error.cause ?? thrown);
      refuseUpgrade(socket, error);
    }
  }
}

/** What is still sent of a body that nobody reads would keep its connection, or its stream. */
function endUnread(request: Incoming): void {
  const end = () => {
    if ("stream" in request) request.stream.close(constants.NGHTTP2_NO_ERROR);
    else request.socket.destroy();
  };
  // Not at once: an answer that is on its way would be cut short.
  setTimeout(end, UNREAD_MS).unref();
}

/** A connection of HTTP/2 has no end of its own, and its pings are no reason to keep it. */
function endWhenIdle(session: ServerHttp2Session, idleMs: number): void {
  let open = 0;
  const idle = () => setTimeout(() => session.close(), idleMs).unref();
  let timer = idle();
  session.on("stream", (stream) => {
    clearTimeout(timer);
    open++;
    stream.once("close", () => {
      open--;
      if (open === 0) timer = idle();
    });
  });
  session.once("close", () => clearTimeout(timer));
}

/** A request that stays plain HTTP: its connection is not used again. */
function refuseUpgrade(socket: Socket, error: GatewayError): void {
  if (!socket.writable) return;
  const status = statusOf(error, undefined);
  const body = Buffer.from(JSON.stringify(status));
  socket.end(
    `HTTP/1.1 ${status.code} ${status.reason}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** `/ro~prod/api/v1/pods` → account ro, target prod, the rest. */
export function addressedTo(written: string): {
  readonly target: string;
  readonly account: string | undefined;
  readonly url: RequestUrl;
} {
  let url: RequestUrl;
  try {
    url = parseRequestUrl(written);
  } catch (thrown) {
    if (thrown instanceof KubernetesWireError) throw new GatewayError("invalid", thrown.message);
    throw thrown;
  }
  const [place = "", ...segments] = url.segments;
  const found = /^(?:([a-z0-9-]{1,63})~)?([a-z0-9-]{1,63})$/.exec(place);
  if (found === null)
    throw new GatewayError("not_found", "the path begins with no target", {
      hint: "custody kubeconfig <target> writes the address",
    });
  return { account: found[1], target: found[2] ?? "", url: { ...url, segments } };
}

/**
 * A bearer token, or the certificate the connection was made with. Throws GatewayError: unauthenticated
 * without either, invalid with both, forbidden with a claim of another identity.
 */
function shownBy({ headers }: Incoming, certificate: ShownIdentity | undefined): ShownIdentity {
  for (const name of Object.keys(headers))
    if (/^(impersonate-|x-remote-)/.test(name))
      throw new GatewayError(
        "forbidden",
        `the header ${name.slice(0, 64)} is not taken from clients`,
        {
          hint: "the cluster sees the head of the chain of delegation; leave out --as",
        },
      );
  const [, shown] = /^Bearer ([\x21-\x7e]+)$/i.exec(String(headers.authorization ?? "")) ?? [];
  const { token, justification: said } = splitJustification(shown ?? "");
  const justification = justificationIn(headers) ?? said;
  if (certificate !== undefined) {
    if (token === "" && (shown !== undefined || headers.authorization === undefined))
      return { ...certificate, justification };
    // Of two identities neither is the one that is meant.
    throw new GatewayError("invalid", "the request shows a certificate and a token: one is enough");
  }
  if (token === "")
    throw new GatewayError("unauthenticated", "the request shows no bearer token", {
      hint: "custody kubeconfig <target> writes a kubeconfig that does",
    });
  const untilMs = tokenExpiry(token);
  return { credential: new Secret(token), identity: token, untilMs, justification };
}

function certificateOf(secure: TLSSocket): ShownIdentity | undefined {
  const certificate = secure.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  return {
    credential: { kind: "client-certificate", certificate: certificate.raw },
    identity: `certificate ${certificate.fingerprint256}`,
    untilMs: certificate.validToDate.getTime(),
    justification: undefined,
  };
}

function placeOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function addressOf(request: Incoming): string {
  return request.socket.remoteAddress ?? "unknown";
}
