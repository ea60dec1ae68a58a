// What was permitted, running on a channel of the target's: opened, set up, started, relayed both ways
// with back-pressure, recorded, and its end told to the client as the target told it.
//
// Who owns the state: one a permitted start. It ends with one outcome leaf, whichever side ends it.

import type { RecordingLevel, RecordingStream } from "@custody/evidence/core/recording.ts";
import type { ReplySlot } from "@custody/wire/ssh/events.ts";
import { type ChannelRequest, STDERR } from "@custody/wire/ssh/requests.ts";
import type { Permit } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Detection } from "../../masking/nets.ts";
import { createScreen, type Screen } from "../../recording/screen.ts";
import { whyNotExec } from "./exec.ts";
import type { ChannelEnd } from "./flow.ts";
import { OutputMasks } from "./output-masks.ts";
import { PacedRequests } from "./paced-requests.ts";
import type { ChannelHandler, ClientSide, RelayContext } from "./relay-context.ts";
import { SftpRelay } from "./sftp-relay.ts";
import type { SharedTerminal } from "./shared-terminals.ts";
import { SlipGuard } from "./slip-guard.ts";
import { EXIT, type Lines, plain, shown } from "./wording.ts";

export interface Start {
  /** What the target is asked to start. */
  readonly request: Extract<ChannelRequest, { kind: "exec" | "shell" | "subsystem" }>;
  readonly mode: "exec" | "shell" | "subsystem";
  readonly argv: readonly string[];
  /** What the target is asked for before it starts. */
  readonly before: readonly ChannelRequest[];
  readonly requestId: string;
  readonly permit: Permit;
  readonly level: RecordingLevel | undefined;
  /** Of its output; of files each has its own. */
  readonly masks: readonly Detection[];
}

const STARTED = "started";
const HELD = "  Enter once more runs it all the same; any other key edits it";
const STATUS_WAIT_MS = 500;

