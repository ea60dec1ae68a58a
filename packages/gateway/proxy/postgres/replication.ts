// A replication session: the streaming replication protocol between a client (pg_basebackup, pg_receivewal,
// pg_recvlogical, a change-data-capture tool) and a walsender. Each command is decided, recorded and flushed
// before it is forwarded; one at a time, as simple queries, which is all a walsender takes. What is streamed is
// counted and not kept, and no mask holds in it: policies say so by `replicate_past_masks`.
//
// Who owns the state: one a session; it owns both sockets until it has ended.

import type { TLSSocket } from "node:tls";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import {
  BACKEND,
  decodeErrorFields,
  isBackendType,
  noticeResponse,
  readyForQuery,
} from "@custody/wire/postgres/backend.ts";
import { decodeQuery, FRONTEND, terminate } from "@custody/wire/postgres/frontend.ts";
import type { Denial, Operation, Permit } from "../../access/operation.ts";
import type { Journal } from "../../audit/journal.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import type { SessionBook } from "../../session/session-book.ts";
import { denialError, fatalResponse, statementErrorResponse } from "./faults.ts";
import { type Message, type MessageReader, readMessages } from "./message-reader.ts";
import type { NoticeText } from "./relay-state.ts";
import {
  type Replicated,
  readReplicationCommand,
  replicationOperation,
} from "./replication-command.ts";
import type { Upstream } from "./upstream.ts";

export interface ReplicationContext {
  readonly book: SessionBook;
  readonly journal: Journal;
  readonly replicated: Replicated;
  readonly maxFrameBytes: number;
  /** Asks the target to cancel what runs, if that is still wanted once it is reached. */
  readonly cancelUpstream: (isWanted: () => boolean) => Promise<void>;
  readonly log: (message: string, error?: unknown) => void;
}

/** Before the target is connected to. Throws GatewayError "forbidden" with why. */
export function requireReplication(book: SessionBook, replicated: Replicated): void {
  const operation = replicationOperation(replicated, "start-up");
  const judged = judge(book, operation);
  if (!("denial" in judged)) return;
  const requestId = book.nextRequestId();
  book.refuseCommand(
    { requestId, operation, digest: commandDigest(operation.summary) },
    judged.denial,
  );
  const { detail, hint, message } = denialError(judged.denial, requestId);
  throw new GatewayError(
    "forbidden",
    `${message}: ${detail ?? ""}`,
    hint === undefined ? {} : { hint },
  );
}

/** The command under way. */
interface Running {
  readonly requestId: string;
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
      const { type, buffer, start, end } = message;
      if (!isBackendType(type))
        throw new GatewayError("target_unavailable", "the target does not speak PostgreSQL");
      const running = this.#running;
      if (running !== undefined && type === BACKEND.copyData) running.bytes += end - start;
      if (type === BACKEND.copyBothResponse || type === BACKEND.copyInResponse)
        this.#phase = "copying";
      if (type === BACKEND.errorResponse && running !== undefined)
        running.outcome = decodeErrorFields(buffer, start, end).get("C") ?? "XX000";
      if (type === BACKEND.readyForQuery) this.#idle();
      if (!this.#client.write(copyOf(message))) await drained(this.#client, this.#stopping.signal);
      if (this.#draining !== undefined && this.#phase === "idle") this.end(this.#draining);
    }
  }

  /** Decided, in the journal and on disk, and then as it came to the target (I1, I4). */
  async #command(message: Message): Promise<void> {
    const { buffer, start, end } = message;
    const { text } = decodeQuery(buffer, start, end);
    const bytes = copyOf(message);
    if (this.#phase !== "idle") await new Promise<void>((resolve) => (this.#onIdle = resolve));
    // It may have waited for a session that was ended meanwhile: nothing more reaches the target (I1).
    if (this.#ended !== undefined) return;
    const { book, journal, replicated } = this.#context;
    const requestId = book.nextRequestId();
    const read = readReplicationCommand(text, replicated);
    const operation = read.ok ? read.operation : undefined;
    const judged = read.ok ? judge(book, read.operation) : { denial: unreadable(read.why) };
    const command = { requestId, operation, digest: commandDigest(text) };
    book.recorder.command(requestId, text, undefined);
    if ("denial" in judged) {
      book.refuseCommand(command, judged.denial);
      const error = statementErrorResponse(denialError(judged.denial, requestId));
      this.#client.write(Buffer.concat([error, readyForQuery("I")]));
      return;
    }
    this.#phase = "busy";
    this.#running = { requestId, bytes: 0, outcome: "ok" };
    book.beginCommand(command, judged.permit, undefined);
    await new Promise<void>((resolve) => journal.barrier("strict", resolve));
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
    this.#context.book.recorder.endData(running.requestId, 0);
    this.#context.book.endCommand({ ...running, outcome: outcome ?? running.outcome });
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

/** Nobody is asked about a stream: consent is for one exact operation, and this one goes on. */
function judge(
  book: SessionBook,
  operation: Operation,
): { readonly permit: Permit } | { readonly denial: Denial } {
  const decision = book.decide(operation);
  if (decision.verdict === "deny") return { denial: decision.denial };
  const { summary: what } = operation;
  if (decision.verdict === "hold")
    return { denial: refusal(what, "it needs approval, which is not given to a replication") };
  const { maxBytes, maxRows, timeoutMs } = decision.permit.obligations;
  if (maxBytes !== undefined || maxRows !== undefined || timeoutMs !== undefined)
    return {
      denial: refusal(what, "a policy or grant limits results, and a replication has no end"),
    };
  return { permit: decision.permit };
}

function unreadable(why: string): Denial {
  return { ...refusal("a command of a replication connection", why), kind: "unknown" };
}

function refusal(what: string, message: string): Denial {
  return {
    ...{ kind: "forbidden", what, message },
    ...{ policyId: undefined, hop: undefined, hopLabel: undefined },
  };
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
