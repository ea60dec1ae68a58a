// What the tests of this folder share: our connection on real sockets, a small server on it that runs
// commands, a client for it, and Debian's sshd as the other side. Everything is on loopback and ends with
// the test that started it.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { freePort } from "../../../conformance/support/free-port.ts";
import { signatureAlgorithmOf } from "./certificate.ts";
import { SshConnection } from "./connection.ts";
import type { SshEvent } from "./events.ts";
import { clientKeyAlgorithm } from "./key-proof.ts";
import { publicKeyBlob, publicKeyLine, signBlob } from "./keys.ts";
import type { SshClientOptions, SshHostKey, SshServerOptions } from "./options.ts";
import { STDERR } from "./requests.ts";

/** For a test's `skip`: why it cannot run here, or false. */
export function lacking(...programs: readonly string[]): string | false {
  const missing = programs.filter((program) => !existsSync(program));
  return missing.length === 0 ? false : `there is no ${missing.join(", no ")}`;
}

export const OPENSSH_CLIENT = ["/usr/bin/ssh", "/usr/bin/ssh-keygen"] as const;
export const OPENSSH_SERVER = ["/usr/sbin/sshd", "/usr/bin/ssh-keygen"] as const;
export const SFTP_SERVER = "/usr/lib/openssh/sftp-server";

export const nowMs = (): number => performance.now();

export function ed25519(): KeyObject {
  return generateKeyPairSync("ed25519").privateKey;
}

/** A folder that is gone after the test. */
export function testFolder(test: { after(end: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), "wire-ssh-"));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Driven {
  readonly connection: SshConnection;
  readonly socket: Socket;
  /** Handles what is there and writes what is to be sent. */
  pump(): void;
  /** Resolves when the socket is closed. */
  readonly closed: Promise<unknown>;
}

/** Moves bytes between a connection and its socket. Reads only as fast as it can write. */
export function drive(
  connection: SshConnection,
  socket: Socket,
  handle: (event: SshEvent, driven: Driven) => void,
): Driven {
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const driven: Driven = { connection, socket, pump, closed };
  function pump(): void {
    for (let event = connection.next(); event !== undefined; event = connection.next()) {
      handle(event, driven);
    }
    socket.cork();
    let room = true;
    for (const piece of connection.takeOutput()) room = socket.write(piece);
    socket.uncork();
    if (!room && socket.writableLength > MAX_UNWRITTEN_BYTES) socket.pause();
    if (connection.state === "over") socket.end();
  }
  socket.setNoDelay(true);
  socket.on("data", (chunk) => {
    connection.receive(chunk);
    pump();
  });
  socket.on("drain", () => {
    socket.resume();
    pump();
  });
  socket.on("end", () => {
    connection.inputEnded();
    pump();
  });
  socket.on("error", () => socket.destroy());
  pump();
  return driven;
}

export interface TestServer {
  readonly port: number;
  readonly connections: SshConnection[];
  readonly events: SshEvent[];
  close(): Promise<void>;
}

export interface TestServerOptions {
  readonly hostKeys: readonly SshHostKey[];
  readonly options?: Partial<Omit<SshServerOptions, "role">>;
  /** Answers what the default does not: it lets everybody in and runs commands with sh. */
  readonly handle?: (event: SshEvent, driven: Driven) => boolean;
}

