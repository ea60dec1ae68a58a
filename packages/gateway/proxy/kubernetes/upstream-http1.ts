// Requests of one session over HTTP/1.1, one at a time on each connection, which is kept for the next. A client
// of our own, for a library's costs as much as the rest of a small get: what goes up is one write, and what comes
// down goes through a reader (wire/kubernetes/http1.ts) that takes nothing it would have to guess at.
//
// Who owns the state: the session's upstream (upstream.ts), which closes them with it: a client certificate
// or token is never on a connection that another session uses.

import type { TLSSocket } from "node:tls";
import { AnswerReader, headerLine, requestHead } from "@custody/wire/kubernetes/http1.ts";
import { FedBody } from "./answer-body.ts";
import { type ConnectAt, connected } from "./upstream-connect.ts";
import type { UpstreamRequest, UpstreamResponse } from "./upstream-request.ts";

export interface Http1Upstream {
  /** Rejects with whatever broke it before there was an answer. */
  request(asked: UpstreamRequest): Promise<UpstreamResponse>;
  destroy(): void;
}

type Headers = Readonly<Record<string, string | string[]>>;

const MAX_HEADER_BYTES = 64 << 10;
/** An idle connection is closed after one to two of these: sooner than by any server that keeps them. */
const REST_MS = 2000;
/** As TLS hands it on. */
const INCOMING_BYTES = 16 << 10;
const SLAB_BYTES = 128 << 10;
/** A body as small goes out with its head. */
const SMALL_BODY_BYTES = 16 << 10;
/** What always says how long its body is. */
const WITH_BODY = new Set(["POST", "PUT", "PATCH"]);
/** Said by the connection alone, as are those that show who asks. */
const FRAMING = ["host", "connection", "content-length", "transfer-encoding", "upgrade"];
const NONE: ReadonlySet<string> = new Set();
const NOTHING = Buffer.alloc(0);

/** `shown`: what shows who asks, in every request. Throws KubernetesWireError where it is no header. */
export function createHttp1Upstream(at: ConnectAt, shown: Headers): Http1Upstream {
  return new Connections(at, shown);
}

class Connections implements Http1Upstream {
  readonly #at: ConnectAt;
  /** Lines of every request, and the names of nobody else's. */
  readonly #shown: string;
  readonly #own: ReadonlySet<string>;
  readonly #open = new Set<Connection>();
  readonly #idle: Connection[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** What came last, until it is copied at once: a stream of node's makes a buffer for each 16 KiB. */
  readonly #incoming = Buffer.allocUnsafeSlow(INCOMING_BYTES);
  #slab: Buffer = NOTHING;
  #used = SLAB_BYTES;
  /** Of TLS: another connection goes on with it. */
  #session: Buffer | undefined;
  #isOver = false;

  constructor(at: ConnectAt, shown: Headers) {
    this.#at = at;
    this.#shown = headerLines({ host: new URL(at.server).host, ...shown }, NONE);
    this.#own = new Set([...FRAMING, ...Object.keys(shown)]);
  }

