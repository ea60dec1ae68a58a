// A client that keeps every byte it is sent and says anything: any start-up parameters, any frames.

import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { password } from "@custody/wire/postgres/frontend.ts";
import { encodeSslRequest, encodeStartup } from "@custody/wire/postgres/startup.ts";

export interface Door {
  readonly host: string;
  readonly port: number;
  readonly ca: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly password: string;
}

/** One message of the server's. */
export interface Told {
  /** As a letter. */
  readonly type: string;
  readonly body: Buffer;
  /** Of an error or a notice. */
  readonly fields: ReadonlyMap<string, string> | undefined;
}

export interface Wire extends AsyncDisposable {
  /** Everything that came, decrypted. */
  received(): Buffer;
  /** What came since it was last asked. */
  fresh(): Buffer;
  readonly closed: boolean;
  /** Process id and key for a cancel. */
  readonly cancelKey: { readonly processId: number; readonly key: Buffer };
  send(bytes: Buffer): void;
  /** Messages until that many ReadyForQuery, the end of the connection, or the time is over. */
  until(readies: number, stop?: (told: Told) => boolean): Promise<readonly Told[]>;
}

/** Of a machine that does other things too. */
const TIMEOUT_MS = 60_000;

/** The connection is closed, with what was said before, when the gateway refuses. */
export async function openWire(door: Door): Promise<{ wire: Wire; greeting: readonly Told[] }> {
  const socket = await secure(door);
  const wire = new Connection(socket);
  wire.send(encodeStartup(Object.entries(door.parameters), { major: 3, minor: 0 }));
  wire.send(password(door.password));
  const greeting = await wire.until(1);
  return { wire, greeting };
}

async function secure(door: Door): Promise<TLSSocket> {
  const plain = connectTcp({ host: door.host, port: door.port, noDelay: true });
  await once(plain, "connect");
  plain.write(encodeSslRequest());
  const [answer] = (await once(plain, "data")) as [Buffer];
  if (answer.toString("latin1") !== "S") throw new Error("the gateway offers no TLS");
  plain.pause();
  const socket = connectTls({ socket: plain, ca: door.ca, servername: "localhost" });
  await once(socket, "secureConnect");
  return socket;
}

class Connection implements Wire {
  readonly #socket: TLSSocket;
  readonly #chunks: Buffer[] = [];
  readonly #cursor = new FrameCursor({ maxFrameBytes: 1 << 24 });
  readonly #waiting: Told[] = [];
  #asked = 0;
  #wake: () => void = () => undefined;
  closed = false;
  cancelKey = { processId: 0, key: Buffer.alloc(4) };

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(Buffer.from(chunk));
      this.#cursor.push(chunk);
      while (this.#cursor.next()) this.#take();
      this.#wake();
    });
    const end = () => {
      this.closed = true;
      this.#wake();
    };
    socket.on("end", end);
    socket.on("close", end);
    socket.on("error", end);
  }

  #take(): void {
    const { type, buffer, start, end } = this.#cursor;
    const letter = String.fromCharCode(type);
    const body = Buffer.from(buffer.subarray(start + 5, end));
    const isText = letter === "E" || letter === "N";
    if (letter === "K") this.cancelKey = { processId: body.readInt32BE(), key: body.subarray(4) };
    this.#waiting.push({
      type: letter,
      body,
      fields: isText ? decodeErrorFields(buffer, start, end) : undefined,
    });
  }

  received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  fresh(): Buffer {
    const fresh = Buffer.concat(this.#chunks.slice(this.#asked));
    this.#asked = this.#chunks.length;
    return fresh;
  }

  send(bytes: Buffer): void {
    if (!this.closed) this.#socket.write(bytes);
  }

  async until(readies: number, stop: (told: Told) => boolean = () => false): Promise<Told[]> {
    const told: Told[] = [];
    let left = readies;
    const deadline = performance.now() + TIMEOUT_MS;
    for (;;) {
      for (let one = this.#waiting.shift(); one !== undefined; one = this.#waiting.shift()) {
        told.push(one);
        if (one.type === "Z") left--;
        if (left === 0 || stop(one)) return told;
      }
      const rest = deadline - performance.now();
      if (this.closed) return told;
      if (rest <= 0) throw new Error(`no answer; so far ${told.map(({ type }) => type).join("")}`);
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      const timer = setTimeout(woken.resolve, rest);
      await woken.promise;
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.destroyed) return;
    const closed = once(this.#socket, "close");
    this.#socket.destroy();
    await closed;
  }
}