/** A server on our connection. */
export async function startServer(wanted: TestServerOptions): Promise<TestServer> {
  const connections: SshConnection[] = [];
  const events: SshEvent[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    const connection = new SshConnection({
      role: "server",
      software: "OpenSSH_Custody_test",
      hostKeys: wanted.hostKeys,
      nowMs,
      ...wanted.options,
    });
    connections.push(connection);
    const commands = new Map<number, RunningCommand>();
    socket.once("close", () => {
      for (const command of commands.values()) command.process.kill();
    });
    drive(connection, socket, (event, driven) => {
      if (event.kind !== "channel-data") events.push(event);
      if (wanted.handle?.(event, driven) !== true) answer(event, driven, commands);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    events,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

interface RunningCommand {
  readonly process: ChildProcess;
  /** Output that the window had no room for. */
  readonly held: { readonly stream: number; data: Buffer }[];
  exit: { readonly status: number | null; readonly signal: string | null } | undefined;
}

function answer(event: SshEvent, driven: Driven, commands: Map<number, RunningCommand>): void {
  const { connection } = driven;
  switch (event.kind) {
    case "auth-request":
      if (event.attempt.method === "publickey-query") connection.acceptKey();
      else if (event.attempt.method === "publickey") connection.acceptAuth();
      else connection.rejectAuth(["publickey"]);
      break;
    case "global-request":
      if (event.reply !== undefined) connection.replyGlobal(event.reply, false);
      break;
    case "channel-open":
      connection.acceptChannel(event.channel);
      break;
    case "channel-request":
      if (event.request.kind === "eow@openssh.com") {
        const running = commands.get(event.channel);
        running?.process.stdout?.destroy();
        running?.held.splice(0);
        break;
      }
      if (event.request.kind === "exec") {
        const command = event.request.command.toString("latin1");
        commands.set(event.channel, run(command, event.channel, driven));
      }
      if (event.reply !== undefined) connection.replyChannel(event.channel, event.reply, true);
      break;
    case "channel-data": {
      const stdin = commands.get(event.channel)?.process.stdin;
      const consumed = () => {
        connection.consumed(event.channel, event.data.length);
        driven.pump();
      };
      stdin?.write(event.data, consumed);
      break;
    }
    case "channel-eof":
      commands.get(event.channel)?.process.stdin?.end();
      break;
    case "channel-writable":
      flush(event.channel, driven, commands.get(event.channel)!);
      break;
    case "channel-closed":
      commands.get(event.channel)?.process.kill();
      commands.delete(event.channel);
      break;
  }
}

function run(command: string, channel: number, driven: Driven): RunningCommand {
  const process = spawn("/bin/sh", ["-c", command], { stdio: "pipe" });
  const running: RunningCommand = { process, held: [], exit: undefined };
  for (const [stream, output] of [
    [0, process.stdout],
    [STDERR, process.stderr],
  ] as const) {
    output.on("data", (data: Buffer) => {
      running.held.push({ stream, data });
      flush(channel, driven, running);
      if (running.held.length > 0) output.pause();
    });
  }
  process.stdin.on("error", () => process.stdin.destroy());
  process.once("close", (status, signal) => {
    running.exit = { status, signal };
    flush(channel, driven, running);
  });
  return running;
}

function flush(channel: number, driven: Driven, running: RunningCommand): void {
  const { connection } = driven;
  while (running.held.length > 0) {
    const first = running.held[0]!;
    const taken = connection.sendData(channel, first.data, first.stream);
    if (taken < first.data.length) {
      first.data = first.data.subarray(taken);
      break;
    }
    running.held.shift();
  }
  if (running.held.length === 0) {
    running.process.stdout?.resume();
    running.process.stderr?.resume();
    if (running.exit !== undefined) end(channel, connection, running.exit);
  }
  driven.pump();
}

function end(
  channel: number,
  connection: SshConnection,
  exit: { readonly status: number | null; readonly signal: string | null },
): void {
  connection.sendEof(channel);
  if (exit.status !== null) {
    connection.requestChannel(channel, { kind: "exit-status", status: exit.status });
  } else {
    connection.requestChannel(channel, {
      kind: "exit-signal",
      signal: (exit.signal ?? "SIGKILL").slice(3),
      coreDumped: false,
      message: Buffer.from("killed"),
      language: Buffer.alloc(0),
    });
  }
  connection.closeChannel(channel);
}

export interface Identity {
  readonly privateKey: KeyObject;
  /** The public key, or a certificate of it. */
  readonly blob: Buffer;
}

export interface TestClient extends Driven {
  readonly events: SshEvent[];
  /** What a command says, and how it ends. */
  exec(command: string | Buffer, input?: Buffer): Promise<ExecResult>;
  end(): Promise<void>;
}

export interface ExecResult {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly status: number | undefined;
}

/** A client on our connection, authenticated with the key. */
export async function startClient(
  port: number,
  identity: Identity,
  options: Partial<Omit<SshClientOptions, "role">> = {},
  tap: (event: SshEvent, driven: Driven) => boolean = () => false,
): Promise<TestClient> {
  const events: SshEvent[] = [];
  const execs = new Map<number, Exec>();
  const connection = new SshConnection({
    role: "client",
    software: "OpenSSH_Custody_test",
    user: userInfo().username,
    hostKeyAccepted: () => true,
    nowMs,
    ...options,
  });
  const socket = connect(port, "127.0.0.1");
  const { promise: open, resolve, reject } = Promise.withResolvers<void>();
  const driven = drive(connection, socket, (event, self) => {
    if (event.kind !== "channel-data") events.push(event);
    if (tap(event, self)) return;
    if (event.kind === "authenticated") resolve();
    if (event.kind === "failed") reject(event.error);
    if (event.kind === "disconnected") reject(new Error(`disconnected: ${event.text}`));
    if (event.kind === "auth-wanted") {
      if (events.filter(({ kind }) => kind === "auth-wanted").length > 1) {
        reject(new Error(`authentication failed: ${event.methods}`));
      } else {
        authenticate(connection, identity);
      }
    }
    if ("channel" in event) execs.get(event.channel)?.handle(event);
  });
  void driven.closed.then(() => {
    reject(new Error("closed"));
    for (const exec of execs.values()) exec.abort(new Error("closed"));
  });
  await open.catch((error: unknown) => {
    socket.destroy();
    throw error;
  });
  return {
    ...driven,
    events,
    exec: (command, input = Buffer.alloc(0)) => {
      const { promise, resolve: done, reject: fail } = Promise.withResolvers<ExecResult>();
      const channel = connection.openChannel({ kind: "session" });
      execs.set(channel, startExec(driven, channel, Buffer.from(command), input, done, fail));
      driven.pump();
      return promise;
    },
    end: async () => {
      connection.disconnect(11, "done");
      driven.pump();
      await driven.closed;
    },
  };
}

function authenticate(connection: SshConnection, identity: Identity): void {
  const { blob, privateKey } = identity;
  const algorithm = clientKeyAlgorithm(blob, connection.serverSignatureAlgorithms)!;
  const signed = connection.signedPart(algorithm, blob);
  const signature = signBlob(privateKey, signatureAlgorithmOf(algorithm), signed);
  connection.authenticateKey(algorithm, blob, signature);
}

interface Exec {
  handle(event: SshEvent): void;
  abort(error: Error): void;
}

function startExec(
  driven: Driven,
  channel: number,
  command: Buffer,
  input: Buffer,
  done: (result: ExecResult) => void,
  fail: (error: Error) => void,
): Exec {
  const { connection } = driven;
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let status: number | undefined;
  let left = input;
  const send = () => {
    left = left.subarray(connection.sendData(channel, left));
    if (left.length === 0) connection.sendEof(channel);
  };
  return {
    abort: fail,
    handle: (event) => {
      if (event.kind === "channel-opened") {
        connection.requestChannel(channel, { kind: "exec", command }, "exec");
        send();
      }
      if (event.kind === "channel-writable") send();
      if (event.kind === "channel-refused") fail(new Error(`refused: ${event.text}`));
      if (event.kind === "channel-data") {
        output[event.stream === STDERR ? "stderr" : "stdout"].push(event.data);
        connection.consumed(channel, event.data.length);
      }
      if (event.kind === "channel-request" && event.request.kind === "exit-status") {
        status = event.request.status;
      }
      if (event.kind === "channel-closed") {
        const stdout = Buffer.concat(output.stdout);
        done({ stdout, stderr: Buffer.concat(output.stderr), status });
      }
    },
  };
}

export interface Sshd {
  readonly port: number;
  readonly hostKey: Buffer;
  /** What it said so far. */
  log(): string;
  close(): Promise<void>;
}

/** Debian's sshd for this account, with these lines in its configuration. */
export async function startSshd(
  folder: string,
  authorizedKeys: readonly string[],
  lines: readonly string[] = [],
): Promise<Sshd> {
  const hostKeyPath = join(folder, "host-key");
  if (!existsSync(hostKeyPath)) keygen(hostKeyPath, "ed25519");
  writeFileSync(join(folder, "authorized_keys"), `${authorizedKeys.join("\n")}\n`);
  // As root it wants its folder.
  if (userInfo().uid === 0) mkdirSync("/run/sshd", { recursive: true });
  const port = await freePort();
  const configuration = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${hostKeyPath}`,
    `AuthorizedKeysFile ${join(folder, "authorized_keys")}`,
    `PidFile ${join(folder, "sshd.pid")}`,
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin yes",
    "StrictModes no",
    "UsePAM no",
    "MaxStartups 100",
    "LogLevel VERBOSE",
    "Subsystem sftp internal-sftp",
    ...lines,
  ];
  const configPath = join(folder, "sshd_config");
  writeFileSync(configPath, `${configuration.join("\n")}\n`);
  const process = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", configPath], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  process.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const exited = once(process, "exit");
  for (let attempt = 0; !said.includes("listening on") && attempt < 200; attempt++) {
    if (process.exitCode !== null) throw new Error(`sshd: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return {
    port,
    hostKey: publicLine(hostKeyPath),
    log: () => said,
    close: async () => {
      process.kill();
      await exited;
    },
  };
}

export function keygen(path: string, type: string, ...more: string[]): void {
  const bits = type === "rsa" ? ["-b", "2048"] : [];
  execFileSync("ssh-keygen", ["-q", "-t", type, ...bits, "-N", "", "-f", path, ...more]);
}

function publicLine(path: string): Buffer {
  const line = execFileSync("ssh-keygen", ["-y", "-f", path], { encoding: "utf8" });
  return Buffer.from(line.split(" ")[1]!, "base64");
}

export interface SshRun {
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly status: number | null;
}

/** OpenSSH's client against a server of ours. */
export async function ssh(
  port: number,
  identityPath: string,
  args: readonly string[],
  input?: Buffer,
): Promise<SshRun> {
  const options = ["-F", "none", "-p", String(port), "-i", identityPath, ...SSH_OPTIONS];
  return await runProcess("ssh", [...options, ...args], input);
}

export async function runProcess(
  program: string,
  args: readonly string[],
  input?: Buffer,
): Promise<SshRun> {
  const process = spawn(program, args, { stdio: "pipe" });
  const stdout: Buffer[] = [];
  let stderr = "";
  process.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  process.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  process.stdin.on("error", () => process.stdin.destroy());
  process.stdin.end(input);
  const [status] = (await once(process, "close")) as [number | null];
  return { stdout: Buffer.concat(stdout), stderr, status };
}

/** Our key as a file that OpenSSH reads, made by ssh-keygen. */
export function clientKeyFile(folder: string, type = "ed25519"): string {
  const path = join(folder, `client-${type}`);
  if (!existsSync(path)) keygen(path, type);
  return path;
}

export function authorizedLine(key: KeyObject): string {
  return publicKeyLine(publicKeyBlob(key));
}

const MAX_UNWRITTEN_BYTES = 1024 * 1024;
const SSH_OPTIONS = [
  "-o",
  "StrictHostKeyChecking=no",
  "-o",
  "UserKnownHostsFile=/dev/null",
  "-o",
  "IdentitiesOnly=yes",
  "-o",
  "BatchMode=yes",
];