  async request(asked: UpstreamRequest): Promise<UpstreamResponse> {
    const lines = headerLines(asked.headers, this.#own) + lengthLine(asked) + this.#shown;
    const head = requestHead(asked.method, asked.path, lines);
    asked.signal.throwIfAborted();
    const connection = this.#idle.pop() ?? (await this.#another(asked.signal));
    return connection.ask(asked, head);
  }

  destroy(): void {
    this.#isOver = true;
    clearInterval(this.#timer);
    for (const connection of this.#open) connection.end(ended("the session is over"));
  }

  async #another(signal: AbortSignal): Promise<Connection> {
    const session = this.#session === undefined ? {} : { session: this.#session };
    let connection: Connection | undefined;
    const callback = (length: number, incoming: Uint8Array) => {
      connection?.read(this.#kept(incoming.subarray(0, length)));
      return true;
    };
    const onread = { buffer: this.#incoming, callback };
    const socket = await connected(
      this.#at,
      { ALPNProtocols: ["http/1.1"], ...session, onread },
      signal,
    );
    socket.on("session", (session) => {
      this.#session = session;
    });
    const made = new Connection(socket, (isFree) => {
      if (isFree) this.#rest(made);
      else this.#forget(made);
    });
    connection = made;
    this.#open.add(made);
    if (this.#isOver) made.end(ended("the session is over"));
    return made;
  }

  /** A copy, one after the other in few large buffers: the collector counts buffers. */
  #kept(bytes: Uint8Array): Buffer {
    let from = this.#used;
    if (from + bytes.length > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      from = 0;
    }
    this.#used = from + bytes.length;
    this.#slab.set(bytes, from);
    return this.#slab.subarray(from, this.#used);
  }

  #rest(connection: Connection): void {
    connection.rests = 0;
    this.#idle.push(connection);
    this.#timer ??= setInterval(() => this.#sweep(), REST_MS).unref();
  }

  #sweep(): void {
    for (const connection of [...this.#idle])
      if (++connection.rests > 1) connection.end(ended("nobody asks on it"));
    if (this.#idle.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    // Most sessions rest most of the time.
    this.#slab = NOTHING;
    this.#used = SLAB_BYTES;
  }

  #forget(connection: Connection): void {
    this.#open.delete(connection);
    const place = this.#idle.indexOf(connection);
    if (place >= 0) this.#idle.splice(place, 1);
  }
}

/** What is asked on a connection at the moment. */
interface Exchange {
  readonly reader: AnswerReader;
  readonly finish: () => void;
  readonly fail: (error: unknown) => void;
}

class Connection {
  /** Sweeps it saw since it was used. */
  rests = 0;
  readonly #socket: TLSSocket;
  readonly #told: (isFree: boolean) => void;
  #exchange: Exchange | undefined;
  /** Of the request, as long as not all of it is with the kernel. */
  #unsent = 0;
  #isOver = false;

  /** `told`: it is free, or it is gone. */
  constructor(socket: TLSSocket, told: (isFree: boolean) => void) {
    this.#socket = socket;
    this.#told = told;
    socket.on("error", (error) => this.end(error));
    // Whichever comes: half a connection is none.
    socket.on("end", () => this.end(ended("the API server closed the connection")));
    socket.on("close", () => this.end(ended("the API server closed the connection")));
  }

  ask({ body, method, signal }: UpstreamRequest, head: string): Promise<UpstreamResponse> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const answer = new FedBody({
        pause: () => socket.pause(),
        resume: () => socket.resume(),
        destroy: () => this.end(ended("nobody reads it any more")),
      });
      const abort = () => this.end(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      const reader = new AnswerReader(
        {
          head: (status, headers) => resolve({ status, headers, body: answer }),
          data: (bytes) => answer.push(bytes),
        },
        method === "HEAD",
        { maxHeadBytes: MAX_HEADER_BYTES },
      );
      this.#exchange = {
        reader,
        finish() {
          signal.removeEventListener("abort", abort);
          answer.end();
        },
        fail(error) {
          signal.removeEventListener("abort", abort);
          reject(error);
          answer.fail(error);
        },
      };
      if (signal.aborted) abort();
      else if (this.#isOver) this.#fail(ended("the connection is closed"));
      else this.#write(head, body);
    });
  }

  end(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#told(false);
    this.#socket.destroy();
    this.#fail(error);
  }

  #fail(error: unknown): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.fail(error);
  }

  #write(head: string, body: Buffer | undefined): void {
    const socket = this.#socket;
    this.#unsent = head.length + (body?.length ?? 0);
    if (body === undefined) socket.write(head, "latin1", this.#onSent);
    else if (body.length <= SMALL_BODY_BYTES)
      socket.write(Buffer.concat([Buffer.from(head, "latin1"), body]), this.#onSent);
    else {
      socket.write(head, "latin1");
      socket.write(body, this.#onSent);
    }
  }

  readonly #onSent = (): void => {
    this.#unsent = 0;
    if (this.#exchange === undefined && !this.#isOver) this.#told(true);
  };

  /** What came on it. */
  read(chunk: Buffer): void {
    const reader = this.#exchange?.reader;
    let isWhole = true;
    try {
      if (reader === undefined) throw ended("the API server speaks unasked");
      reader.push(chunk);
    } catch (error) {
      // What comes after an answer is none, and nothing is asked on the connection any more.
      isWhole = false;
      if (reader?.isDone !== true) this.end(error);
    }
    if (reader?.isDone === true) this.#finish(isWhole && reader.mayGoOn);
  }

  #finish(mayGoOn: boolean): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.finish();
    if (this.#isOver) return;
    // An answer may come before all of the request went: of a large one the rest may never go.
    if (!mayGoOn || this.#unsent > MAX_HEADER_BYTES) {
      this.end(undefined);
      return;
    }
    if (this.#socket.isPaused()) this.#socket.resume();
    // TLS says only in the next turn that a write went, and a near server has answered by then.
    if (this.#unsent === 0) this.#told(true);
  }
}

/** A line for each value: joined by a comma, two groups would be one of another name. */
function headerLines(headers: Headers, but: ReadonlySet<string>): string {
  let lines = "";
  for (const [name, value] of Object.entries(headers)) {
    if (but.has(name)) continue;
    if (typeof value === "string") lines += headerLine(name, value);
    else for (const one of value) lines += headerLine(name, one);
  }
  return lines;
}

function lengthLine({ body, method }: UpstreamRequest): string {
  if (body === undefined && !WITH_BODY.has(method)) return "";
  return headerLine("content-length", String(body?.length ?? 0));
}

/** As node says it: what reads may be asked for again (upstream.ts). */
function ended(message: string): Error {
  return Object.assign(new Error(message), { code: "ECONNRESET" });
}
