// One session between one client and one target: the two sockets, the order of things, and the end.
//
//   client ──▶ requests.ts (decode, decide, journal) ──▶ forward queue ──▶ target
//   client ◀── replies.ts (keep step, check, mask)    ◀──────────────────── target
//
// Who owns the state: this object owns both sockets; requests and replies share what is in RelayState.
// Any fault ends the session with an error in the protocol's own form (I2).

import type { TLSSocket } from "node:tls";
import { noticeResponse } from "@custody/wire/postgres/backend.ts";
import { WireError } from "@custody/wire/postgres/errors.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { flush, terminate } from "@custody/wire/postgres/frontend.ts";
import { ReplyTracker } from "@custody/wire/postgres/reply-tracker.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import { Delivery } from "./delivery.ts";
import type { Exchange } from "./exchange.ts";
import { fatalResponse, timeoutResponse } from "./faults.ts";
import { ForwardQueue } from "./forward-queue.ts";
import { NameTable } from "./names.ts";
import type { NoticeText, RelayContext, RelayState } from "./relay-state.ts";
import { Replies } from "./replies.ts";
import { type ClientMessages, Requests } from "./requests.ts";
import { TransparentRequests } from "./transparent.ts";
import type { Upstream } from "./upstream.ts";

/** Batches that may wait for the journal before the client is made to wait too. */
const MAX_WAITING_BATCHES = 64;
/** One message of a client is at most two of ours, a Describe before an Execute. */
const OUTSTANDING_MARGIN = 2;

export class Relay {
  readonly #client: TLSSocket;
  readonly #upstream: Upstream;
  readonly #state: RelayState;
  readonly #requests: ClientMessages;
  readonly #replies: Replies;
  readonly #fromClient: FrameCursor;
  readonly #fromServer: FrameCursor;
  readonly #backlog: Buffer[] = [];
  #backlogBytes = 0;
  #blocked = false;
  #again = false;
  #waitsForQuiet = false;
  #active = false;
  /** The server was asked to give what it answered so far, since too much has no answer. */
  #flushed = false;
  #draining: GatewayError | undefined;
  #ended = false;
  /** What the target sent and nobody looked at yet. */
  readonly #unread: Buffer[] = [];
  /** The message at hand waits for a look at what it went through. */
  #checking = false;
  #replyAgain = false;
  /** The command `#timer` is for. */
  #timed: Exchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #resolveEnd: (reason: string) => void = () => undefined;

