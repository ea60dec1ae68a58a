// One session channel of a client (RFC 4254 section 6) until something runs on it: what it sets up, what
// it asks to start, and the decision. The channel is accepted at once and its input waits, so that
// nothing is lost however long people take to decide. What runs is running-channel.ts.
//
// Who owns the state: one a channel. However it ends, the client is told on stderr and by exit status.

import { isDeepStrictEqual } from "node:util";
import type { ReplySlot } from "@custody/wire/ssh/events.ts";
import { type ChannelRequest, STDERR } from "@custody/wire/ssh/requests.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import { readExec } from "./exec.ts";
import { type ChannelEnd, Flow } from "./flow.ts";
import { type Gathering, gather } from "./gather.ts";
import type { Asked, Verdict } from "./judge.ts";
import { accountOperation, sftpOperation, variableOperation } from "./operations.ts";
import type {
  ChannelHandler,
  ClientSide,
  RelayContext,
  Terminal,
  Variable,
} from "./relay-context.ts";
import { RunningChannel, type Start } from "./running-channel.ts";
import { SessionForwards } from "./session-forwards.ts";
import { maySet } from "./variables.ts";
import { changedLines, EXIT, faultLines, type Lines, shown } from "./wording.ts";

const MAX_VARIABLES = 64;
const MAX_VARIABLE_BYTES = 8192;
const MAX_JUSTIFICATION_LENGTH = 500;
const NOTHING = Buffer.alloc(0);
const JUSTIFICATION = "CUSTODY_JUSTIFICATION";

type Startable = Extract<ChannelRequest, { kind: "exec" | "shell" | "subsystem" }>;

export class SessionChannel implements ChannelHandler {
  readonly #context: RelayContext;
  readonly #end: ChannelEnd;
  readonly #onGone: () => void;
  readonly #toClient: Flow;
  readonly #toTarget: Flow;
  readonly #environment: Variable[] = [];
  readonly #forwards: SessionForwards;
  #terminal: Terminal | undefined;
  #isStarted = false;
  #isOver = false;
  #running: RunningChannel | undefined;
  /** Permitted, and its connection is being opened. */
  #opening: Start | undefined;
  #cancelWait: (() => void) | undefined;
  /** What came before anything runs. What runs reads it (SFTP decides on it), so it waits unread. */
  #early: Gathering[] = [];
  #hasEarlyEnd = false;

  /** `onGone`: nothing is to be told to it any more. */
  constructor(context: RelayContext, end: ChannelEnd, onGone: () => void) {
    this.#context = context;
    this.#onGone = onGone;
    this.#end = end;
    const { recorder } = context;
    const room = (done: () => void) => recorder.room(done);
    this.#toClient = new Flow({ room, delivery: (done) => recorder.delivery(done) }).to(end);
    this.#toTarget = new Flow({ room }).from(end);
    this.#forwards = new SessionForwards(context, (lines) => this.#tell(lines));
  }

  get isBusy(): boolean {
    return this.#isStarted && !this.#isOver && this.#running?.isInteractive !== true;
  }