export class RunningChannel implements ChannelHandler {
  readonly #context: RelayContext;
  readonly #start: Start;
  readonly #client: ClientSide;
  readonly #end: ChannelEnd;
  readonly #sftp: SftpRelay | undefined;
  readonly #masks: OutputMasks | undefined;
  /** Of a shell, for others who take part in it. */
  #shared: SharedTerminal | undefined;
  /** Of a terminal that is recorded whole. */
  #screen: Screen | undefined;
  readonly #slips: SlipGuard | undefined;
  readonly #requests = new PacedRequests({
    isFree: (again) => this.#isFree(again),
    pass: (request) => this.#pass(request),
  });
  #exit: Extract<ChannelRequest, { kind: "exit-status" | "exit-signal" }> | undefined;
  #outputBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #eofTimer: NodeJS.Timeout | undefined;
  #hasClientEnded = false;
  #hasHostEnded = false;
  #isOpen = false;
  #isRunning = false;
  #isOver = false;

  constructor(context: RelayContext, start: Start, client: ClientSide) {
    this.#context = context;
    this.#start = start;
    this.#client = client;
    this.#end = context.openUpstream({ kind: "session" }, this);
    client.toClient.from(this.#end);
    if (start.masks.length > 0 && start.mode !== "subsystem")
      this.#masks = new OutputMasks(start.masks);
    if (start.mode === "shell" && context.holdToRun && client.terminal !== undefined)
      this.#slips = new SlipGuard((line) => whyNotExec(context, line));
    if (start.mode === "subsystem")
      this.#sftp = new SftpRelay(context, {
        ...{ toTarget: client.toTarget, toClient: client.toClient },
        ...{ channel: client.end.channel, level: start.level },
        fail: (message) => this.#stop([message], EXIT.failed, "protocol"),
      });
  }

  /** Whether a person sits before it: then being idle counts. */
  get isInteractive(): boolean {
    return this.#start.mode === "shell";
  }

  onClientData(stream: number, data: Buffer): void {
    if (stream !== 0) {
      this.#client.toTarget.push(0, NOTHING, data.length);
      return;
    }
    if (this.#sftp !== undefined) {
      this.#sftp.fromClient(data);
      return;
    }
    // What is typed into a terminal without echo is not shown, and not kept either.
    if (this.#client.terminal === undefined) this.#record("stdin", data);
    const { held, keys } = this.#slips?.typed(data) ?? { held: undefined, keys: data };
    this.#client.toTarget.push(0, keys, data.length);
    if (held !== undefined) this.#client.toClient.push(STDERR, shown(["", held, HELD], true), 0);
  }

  onClientEof(): void {
    this.#hasClientEnded = true;
    if (this.#sftp !== undefined) this.#sftp.clientEnded(() => this.#client.toTarget.end());
    else this.#client.toTarget.end();
  }

  onClientRequest(request: ChannelRequest): boolean {
    if (!this.#isRunning || this.#isOver) return false;
    switch (request.kind) {
      case "window-change":
        return this.#client.terminal !== undefined && this.#requests.take(request);
      case "signal":
      case "break":
      case "eow@openssh.com":
        return this.#requests.take(request);
      default:
        return false;
    }
  }

  onClientClosed(): void {
    this.#end.peer.connection.closeChannel(this.#end.channel);
    this.#end.peer.touch();
    this.#over("disconnected");
  }

  /** The session ends: what runs is told to. A host that has not opened the channel runs nothing. */
  kill(): void {
    if (this.#isOver) return;
    if (this.#isOpen) for (const signal of ["TERM", "KILL"]) this.#ask({ kind: "signal", signal });
    this.#end.peer.connection.closeChannel(this.#end.channel);
    this.#end.peer.touch();
    this.#over("ended");
  }

  onOpened(): void {
    this.#isOpen = true;
    const { terminal, environment } = this.#client;
    for (const variable of environment) this.#ask({ kind: "env", ...variable });
    if (terminal !== undefined) this.#ask({ kind: "pty-req", ...terminal });
    for (const request of this.#start.before) this.#ask(request);
    this.#end.peer.connection.requestChannel(this.#end.channel, this.#start.request, STARTED);
    this.#end.peer.touch();
  }

  onRefused(text: string): void {
    const why = `Custody: the target opens no channel: ${plain(text)}`;
    this.#stop([why], EXIT.failed, "refused");
  }

  onReply(tag: unknown, success: boolean): void {
    if (tag !== STARTED || this.#isOver) return;
    if (!success) {
      this.#stop([`Custody: the target starts no ${this.#start.mode}`], EXIT.failed, "refused");
      return;
    }
    this.#isRunning = true;
    const { recorder } = this.#context;
    const { argv, level, mode, permit, requestId } = this.#start;
    const { environment, terminal } = this.#client;
    const isPlain = level !== "digest";
    recorder.typed({
      ...{ kind: "exec", request: requestId, channel: this.#client.end.channel, mode },
      ...(isPlain ? { argv } : {}),
      ...(isPlain && environment.length > 0
        ? {
            environment: Object.fromEntries(
              environment.map(({ name, value }) => [name.toString("utf8"), value.toString("utf8")]),
            ),
          }
        : {}),
    });
    if (terminal !== undefined) this.#recordTerminal(terminal.size, terminal.term.toString("utf8"));
    this.#share();
    const { timeoutMs } = permit.obligations;
    if (timeoutMs !== undefined) {
      const why = `Custody: stopped after ${Math.round(timeoutMs / 1000)} s, the longest it may run`;
      this.#timer = setTimeout(() => this.#stop([why], EXIT.timedOut, "timed-out"), timeoutMs);
    }
    this.#client.toTarget.to(this.#end);
  }

  onData(stream: number, data: Buffer): void {
    if (this.#sftp !== undefined && stream === 0) {
      this.#sftp.fromTarget(data);
      return;
    }
    this.#outputBytes += data.length;
    if (!this.#isOver) this.#show(stream, data);
    const { maxBytes } = this.#start.permit.obligations;
    if (maxBytes !== undefined && this.#outputBytes > maxBytes && !this.#isOver)
      this.#stop([`Custody: stopped after ${maxBytes} bytes of output`], EXIT.timedOut, "limit");
  }

  // Hosts send the end of output and the status together, in any order, or the status long after it. A
  // client whose own end was told closes at the end of output (OpenSSH's, of a shared connection) and would
  // lose a status that comes later: to it the end comes with the status. Else it waits a moment.
  onEof(): void {
    this.#endMasks();
    if (this.#exit !== undefined) this.#client.toClient.end();
    else {
      this.#hasHostEnded = true;
      if (!this.#hasClientEnded)
        this.#eofTimer = setTimeout(() => this.#client.toClient.end(), STATUS_WAIT_MS);
    }
  }

  onWritable(): void {
    this.#client.toTarget.advance();
  }

  onRequest(request: ChannelRequest, reply: ReplySlot | undefined): void {
    const { connection } = this.#end.peer;
    if (reply !== undefined) connection.replyChannel(this.#end.channel, reply, false);
    const { channel, peer } = this.#client.end;
    switch (request.kind) {
      case "exit-status":
      case "exit-signal":
        if (this.#exit !== undefined || this.#isOver) return;
        this.#exit = request;
        break;
      case "eow@openssh.com":
        // The target reads no more: the client may stop sending.
        this.#client.toTarget.drop();
        break;
      default:
        return;
    }
    this.#client.toClient.inOrder(() => {
      peer.connection.requestChannel(channel, request);
      peer.touch();
    });
    if (this.#exit !== undefined && this.#hasHostEnded) this.#client.toClient.end();
  }

  onClosed(): void {
    if (this.#isOver) return;
    this.#endMasks();
    const exit = this.#exit;
    this.#over(outcomeOf(exit));
    this.#client.close([], exit === undefined ? EXIT.failed : undefined);
  }

  /** Whether the host reads, and the disk takes what is recorded; else they say when it is worth asking again. */
  #isFree(again: () => void): boolean {
    const { peer } = this.#end;
    if (peer.isCongested) {
      peer.whenDrained(again);
      return false;
    }
    return this.#context.recorder.room(again);
  }

  #pass(request: ChannelRequest): void {
    if (this.#isOver) return;
    if (request.kind === "window-change") {
      this.#recordTerminal(request.size, undefined);
      this.#screen?.resized(request.size);
      this.#shared?.resized(request.size);
    } else if (request.kind === "signal") {
      this.#context.recorder.event(this.#start.requestId, "signal", { signal: request.signal });
    }
    this.#ask(request);
  }

  #ask(request: ChannelRequest): void {
    const { channel, peer } = this.#end;
    if (peer.isGone) return;
    peer.connection.requestChannel(channel, request);
    peer.touch();
  }

  /** What of it may be shown now; a mask keeps what may be the beginning of a value. */
  #show(stream: number, data: Buffer): void {
    const shown = this.#guarded(() => this.#masks?.pass(stream, data) ?? data);
    this.#deliver(stream, shown ?? NOTHING, data.length);
  }

  #deliver(stream: number, data: Buffer, owed: number): void {
    if (data.length > 0) {
      this.#record(stream === STDERR ? "stderr" : "stdout", data);
      this.#shared?.output(data);
    }
    const screen = this.#screen;
    if (screen === undefined || data.length === 0) {
      this.#client.toClient.push(stream, data, owed);
      return;
    }
    // What its source waits for comes with the screen's room.
    this.#client.toClient.push(stream, data, 0);
    screen.output(data, () => this.#client.toClient.push(0, NOTHING, owed));
  }

  /** The last of the output, and that it is not what the command wrote. */
  #endMasks(): void {
    if (this.#isOver) return;
    const last = this.#guarded(() => this.#masks?.end() ?? []) ?? [];
    for (const { data, stream } of last) this.#deliver(stream, data, 0);
    const lines = last.length === 0 ? [] : (this.#masks?.summary ?? []);
    if (lines.length > 0)
      this.#client.toClient.push(STDERR, shown(lines, this.#client.terminal !== undefined), 0);
  }

  #guarded<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (thrown) {
      if (!(thrown instanceof GatewayError)) throw thrown;
      this.#stop([`Custody: stopped: ${thrown.message}`], EXIT.timedOut, "unmaskable");
      return undefined;
    }
  }

  #stop(lines: Lines, exit: number, outcome: string): void {
    if (this.#isOver) return;
    if (this.#isRunning) this.#ask({ kind: "signal", signal: "KILL" });
    this.#end.peer.connection.closeChannel(this.#end.channel);
    this.#end.peer.touch();
    this.#over(outcome);
    this.#client.close(lines, exit);
  }

  #over(outcome: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#eofTimer);
    this.#shared?.close();
    this.#screen?.close();
    this.#requests.close();
    const { recorder, judge } = this.#context;
    const { requestId } = this.#start;
    this.#sftp?.over();
    const exit = this.#exit;
    recorder.typed({
      ...{ kind: "exit", request: requestId, channel: this.#client.end.channel },
      ...(exit?.kind === "exit-status" ? { code: exit.status } : {}),
      ...(exit?.kind === "exit-signal" ? { signal: exit.signal } : {}),
    });
    const masked = this.#masks?.classes;
    judge.book.endCommand({
      ...{ requestId, outcome, bytes: this.#outputBytes },
      ...(masked === undefined ? {} : { masked }),
    });
  }

  /** What is not to be recorded whole is not to be watched either. */
  #share(): void {
    const { level, mode, requestId } = this.#start;
    const { end, terminal, toClient, toTarget } = this.#client;
    if (terminal === undefined || (level ?? "full") !== "full") return;
    this.#screen = createScreen(terminal.size, {
      keep: ({ bytes, columns, rows }) =>
        this.#context.recorder.typed({
          ...{ kind: "screen", request: requestId, channel: end.channel, columns, rows },
          bytes: bytes.toString("base64"),
        }),
    });
    if (mode !== "shell") return;
    this.#shared = this.#context.terminals.open({
      ...{ requestId, size: terminal.size, screen: this.#screen },
      type(bytes) {
        // Of participants nothing is held back: what the host does not take now is not typed.
        if (!toTarget.isFree) return false;
        toTarget.push(0, bytes, 0);
        return true;
      },
      tell(line) {
        if (!end.peer.isGone) toClient.push(STDERR, shown([line], true), 0);
      },
    });
  }

  #record(stream: RecordingStream, data: Buffer): void {
    const { requestId, level } = this.#start;
    this.#context.recorder.data(requestId, this.#client.end.channel, stream, data, level);
  }

  #recordTerminal(
    { columns, rows }: { readonly columns: number; readonly rows: number },
    name: string | undefined,
  ): void {
    this.#context.recorder.typed({
      ...{ kind: "terminal", request: this.#start.requestId, channel: this.#client.end.channel },
      ...{ columns, rows },
      ...(name === undefined ? {} : { name }),
    });
  }
}

const NOTHING = Buffer.alloc(0);

/** RFC 4254 section 6.10. A leaf is for ever: a host writes no text of its own into it. */
const SIGNALS: ReadonlySet<string> = new Set([
  ...["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL"],
  ...["PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"],
]);

/** `ok`, `exit 3`, `signal TERM`; without either the target's connection was lost. */
function outcomeOf(
  exit: Extract<ChannelRequest, { kind: "exit-status" | "exit-signal" }> | undefined,
): string {
  if (exit === undefined) return "lost";
  if (exit.kind === "exit-signal")
    return `signal ${SIGNALS.has(exit.signal) ? exit.signal : "of another name"}`;
  return exit.status === 0 ? "ok" : `exit ${exit.status}`;
}