  constructor(client: TLSSocket, upstream: Upstream, context: RelayContext) {
    this.#client = client;
    this.#upstream = upstream;
    this.#fromClient = new FrameCursor({ maxFrameBytes: context.limits.maxFrameBytes });
    this.#fromServer = upstream.cursor;
    this.#state = {
      context,
      tracker: new ReplyTracker<Exchange>({
        maxOutstanding: context.limits.maxOutstanding + OUTSTANDING_MARGIN,
      }),
      statements: new NameTable(context.limits),
      portals: new NameTable(context.limits),
      toClient: new Delivery(client, context.book.recorder, () => this.#onDisk()),
      toServer: new ForwardQueue(upstream.socket, context.journal, () => this.#pump()),
      transaction: 0x49,
      applicationName: { start: context.applicationName, told: context.applicationName },
      settingsChanged: 0,
      uncommittedDefinition: false,
      syncKeptBack: false,
      targetSaidWhy: false,
    };
    const control = {
      waitForReplies: () => this.#waitForReplies(),
      waitFor: (work: Promise<void>) => this.#waitFor(work),
      notice: (message: NoticeText) => this.notice(message),
      finish: () => this.#finish("client closed the session"),
    };
    this.#requests =
      context.target.transparent === true
        ? new TransparentRequests(this.#state, control)
        : new Requests(this.#state, control);
    this.#replies = new Replies(this.#state);
  }

  /** Settles when the session has ended, with why. */
  run(): Promise<string> {
    const client = this.#client;
    const server = this.#upstream.socket;
    const ended = new Promise<string>((resolve) => {
      this.#resolveEnd = resolve;
    });
    client.on("data", (chunk: Buffer) => this.#onClientData(chunk));
    client.on("end", () => this.#finish("client closed the connection"));
    client.on("close", () => this.#finish("client closed the connection"));
    client.on("error", () => this.#finish("client connection failed"));
    client.on("drain", () => this.#resumeServer());
    server.on("data", (chunk: Buffer) => this.#onServerData(chunk));
    server.on("close", () => {
      // Its own last words went on; ours would be the second.
      if (this.#state.targetSaidWhy) this.#finish("target ended the session");
      else this.end(this.#targetClosed());
    });
    server.on("error", () => this.end(this.#targetClosed()));
    server.on("drain", () => this.#pump());
    server.resume();
    client.resume();
    if (server.destroyed) this.end(this.#targetClosed());
    if (client.destroyed) this.#finish("client closed the connection");
    return ended;
  }

  /** A cancel with this session's key: ends a hold, else what runs upstream. */
  cancel(): void {
    if (this.#ended || this.#requests.cancelHold()) return;
    if (this.#state.tracker.depth === 0) return;
    this.#cancelUpstream(() => this.#state.tracker.depth > 0);
  }

  /** `isWanted` keeps a cancel that comes late from hitting the next statement. */
  #cancelUpstream(isWanted: () => boolean): void {
    this.#state.context
      .cancelUpstream(() => !this.#ended && isWanted())
      .catch((error) => this.#state.context.log("cancel was not delivered", error));
  }

  /** Ends the session and says why, as PostgreSQL would. */
  end(error: GatewayError): void {
    if (this.#ended) return;
    this.#client.write(fatalResponse(error));
    this.#finish(error.code);
  }

  /** Ends the session once nothing runs; what waits for people does not run. */
  drain(error: GatewayError): void {
    this.#draining = error;
    if (this.#state.tracker.depth === 0) this.end(error);
  }

  /** Whether anything came from either side since this was last asked, or an answer is still due. */
  takeActivity(): boolean {
    const active = this.#active || this.#blocked || this.#state.tracker.depth > 0;
    this.#active = false;
    return active;
  }

  notice(text: NoticeText): void {
    if (this.#ended) return;
    this.#state.context.book.recorder.event(text.requestId, "notice", { message: text.message });
    this.#client.write(
      noticeResponse({
        severity: "NOTICE",
        code: "00000",
        message: text.message,
        ...(text.detail === undefined ? undefined : { detail: text.detail }),
        ...(text.hint === undefined ? undefined : { hint: text.hint }),
      }),
    );
  }

  #onClientData(chunk: Buffer): void {
    if (this.#ended) return;
    this.#active = true;
    this.#backlog.push(chunk);
    this.#backlogBytes += chunk.length;
    this.#pump();
  }

  /** Handles messages until there are none, or one has to wait. */
  #pump(): void {
    if (this.#ended) return;
    try {
      while (!this.#mustWait() && this.#advance()) {
        this.#again = this.#requests.handle(this.#fromClient) === "again";
        if (this.#ended) return;
      }
      this.#flushWhenFull();
      this.#state.toServer.endBatch();
      this.#watchTime();
      this.#throttleClient();
    } catch (error) {
      this.#fail(error);
    }
  }

  #mustWait(): boolean {
    const { toServer, tracker } = this.#state;
    return (
      this.#blocked || this.#isFull() || tracker.waiting || toServer.depth >= MAX_WAITING_BATCHES
    );
  }

  #isFull(): boolean {
    const { tracker, context } = this.#state;
    return tracker.depth >= context.limits.maxOutstanding;
  }

  /** Without a Sync the server may keep its answers, and the client would wait for ever. */
  #flushWhenFull(): void {
    const full = this.#isFull();
    if (full && !this.#flushed) this.#state.toServer.push(flush());
    this.#flushed = full;
  }

  /** To the next message, or the same one again. */
  #advance(): boolean {
    if (this.#again) return true;
    while (!this.#fromClient.next()) {
      const chunk = this.#backlog.shift();
      if (chunk === undefined) return false;
      this.#backlogBytes -= chunk.length;
      this.#fromClient.push(chunk);
    }
    return true;
  }

  #throttleClient(): void {
    const { context, toClient } = this.#state;
    const full = this.#backlogBytes > context.limits.maxBacklogBytes || !toClient.hasRoom;
    if (full || this.#upstream.socket.writableNeedDrain) this.#client.pause();
    else if (this.#client.isPaused()) this.#client.resume();
  }

  /** The next message waits until everything sent so far was answered. */
  #waitForReplies(): void {
    this.#blocked = true;
    this.#waitsForQuiet = true;
  }

  #waitFor(work: Promise<void>): void {
    this.#blocked = true;
    work.then(
      () => this.#unblock(),
      (error) => this.#fail(error),
    );
  }

  #unblock(): void {
    this.#blocked = false;
    this.#waitsForQuiet = false;
    this.#pump();
  }

  #onServerData(chunk: Buffer): void {
    if (this.#ended) return;
    this.#active = true;
    this.#unread.push(chunk);
    this.#readReplies();
  }

  /** Handles what the target sent until there is no more, or a message has to be handled again later. */
  #readReplies(): void {
    if (this.#checking || this.#ended) return;
    try {
      for (;;) {
        while (this.#replyAgain || this.#fromServer.next()) {
          this.#replyAgain = false;
          const check = this.#replies.handle(this.#fromServer);
          if (check !== undefined) {
            this.#waitForCheck(check);
            break;
          }
        }
        const chunk = this.#checking ? undefined : this.#unread.shift();
        if (chunk === undefined) break;
        this.#fromServer.push(chunk);
      }
      this.#afterReplies();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Nothing the target sent goes on meanwhile. */
  #waitForCheck(check: Promise<void>): void {
    this.#checking = true;
    this.#replyAgain = true;
    this.#upstream.socket.pause();
    check.then(
      () => {
        this.#checking = false;
        this.#resumeServer();
        this.#readReplies();
      },
      (error) => this.#fail(error),
    );
  }

  #onDisk(): void {
    if (this.#ended) return;
    this.#resumeServer();
    this.#throttleClient();
  }

  #resumeServer(): void {
    if (!this.#checking && this.#state.toClient.mayRead) this.#upstream.socket.resume();
  }

  #afterReplies(): void {
    this.#replies.endBatch();
    this.#state.toClient.flush();
    if (!this.#state.toClient.mayRead) this.#upstream.socket.pause();
    if (this.#replies.takeLimitHit()) {
      const { head } = this.#state.tracker;
      this.#cancelUpstream(() => this.#state.tracker.head === head);
    }
    if (this.#draining !== undefined && this.#state.tracker.depth === 0) {
      this.end(this.#draining);
      return;
    }
    const work = this.#replies.takeWork();
    if (work !== undefined) this.#waitFor(work);
    else if (this.#waitsForQuiet && this.#state.tracker.depth === 0) this.#unblock();
    else this.#pump();
    this.#watchTime();
  }

  /** The command that runs now may be bound to end in time (`@timeout`, a grant's limit). */
  #watchTime(): void {
    const head = this.#state.tracker.head?.tag;
    if (head === this.#timed) return;
    this.#timed = head;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const timeoutMs = head?.obligations?.timeoutMs;
    if (head === undefined || timeoutMs === undefined || this.#ended) return;
    this.#timer = setTimeout(() => {
      const isRunning = () => this.#state.tracker.head?.tag === head;
      if (!isRunning()) return;
      head.ended = timeoutResponse(timeoutMs, head.requestId);
      this.#cancelUpstream(isRunning);
    }, timeoutMs);
  }

  #targetClosed(): GatewayError {
    const { target } = this.#state.context;
    return new GatewayError(
      "target_unavailable",
      `target ${target.name} closed the connection; what was running may or may not have taken effect`,
      { hint: "connect again" },
    );
  }

  #fail(thrown: unknown): void {
    if (this.#ended) return;
    const error = faultOf(thrown);
    this.#state.context.log(`session ${this.#state.context.sessionId}: ${error.message}`, error);
    this.end(error);
  }

  #finish(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#requests.close();
    this.#state.toServer.close();
    this.#state.toClient.close();
    // When a thousand sessions are ended at once, the last is told, and the targets are asked to stop them
    // all, before the books and sockets of the first are closed.
    this.#state.context.later(() => this.#close(reason));
  }

  #close(reason: string): void {
    try {
      this.#replies.close();
    } finally {
      if (this.#upstream.socket.writable) this.#upstream.socket.end(terminate());
      this.#upstream.socket.destroySoon();
      // A client that does not read keeps the FATAL; it does not keep the socket.
      this.#client.end();
      setTimeout(() => this.#client.destroy(), 1_000).unref();
      this.#resolveEnd(reason);
    }
  }
}

function faultOf(thrown: unknown): GatewayError {
  if (!(thrown instanceof WireError)) return toGatewayError(thrown);
  const what = thrown.code === "limit" ? thrown.message : "malformed message";
  return new GatewayError("protocol", `${what}; the session was closed`, { cause: thrown });
}
