// An SSH client of our own for the suites: commands as bytes, many over one connection, and nothing done
// that it was not told to do.

import { connect, type Socket } from "node:net";
import { SshConnection } from "@custody/wire/ssh/connection.ts";
import type { SshEvent } from "@custody/wire/ssh/events.ts";
import type { ChannelRequest } from "@custody/wire/ssh/requests.ts";

export interface Executed {
  /** undefined: the channel was closed without one. */
  readonly status: number | undefined;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface WireClient extends AsyncDisposable {
  exec(command: Uint8Array | string, more?: readonly ChannelRequest[]): Promise<Executed>;
  /** Settles once it is started. */
  subsystem(
    name: string,
    onData: (data: Buffer) => void,
  ): Promise<{ readonly send: (data: Buffer) => void }>;
  /** Settles with the reason when the other side ends the connection. */
  readonly over: Promise<string>;
  readonly connection: SshConnection;
  /** Writes what the connection has to say. */
  flush(): void;
}

interface Running {
  readonly onData?: (data: Buffer) => void;
  readonly stdout: Buffer[];
  readonly stderr: Buffer[];
  status: number | undefined;
  readonly start: () => void;
  readonly done: (executed: Executed) => void;
}

export async function openWireClient(options: {
  readonly port: number;
  readonly user: string;
  readonly secret: string;
  /** What is never consumed, this client never reads. */
  readonly stalls?: boolean;
}): Promise<WireClient> {
  const connection = new SshConnection({
    role: "client",
    software: "OpenSSH_suite",
    user: options.user,
    // Other cases check the gateway's key.
    hostKeyAccepted: () => true,
    nowMs: () => performance.now(),
    ...(options.stalls === true ? { limits: { windowBytes: 1 << 30 } } : {}),
  });
  const socket: Socket = connect({ host: "127.0.0.1", port: options.port, noDelay: true });
  const ready = Promise.withResolvers<void>();
  const over = Promise.withResolvers<string>();
  let isStalled = false;
  const channels = new Map<number, Running>();
  const ended = (why: string) => {
    ready.reject(new Error(why));
    over.resolve(why);
    for (const running of channels.values()) finish(running);
    channels.clear();
  };
  const flush = () => {
    for (const bytes of connection.takeOutput()) socket.write(bytes);
  };
  const handle = (event: SshEvent) => {
    if (event.kind === "auth-wanted") {
      if (event.methods.length > 0) ended("the credential was refused");
      else connection.authenticatePassword(Buffer.from(options.secret));
    }
    if (event.kind === "authenticated") ready.resolve();
    if (event.kind === "disconnected") ended(event.text);
    if (event.kind === "failed") ended(event.error.message);
    if (event.kind === "global-request" && event.reply !== undefined)
      connection.replyGlobal(event.reply, false);
    if (!("channel" in event)) return;
    const running = channels.get(event.channel);
    if (running === undefined) return;
    switch (event.kind) {
      case "channel-opened":
        running.start();
        break;
      case "channel-data":
        if (event.stream === 0 && running.onData !== undefined)
          running.onData(Buffer.from(event.data));
        else (event.stream === 0 ? running.stdout : running.stderr).push(Buffer.from(event.data));
        connection.consumed(event.channel, event.data.length);
        break;
      case "channel-request":
        if (event.request.kind === "exit-status") running.status = event.request.status;
        break;
      case "channel-closed":
      case "channel-refused":
        channels.delete(event.channel);
        finish(running);
        break;
      default:
    }
  };
  socket.on("data", (chunk: Buffer) => {
    if (isStalled) {
      socket.pause();
      return;
    }
    connection.receive(chunk);
    for (let event = connection.next(); event !== undefined; event = connection.next())
      handle(event);
    flush();
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", () => ended("the connection was closed"));
  over.promise.catch(() => undefined);
  flush();
  await ready.promise;
  return {
    ...{ connection, flush, over: over.promise },
    exec(command, more = []) {
      return new Promise((resolve) => {
        const channel = connection.openChannel({ kind: "session" });
        channels.set(channel, {
          ...{ stdout: [], stderr: [], status: undefined, done: resolve },
          start() {
            for (const request of more) connection.requestChannel(channel, request);
            connection.requestChannel(channel, { kind: "exec", command: Buffer.from(command) });
            connection.sendEof(channel);
            isStalled = options.stalls === true;
          },
        });
        flush();
      });
    },
    subsystem(name, onData) {
      return new Promise((resolve, reject) => {
        const channel = connection.openChannel({ kind: "session" });
        channels.set(channel, {
          ...{ onData, stdout: [], stderr: [], status: undefined },
          done: () => reject(new Error(`the subsystem ${name} has ended`)),
          start() {
            connection.requestChannel(channel, { kind: "subsystem", name: Buffer.from(name) });
            resolve({
              send(data) {
                // What the suites send fits into a window.
                if (connection.sendData(channel, data) !== data.length)
                  throw new Error("more than the window holds");
                flush();
              },
            });
          },
        });
        flush();
      });
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
      await over.promise;
    },
  };
}

function finish({ done, status, stderr, stdout }: Running): void {
  done({ status, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString("utf8") });
}