  /** The session ends; the client is told why while it still listens. */
  end(error: GatewayError): void {
    if (this.#isOver) return;
    this.#running?.kill();
    this.#cancelWait?.();
    this.#toClient.dropHeld();
    this.#close(faultLines(error), EXIT.failed);
  }

  notice(message: string): void {
    if (this.#isStarted && !this.#isOver) this.#tell([message]);
  }

  onData(stream: number, data: Buffer): void {
    if (this.#running !== undefined) this.#running.onClientData(stream, data);
    else if (this.#isOver) this.#toTarget.push(0, NOTHING, data.length);
    else if (!gather(this.#early, stream, data)) this.#early.push({ stream, data });
  }

  onEof(): void {
    if (this.#running !== undefined) this.#running.onClientEof();
    else this.#hasEarlyEnd = true;
  }

  onWritable(): void {
    this.#toClient.advance();
  }

  onRequest(request: ChannelRequest, reply: ReplySlot | undefined): void {
    const answer = (success: boolean) => {
      if (reply !== undefined)
        this.#end.peer.connection.replyChannel(this.#end.channel, reply, success);
      this.#end.peer.touch();
    };
    if (this.#isOver) {
      answer(false);
      return;
    }
    if (this.#isStarted) {
      answer(this.#later(request));
      return;
    }
    switch (request.kind) {
      case "env":
        answer(this.#setVariable(request));
        return;
      case "pty-req":
        this.#terminal = request;
        answer(true);
        return;
      case "auth-agent-req@openssh.com":
      case "x11-req":
        this.#forwards.ask(request).then(answer, (thrown) => this.#failed(thrown));
        return;
      case "exec":
      case "shell":
        answer(true);
        this.#start(request);
        return;
      case "subsystem":
        // Only what is understood operation by operation.
        answer(request.name.toString("latin1") === "sftp");
        if (request.name.toString("latin1") === "sftp") this.#start(request);
        return;
      default:
        answer(false);
        return;
    }
  }

  onReply(): void {}
  onOpened(): void {}
  onRefused(): void {}

  onClosed(): void {
    this.#isOver = true;
    this.#giveUp("skipped");
    this.#onGone();
    this.#cancelWait?.();
    this.#forwards.end();
    this.#running?.onClientClosed();
  }

  #later(request: ChannelRequest): boolean {
    if (request.kind === "signal" && this.#running === undefined) this.#cancelWait?.();
    if (request.kind === "window-change" && this.#terminal !== undefined)
      this.#terminal = { ...this.#terminal, size: request.size };
    return this.#running?.onClientRequest(request) ?? false;
  }

  #setVariable({ name, value }: Variable): boolean {
    const key = name.toString("latin1");
    const text = value.toString("utf8");
    if (key === JUSTIFICATION) return this.#justify(text);
    const isPlain = /^[A-Za-z_][A-Za-z0-9_]*$/.test(key) && Buffer.from(text).equals(value);
    if (!isPlain || !maySet(key) || /\p{Cc}/u.test(text)) return false;
    if (value.length > MAX_VARIABLE_BYTES || this.#environment.length >= MAX_VARIABLES)
      return false;
    if (!this.#context.judge.permits(variableOperation(this.#context.site, key, text)))
      return false;
    this.#environment.push({ name, value });
    return true;
  }

  #justify(text: string): boolean {
    if (text.length > MAX_JUSTIFICATION_LENGTH || /\p{Cc}/u.test(text)) return false;
    this.#context.judge.book.justify(text === "" ? undefined : text);
    return true;
  }

  #start(request: Startable): void {
    this.#isStarted = true;
    const { judge } = this.#context;
    const { asked, start } = this.#read(request);
    const verdict = judge.judge({
      ...asked,
      tell: (lines) => this.#tell(lines),
      onWait: (cancel) => {
        this.#cancelWait = cancel;
      },
    });
    Promise.all([verdict, this.#forwards.decided()])
      .then(([decided]) => this.#decided(decided, start, () => this.#isStill(request, asked)))
      .catch((thrown) => this.#failed(thrown));
  }

  #failed(thrown: unknown): void {
    this.#context.log("an SSH channel ended by a fault", thrown);
    this.end(new GatewayError("internal", "internal error; the channel was closed"));
  }

  #read(request: Startable): {
    asked: Pick<Asked, "operation" | "command" | "bound" | "durability">;
    start: Pick<Start, "request" | "mode" | "argv">;
  } {
    const { site } = this.#context;
    const around = [
      this.#environment.map(({ name, value }) => `${name}=${value}`),
      this.#terminal === undefined ? null : "terminal",
    ];
    switch (request.kind) {
      case "exec": {
        const { operation, line, argv } = readExec(this.#context, request.command);
        const bound = [request.command.toString("base64"), line.toString("base64"), ...around];
        return {
          asked: { operation, command: request.command, bound, durability: "strict" },
          start: { request: { kind: "exec", command: line }, mode: "exec", argv },
        };
      }
      case "shell":
        return {
          asked: {
            operation: accountOperation(site, "shell"),
            ...{ command: "", bound: ["shell", ...around], durability: "strict" },
          },
          start: { request, mode: "shell", argv: [] },
        };
      case "subsystem":
        return {
          asked: {
            operation: sftpOperation(),
            ...{ command: "sftp", bound: ["sftp"], durability: "ordered" },
          },
          start: { request, mode: "subsystem", argv: ["sftp"] },
        };
    }
  }

  /** Whether it would be read as it was: grammars are replaced while people decide. */
  #isStill(request: Startable, asked: Pick<Asked, "operation" | "bound">): boolean {
    const { operation, bound } = this.#read(request).asked;
    return isDeepStrictEqual([operation, bound], [asked.operation, asked.bound]);
  }

  #decided(
    verdict: Verdict,
    start: Pick<Start, "request" | "mode" | "argv">,
    isStill: () => boolean,
  ): void {
    this.#cancelWait = undefined;
    if (verdict.verdict === "deny") {
      if (!this.#isOver) this.#close(verdict.lines, verdict.exit);
      return;
    }
    const { requestId, permit, level, masks } = verdict;
    if (this.#isOver || this.#end.peer.isGone) {
      this.#context.judge.book.endCommand({ requestId, outcome: "skipped" });
      return;
    }
    if (verdict.isApproved && !isStill()) {
      this.#context.judge.book.endCommand({ requestId, outcome: "skipped" });
      this.#close(changedLines(requestId), EXIT.refused);
      return;
    }
    const given = { ...start, before: this.#forwards.begin(), requestId, permit, level, masks };
    // What people consented to runs on a connection on which nothing else can.
    if (verdict.isApproved && start.request.kind === "exec" && given.before.length === 0)
      this.#beginAlone(given, start.request.command);
    else this.#begin(given, this.#context);
  }

  #beginAlone(start: Start, line: Buffer): void {
    this.#opening = start;
    this.#context.commandConnections
      .open(line)
      .then((openUpstream) => {
        // It was given up, and has its outcome.
        if (this.#opening !== start) return;
        this.#opening = undefined;
        const own = openUpstream === undefined ? {} : { openUpstream };
        this.#begin(start, { ...this.#context, ...own });
      })
      .catch((thrown) => {
        const error = toGatewayError(thrown);
        this.#context.log("a connection for one command was not opened", error.cause ?? error);
        this.#giveUp("failed");
        this.#close(faultLines(error), EXIT.failed);
      });
  }

  /** Nothing runs of what is on its way to be started. */
  #giveUp(outcome: string): void {
    const opening = this.#opening;
    this.#opening = undefined;
    if (opening === undefined) return;
    this.#context.judge.book.endCommand({ requestId: opening.requestId, outcome });
  }

  #begin(start: Start, context: RelayContext): void {
    const client: ClientSide = {
      ...{ end: this.#end, toClient: this.#toClient, toTarget: this.#toTarget },
      ...{ terminal: this.#terminal, environment: this.#environment },
      close: (lines, exit) => this.#close(lines, exit),
    };
    const running = this.#run(start, client, context);
    this.#running = running;
    const early = this.#early;
    this.#early = [];
    for (const { stream, data } of early) running.onClientData(stream, data);
    if (this.#hasEarlyEnd) running.onClientEof();
  }

  #run(start: Start, client: ClientSide, context: RelayContext): RunningChannel {
    try {
      return new RunningChannel(context, start, client);
    } catch (thrown) {
      const { requestId } = start;
      this.#context.judge.book.endCommand({ requestId, outcome: "failed" });
      throw thrown;
    }
  }

  #tell(lines: Lines): void {
    this.#toClient.push(STDERR, shown(lines, this.#terminal !== undefined), 0);
  }

  #close(lines: Lines, exit: number | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#giveUp("skipped");
    this.#forwards.end();
    this.#tell(lines);
    // What the client still sends is nobody's.
    for (const { data } of this.#early) this.#toTarget.push(0, NOTHING, data.length);
    this.#early = [];
    this.#toTarget.drop();
    this.#toClient.finish(() => {
      const { channel, peer } = this.#end;
      if (exit !== undefined)
        peer.connection.requestChannel(channel, { kind: "exit-status", status: exit });
      peer.connection.sendEof(channel);
      peer.connection.closeChannel(channel);
    });
  }
}
