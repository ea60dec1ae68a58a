// A small kubelet of our own: what an API server asks one for exec, attach, port-forward and logs, over
// SPDY/3.1. A "container" runs commands on this machine, in a folder of its own and with nothing in its
// environment; a forwarded port is one on loopback.

import { spawn } from "node:child_process";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import {
  encodeData,
  encodePing,
  encodeSynReply,
  HeaderReader,
  HeaderWriter,
  SpdyReader,
} from "@custody/wire/kubernetes/spdy.ts";
import { createTestAuthority } from "./certificates.ts";

export interface TestKubelet extends AsyncDisposable {
  readonly port: number;
  /** Command lines it ran. */
  readonly ran: readonly (readonly string[])[];
}

/** Streams of one connection, by what the API server calls them. */
interface Streams {
  readonly byType: Map<string, number>;
  write(type: string, data: Buffer, isLast?: boolean): void;
}

export async function startKubelet(folder: string): Promise<TestKubelet> {
  const ran: (readonly string[])[] = [];
  const sockets = new Set<Duplex>();
  const server = createHttpsServer(createTestAuthority("Throw-away kubelet").issue(["127.0.0.1"]));
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("request", (request, answer) => {
    answer.writeHead(200, { "content-type": "text/plain" });
    const isFollowed = (request.url ?? "").includes("follow=true");
    answer.write("first line of the log\n");
    if (!isFollowed) return void answer.end("last line of the log\n");
    let count = 0;
    const timer = setInterval(() => answer.write(`line ${++count} of the log\n`), 200);
    answer.on("close", () => clearInterval(timer));
  });
  server.on("upgrade", (request, duplex, head) => {
    const socket = duplex as Socket;
    const url = new URL(request.url ?? "/", "https://kubelet");
    const offered = String(request.headers["x-stream-protocol-version"] ?? "");
    const isForward = url.pathname.startsWith("/portForward");
    const version = isForward ? "portforward.k8s.io" : "v4.channel.k8s.io";
    if (!offered.includes(version)) return void socket.destroy();
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\nx-stream-protocol-version: ${version}\r\n\r\n`,
    );
    socket.unshift(head);
    if (isForward) return void serveForward(socket);
    const argv = url.searchParams.getAll("command");
    ran.push(argv);
    void serveExec(socket, argv, url, folder);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    ran,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function serveExec(socket: Socket, argv: readonly string[], url: URL, folder: string) {
  const asked = ["stdin", "stdout", "stderr"].filter((name) =>
    ["1", "true"].includes(
      url.searchParams.get(name) ??
        url.searchParams.get({ stdin: "input", stdout: "output", stderr: "error" }[name] ?? "") ??
        "",
    ),
  );
  const isTerminal = ["1", "true"].includes(url.searchParams.get("tty") ?? "");
  const expected = 1 + asked.length + (isTerminal ? 1 : 0);
  const [program = "cat", ...rest] = argv;
  let child: ReturnType<typeof spawn> | undefined;
  const early: Buffer[] = [];
  let isInputOver = false;
  await serveStreams(socket, {
    opened(streams) {
      if (child !== undefined || streams.byType.size < expected) return;
      child = spawn(program, rest, { cwd: folder, env: { PATH: "/usr/bin:/bin" } });
      for (const chunk of early) child.stdin?.write(chunk);
      if (isInputOver || !asked.includes("stdin")) child.stdin?.end();
      child.stdin?.on("error", () => undefined);
      child.stdout?.on("data", (data: Buffer) => streams.write("stdout", data));
      child.stderr?.on("data", (data: Buffer) =>
        streams.write(isTerminal ? "stdout" : "stderr", data),
      );
      child.on("error", (error) => endExec(socket, streams, 127, error.message));
      child.on("close", (code) => endExec(socket, streams, code ?? 1));
    },
    data(type, data, isLast) {
      if (type !== "stdin") return;
      if (child === undefined) early.push(Buffer.from(data));
      else child.stdin?.write(data);
      if (!isLast) return;
      isInputOver = true;
      child?.stdin?.end();
    },
  });
  child?.kill("SIGKILL");
}

/** As k8s.io/apimachinery's remotecommand says it in v4: a Status, with the exit code among its causes. */
function endExec(socket: Socket, streams: Streams, code: number, message = ""): void {
  const status =
    code === 0
      ? { metadata: {}, status: "Success" }
      : {
          ...{ metadata: {}, status: "Failure", reason: "NonZeroExitCode" },
          message: `command terminated with non-zero exit code: ${message}`,
          details: { causes: [{ reason: "ExitCode", message: String(code) }] },
        };
  for (const type of ["stdout", "stderr"]) streams.write(type, Buffer.alloc(0), true);
  streams.write("error", Buffer.from(JSON.stringify(status)), true);
  setTimeout(() => socket.end(), 50);
}

async function serveForward(socket: Socket): Promise<void> {
  const connections = new Map<number, Socket>();
  await serveStreams(socket, {
    opened: () => undefined,
    stream(id, headers, write) {
      if (headers.get("streamtype") !== "data") return;
      const target = connect(Number(headers.get("port")), "127.0.0.1");
      connections.set(id, target);
      target.on("data", (data) => write(data, false));
      target.on("close", () => write(Buffer.alloc(0), true));
      target.on("error", () => undefined);
    },
    raw(id, data, isLast) {
      const target = connections.get(id);
      target?.write(data);
      if (isLast) target?.end();
    },
  });
  for (const target of connections.values()) target.destroy();
}

interface StreamHandlers {
  opened(streams: Streams): void;
  data?(type: string, data: Buffer, isLast: boolean): void;
  stream?(
    id: number,
    headers: ReadonlyMap<string, string>,
    write: (data: Buffer, isLast: boolean) => void,
  ): void;
  raw?(id: number, data: Buffer, isLast: boolean): void;
}

async function serveStreams(socket: Socket, handlers: StreamHandlers): Promise<void> {
  using reader = new HeaderReader();
  using writer = new HeaderWriter();
  const frames = new SpdyReader(1 << 20);
  const types = new Map<number, string>();
  const byType = new Map<string, number>();
  const send = (bytes: Buffer) => {
    if (socket.writable) socket.write(bytes);
  };
  const streams: Streams = {
    byType,
    write(type, data, isLast = false) {
      const id = byType.get(type);
      if (id !== undefined) send(encodeData(id, data, isLast));
    },
  };
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>)
      for (const frame of frames.push(chunk)) {
        if (frame.kind === "ping") send(encodePing(frame.id));
        if (frame.kind === "data") {
          handlers.data?.(types.get(frame.stream) ?? "", frame.data, frame.isLast);
          handlers.raw?.(frame.stream, frame.data, frame.isLast);
        }
        if (frame.kind !== "syn-stream") continue;
        const headers = await reader.read(frame.block);
        const type = headers.get("streamtype") ?? "";
        types.set(frame.stream, type);
        byType.set(type, frame.stream);
        send(encodeSynReply(frame.stream, await writer.write(new Map())));
        handlers.stream?.(frame.stream, headers, (data, isLast) =>
          send(encodeData(frame.stream, data, isLast)),
        );
        handlers.opened(streams);
      }
  } catch {
    // It went away.
  }
}
