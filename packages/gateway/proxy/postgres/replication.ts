// A replication session: the streaming replication protocol between a client (pg_basebackup, pg_receivewal,
// pg_recvlogical, a subscriber, a change-data-capture tool) and a walsender. Each command is decided, recorded and
// flushed before it is forwarded; one at a time, as simple queries, which is all a walsender takes. What is streamed
// is counted and not kept, and no mask holds in it: policies say so by `replicate_past_masks`, or what is streamed
// is watched and ends before the first row of a relation with a class (replication-watch.ts). Statements, which a
// subscriber begins with, are judged, answered and recorded as everywhere (replication-judge.ts).
//
// Who owns the state: one a session; it owns both sockets until it has ended.

import type { TLSSocket } from "node:tls";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import {
  BACKEND,
  decodeErrorFields,
  errorResponse,
  isBackendType,
  noticeResponse,
} from "@custody/wire/postgres/backend.ts";
import {
  decodeQuery,
  FRONTEND,
  poisonedQuery,
  terminate,
} from "@custody/wire/postgres/frontend.ts";
import type { Denial, Operation, Permit } from "../../access/operation.ts";
import type { Journal } from "../../audit/journal.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import type { CommandBook } from "./command-book.ts";
import {
  denialError,
  fatalResponse,
  type StatementError,
  scrubbedMessage,
  statementErrorResponse,
} from "./faults.ts";
import { type Message, type MessageReader, readMessages } from "./message-reader.ts";
import type { Classifier, StatementPlan } from "./plan.ts";
import { asDenial } from "./refusals.ts";
import type { NoticeText } from "./relay-state.ts";
import { type Replicated, readReplicationCommand } from "./replication-command.ts";
import { isStatement, judgeReplication, judgeStatement, refusal } from "./replication-judge.ts";
import { type StreamWatch, watchStream } from "./replication-watch.ts";
import { needsCheck, type ResultMasks } from "./row-check.ts";
import type { Upstream } from "./upstream.ts";

export interface ReplicationContext {
  readonly book: CommandBook;
  readonly journal: Journal;
  readonly replicated: Replicated;
  /** Of the database; nothing of a whole server's is asked of them. */
  readonly classifier: Classifier;
  readonly masks: ResultMasks;
  readonly maxFrameBytes: number;
  /** Asks the target to cancel what runs, if that is still wanted once it is reached. */
  readonly cancelUpstream: (isWanted: () => boolean) => Promise<void>;
  readonly log: (message: string, error?: unknown) => void;
}

/** The command under way. */
interface Running {
  readonly requestId: string;
  /** undefined: it was denied, and what the server is sure to refuse runs in its place. */
  readonly permit: Permit | undefined;
  /** What the client gets in the place of the server's error. */
  readonly instead?: Buffer;
  /** Of SQL: its answer is checked and recorded. */
  readonly statement?: StatementPlan;
  /** Of a stream that nothing of a class may be in. */
  readonly watch?: StreamWatch;
  rows: number;
  bytes: number;
  outcome: string;
}

type Phase = "idle" | "busy" | "copying";

export class ReplicationRelay {
  readonly #client: TLSSocket;
  readonly #upstream: Upstream;
  readonly #context: ReplicationContext;
  readonly #stopping = new AbortController();
  readonly #fromClient: MessageReader;
  readonly #fromServer: MessageReader;
  #phase: Phase = "idle";
  #running: Running | undefined;
  #onIdle: (() => void) | undefined;
  #active = false;
  #draining: GatewayError | undefined;
  #ended: string | undefined;

  constructor(client: TLSSocket, upstream: Upstream, context: ReplicationContext) {
    this.#client = client;
    this.#upstream = upstream;
    this.#context = context;
    const shared = { maxFrameBytes: context.maxFrameBytes, signal: this.#stopping.signal };
    this.#fromClient = readMessages(client, { ...shared, closed: () => CLIENT_CLOSED });
    this.#fromServer = readMessages(upstream.socket, {
      ...shared,
      cursor: upstream.cursor,
      closed: (cause) =>
        new GatewayError("target_unavailable", "the target closed the replication connection", {
          cause,
        }),
    });
  }

  /** Settles when the session has ended, with why. */
  async run(): Promise<string> {
    const loops = [this.#readClient(), this.#readServer()];
    try {
      await Promise.race(loops);
    } catch (thrown) {
      this.#fail(thrown);
    }
    this.#finish("client closed the session");
    await Promise.allSettled(loops);
    this.#close();
    return this.#ended ?? "ended";
  }

  cancel(): void {
    const running = this.#running;
    if (running === undefined) return;
    this.#context
      .cancelUpstream(() => this.#running === running)
      .catch((error) => this.#context.log("cancel was not delivered", error));
  }

  end(error: GatewayError): void {
    if (this.#ended !== undefined) return;
    this.#client.write(fatalResponse(error));
    this.#finish(error.code);
  }

  drain(error: GatewayError): void {
    this.#draining = error;
    if (this.#phase !== "busy") this.end(error);
  }

  /** A stream is alive even while nothing is written at the target. */
  takeActivity(): boolean {
    const active = this.#active || this.#phase !== "idle";
    this.#active = false;
    return active;
  }

  notice({ message, detail, hint }: NoticeText): void {
    if (this.#ended !== undefined) return;
    const more = {
      ...(detail === undefined ? {} : { detail }),
      ...(hint === undefined ? {} : { hint }),
    };
    this.#client.write(noticeResponse({ severity: "NOTICE", code: "00000", message, ...more }));
  }

  async #readClient(): Promise<void> {
    for (;;) {
      const message = await this.#fromClient.next();
      this.#active = true;
      switch (message.type) {
        case FRONTEND.query:
          await this.#command(message);
          break;
        case FRONTEND.copyData:
        case FRONTEND.copyDone:
        case FRONTEND.copyFail:
          // Late ones, of a stream that the target ended, mean nothing to it either.
          if (this.#phase === "copying") await this.#toServer(message);
          break;
        case FRONTEND.terminate:
          return;
        default:
          throw new GatewayError(
            "protocol",
            "a replication connection takes simple queries only; the session was closed",
          );
      }
    }
  }

  async #readServer(): Promise<void> {
    for (;;) {
      const message = await this.#fromServer.next();
      this.#active = true;
      const { type, start, end } = message;
      if (!isBackendType(type))
        throw new GatewayError("target_unavailable", "the target does not speak PostgreSQL");
      const running = this.#running;
      if (running !== undefined && (type === BACKEND.copyData || type === BACKEND.dataRow)) {
        // Of a stream these are messages, keepalives among them.
        if (running.statement !== undefined) running.rows += 1;
        running.bytes += end - start;
      }
      if (type === BACKEND.copyBothResponse || type === BACKEND.copyInResponse)
        this.#phase = "copying";
      const answer = running === undefined ? copyOf(message) : await this.#answer(running, message);
      if (type === BACKEND.readyForQuery) this.#idle();
      if (answer !== undefined && !this.#client.write(answer))
        await drained(this.#client, this.#stopping.signal);
      if (this.#draining !== undefined && this.#phase === "idle") this.end(this.#draining);
    }
  }

  /** What the client gets of it; undefined: nothing. */
  async #answer(running: Running, message: Message): Promise<Buffer | undefined> {
    const { type, buffer, start, end } = message;
    const { instead, requestId, statement, watch } = running;
    const mayQuote = statement !== undefined && statement.reachesClassified !== false;
    if (type === BACKEND.errorResponse) {
      const fields = decodeErrorFields(buffer, start, end);
      running.outcome = fields.get("C") ?? "XX000";
      if (instead !== undefined) return instead;
      if (mayQuote) return this.#kept(running, errorResponse(scrubbedMessage(fields, requestId)));
    }
    if (type === BACKEND.noticeResponse && mayQuote) return undefined;
    if (watch !== undefined && type === BACKEND.copyData) await watch(buffer, start, end);
    if (statement === undefined) return copyOf(message);
    if (type === BACKEND.rowDescription) this.#checkRows(running, statement, message);
    if (running.rows === 1 && (type === BACKEND.copyData || type === BACKEND.dataRow))
      await this.#confirm(statement);
    return this.#kept(running, copyOf(message));
  }

  /** The second witness: nothing of a class that the statement was not known to read. */
  #checkRows({ permit }: Running, statement: StatementPlan, { buffer, start, end }: Message): void {
    const { masks } = this.#context;
    if (!needsCheck(masks, statement)) return;
    const unmask = permit?.obligations.unmask ?? NOTHING;
    const check = masks.check(buffer, start, end, statement, unmask);
    const disagree =
      "disagree" in check
        ? check.disagree
        : check.maskedClasses.length > 0 && "a class is in it that would be masked";
    if (disagree)
      throw new GatewayError(
        "internal",
        "the result is not what the statement said it would be; the session was closed before a row was sent",
        { cause: new Error(disagree) },
      );
  }

  /** What the rows came through is still what it was when it was judged. */
  async #confirm({ definitions }: StatementPlan): Promise<void> {
    if (definitions === undefined) return;
    if ((await this.#context.classifier.confirm?.(definitions)) !== false) return;
    throw new GatewayError(
      "internal",
      "a view or function was replaced while the statement ran; the session was closed before a row was sent",
    );
  }

  /** Recorded, and given when as much of it is on its way to the disk as policies ask. */
  async #kept({ permit, requestId }: Running, bytes: Buffer): Promise<Buffer> {
    const { recorder } = this.#context.book;
    recorder.response(requestId, bytes, permit?.obligations.record);
    const { signal } = this.#stopping;
    await whenever((done) => recorder.room(done), signal);
    await whenever((done) => recorder.delivery(done), signal);
    return bytes;
  }

  /** Decided, in the journal and on disk, and then as it came to the target (I1, I4). */
  async #command(message: Message): Promise<void> {
    const { buffer, start, end } = message;
    const { text } = decodeQuery(buffer, start, end);
    const bytes = copyOf(message);
    if (this.#phase !== "idle") await new Promise<void>((resolve) => (this.#onIdle = resolve));
    // It may have waited for a session that was ended meanwhile: nothing more reaches the target (I1).
    if (this.#ended !== undefined) return;
    const { book, replicated } = this.#context;
    const requestId = book.nextRequestId();
    if (isStatement(text, replicated)) return this.#statement(requestId, text, bytes);
    const read = readReplicationCommand(text, replicated);
    const command = { requestId, digest: commandDigest(text) };
    book.recorder.command(requestId, text, undefined);
    if (!read.ok) return this.#refuse(command, undefined, unreadable(read.why));
    let { operation } = read;
    if (read.slot !== undefined) {
      const database = await this.#context.classifier.replication?.slotDatabase(read.slot.name);
      if (this.#ended !== undefined) return;
      if (database === undefined) return this.#refuse(command, operation, noSlot(read.slot.name));
      if (database !== replicated.place.database) operation = read.slot.ofOthers;
    }
    let judged = judgeReplication(book, operation);
    let watch: StreamWatch | undefined;
    if ("denial" in judged && read.watched !== undefined) {
      operation = read.watched;
      judged = judgeReplication(book, operation);
      const { classifier } = this.#context;
      const whyNot = (statement: string) => this.#whyNot(statement);
      watch = watchStream({ classifier, whyNot, publications: read.publications });
    }
    if ("denial" in judged) return this.#refuse(command, operation, judged.denial);
    this.#begin(requestId, { permit: judged.permit, ...(watch === undefined ? {} : { watch }) });
    book.beginCommand({ ...command, operation }, judged.permit, undefined);
    await this.#send(bytes, "strict");
  }

  /** The stream has rows of a table: may they be read? */
  async #whyNot(text: string): Promise<string | undefined> {
    const judged = await judgeStatement(text, this.#context.book.nextRequestId(), this.#context);
    return "denial" in judged ? judged.error.message : undefined;
  }

  async #statement(requestId: string, text: string, bytes: Buffer): Promise<void> {
    const { book } = this.#context;
    const judged = await judgeStatement(text, requestId, this.#context);
    if (this.#ended !== undefined) return;
    if ("denial" in judged) {
      book.denied(requestId, text, judged.plan, judged.denial);
      return this.#poison(requestId, judged.error);
    }
    const { permit, plan } = judged;
    const [statement] = plan.statements;
    this.#begin(requestId, { permit, ...(statement === undefined ? {} : { statement }) });
    book.intent(requestId, plan, undefined, permit, undefined);
    await this.#send(bytes, plan.plainRead ? "ordered" : "strict");
  }

  async #refuse(
    command: { readonly requestId: string; readonly digest: string },
    operation: Operation | undefined,
    denial: Denial | StatementError,
  ): Promise<void> {
    const isError = "sqlState" in denial;
    this.#context.book.refuseCommand(
      { ...command, operation },
      isError ? asDenial(denial) : denial,
    );
    const error = isError ? denial : denialError(denial, command.requestId);
    await this.#poison(command.requestId, error);
  }

  /** In its stead goes what the server is sure to refuse: it keeps the transaction's state, not we. */
  async #poison(requestId: string, error: StatementError): Promise<void> {
    this.#begin(requestId, { permit: undefined, instead: statementErrorResponse(error) });
    await this.#send(poisonedQuery(requestId), "ordered");
  }

  #begin(
    requestId: string,
    about: Pick<Running, "permit" | "instead" | "statement" | "watch">,
  ): void {
    this.#phase = "busy";
    this.#running = { requestId, ...about, rows: 0, bytes: 0, outcome: "ok" };
  }

  async #send(bytes: Buffer, durability: "ordered" | "strict"): Promise<void> {
    await new Promise<void>((resolve) => this.#context.journal.barrier(durability, resolve));
    if (this.#ended === undefined) this.#upstream.socket.write(bytes);
  }

  #idle(): void {
    this.#phase = "idle";
    this.#endCommand();
    this.#onIdle?.();
    this.#onIdle = undefined;
  }

  #endCommand(outcome?: string): void {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    if (running.permit === undefined) return;
    const { requestId, rows, bytes } = running;
    this.#context.book.recorder.endData(requestId, 0);
    this.#context.book.endCommand({ requestId, rows, bytes, outcome: outcome ?? running.outcome });
  }

  async #toServer(message: Message): Promise<void> {
    const { socket } = this.#upstream;
    if (!socket.write(copyOf(message))) await drained(socket, this.#stopping.signal);
  }

  #fail(thrown: unknown): void {
    if (this.#ended !== undefined || thrown === CLIENT_CLOSED) return;
    const error = toGatewayError(thrown);
    this.#context.log(error.message, error);
    this.end(error);
  }

  #finish(reason: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#stopping.abort(new GatewayError("shutdown", reason));
    this.#onIdle?.();
  }

  #close(): void {
    this.#fromClient.release();
    this.#fromServer.release();
    this.#endCommand("disconnected");
    const { socket } = this.#upstream;
    if (socket.writable) socket.end(terminate());
    socket.destroySoon();
    this.#client.end();
    setTimeout(() => this.#client.destroy(), 1_000).unref();
  }
}

const CLIENT_CLOSED = new GatewayError("protocol", "client closed the connection");

const NOTHING: ReadonlySet<string> = new Set();

/** As the server says it: what looks for it goes on. */
function noSlot(name: string): StatementError {
  const message = `replication slot "${name}" does not exist`;
  return { sqlState: "42704", message, detail: undefined, hint: undefined, position: undefined };
}

function unreadable(why: string): Denial {
  return { ...refusal("a command of a replication connection", why), kind: "unknown" };
}

/** A view is good until the next message is read; a socket keeps what it was given longer. */
function copyOf({ buffer, start, end }: Message): Buffer {
  return Buffer.from(buffer.subarray(start, end));
}

function drained(
  socket: NodeJS.WritableStream & { destroyed?: boolean },
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.removeListener("drain", done);
      socket.removeListener("close", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    socket.once("drain", done);
    socket.once("close", done);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Settles when `ask` says so, at once or later; or with the session, whose end it may never outlive. */
function whenever(ask: (done: () => void) => boolean, signal: AbortSignal): Promise<void> | void {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (ask(resolve)) return;
  const onAbort = () => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  return promise.finally(() => signal.removeEventListener("abort", onAbort));
}
