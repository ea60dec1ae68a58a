// Which reply belongs to which request of one upstream connection. PostgreSQL documentation, section
// 54.2 "Message Flow"; the rules below are those of PostgresMain() and CopyGetData() in its source.
//
// - A Query or FunctionCall ends with ReadyForQuery, whether it failed or not.
// - Any other request ends with its own reply or with ErrorResponse. After an error the server reads
//   and drops everything, Query and FunctionCall included, up to the next Sync.
// - A Sync ends with ReadyForQuery; an ErrorResponse may come before it (a commit that fails).
// - Notices, notifications and parameter reports come at any time and belong to nothing.
// - During COPY FROM STDIN the server reads and drops Sync and Flush, and ends the connection on
//   anything else but CopyData, CopyDone and CopyFail; outside, those three are read and dropped.
//
// The last rule makes the fate of a Sync that follows a COPY depend on when the server failed: with
// `COPY a_view FROM STDIN` it announces COPY and fails before it reads a byte, and that Sync counts;
// with a bad line it was dropped. A stream that is ahead by one ReadyForQuery would give rows to the
// wrong statement, so nothing may be sent behind such a request before it is known: see `waiting`.
//
// State: the queue of outstanding requests. One tracker per upstream connection, after sign-in. A
// FATAL error or a connection that closes is the caller's to see.

import { BACKEND } from "./backend.ts";
import { WireError } from "./errors.ts";

export type RequestKind =
  | "query"
  | "parse"
  | "bind"
  | "describe-statement"
  | "describe-portal"
  | "execute"
  | "close"
  | "sync"
  | "function";

export interface Outstanding<T> {
  readonly kind: RequestKind;
  readonly tag: T;
  /** We sent it on our own account: its reply is not for the client. */
  readonly swallow: boolean;
}

export interface Received<T> {
  /** The request the message belongs to; undefined for one that belongs to nothing. */
  readonly owner: Outstanding<T> | undefined;
  /** It was the last message of its owner. */
  readonly ends: boolean;
  /**
   * Requests that get no reply: those behind an error, up to the next Sync. With the error itself come
   * those already sent, with that Sync's ReadyForQuery those sent since.
   */
  readonly skipped: readonly Outstanding<T>[];
  /** The message fits no rule, or its owner cannot be told: close. Stays true. */
  readonly unexpected: boolean;
}

export interface ReplyLimits {
  readonly maxOutstanding: number;
}

export class ReplyTracker<T> {
  readonly #maxOutstanding: number;
  #queue: Entry<T>[] = [];
  #first = 0;
  #copyIn = false;
  #broken = false;
  #segment = 0;
  /** After an error with no Sync sent yet: what is sent now will be dropped by the server. */
  #skipping = false;
  #skippedSince: Entry<T>[] = [];
  /** Syncs that were sent behind the COPY under way before it was known to be one. */
  #doubtfulSyncs = 0;
  #fence: Entry<T> | undefined;
  readonly #result: MutableReceived<T> = {
    owner: undefined,
    ends: false,
    skipped: NONE,
    unexpected: false,
  };

  constructor(limits: ReplyLimits) {
    this.#maxOutstanding = limits.maxOutstanding;
  }

  /**
   * A request was forwarded, in the order of forwarding. Flush, CopyData, CopyDone and CopyFail are not
   * requests. `mayCopyIn`: a Query or Execute that may begin COPY FROM STDIN.
   * @throws WireError "limit" above maxOutstanding, "state" while `waiting`.
   */
  sent(kind: RequestKind, tag: T, swallow = false, mayCopyIn = false): void {
    if (this.waiting) throw new WireError("state", "a COPY may be about to begin");
    if (this.depth + this.#skippedSince.length >= this.#maxOutstanding) {
      throw new WireError("limit", `more than ${this.#maxOutstanding} requests without a reply`);
    }
    const entry: Entry<T> = { kind, tag, swallow, phase: BEGUN };
    if (kind === "sync") {
      this.#segment++;
      this.#skipping = false;
    }
    if (this.#skipping) {
      this.#skippedSince.push(entry);
      return;
    }
    if (mayCopyIn) this.#fence = entry;
    this.#queue.push(entry);
  }

  /** One backend message, in order of arrival. The result object is the same one at every call. */
  received(type: number): Received<T> {
    const result = this.#result;
    result.owner = undefined;
    result.ends = false;
    result.skipped = NONE;
    result.unexpected = this.#broken;
    if (this.#broken || isAsynchronous(type)) return result;
    const entry = this.#queue[this.#first];
    if (entry === undefined) return this.#refuse();
    result.owner = entry;
    if (type === BACKEND.errorResponse) return this.#failed(entry);
    const next = follow(entry, type);
    if (next === REFUSED) return this.#refuse();
    if (next === COPYING_IN) this.#copyBegins();
    else if (entry.phase === COPYING_IN && !this.#copyEnds()) return this.#refuse();
    entry.phase = next;
    if (next === ENDED) this.#end(entry);
    return result;
  }

  /** Requests whose reply, or the rest of it, is to come. */
  get depth(): number {
    return this.#queue.length - this.#first;
  }

  /** The request that is being answered, or is next to be. */
  get head(): Outstanding<T> | undefined {
    return this.#queue[this.#first];
  }

  /** Everything without an end to its reply, in order, taken out: the connection is over. */
  drain(): readonly Outstanding<T>[] {
    // What the server drops was sent before whatever is in the queue now.
    const left = [...this.#skippedSince, ...this.#queue.slice(this.#first)];
    this.#queue = [];
    this.#first = 0;
    this.#skippedSince = [];
    this.#fence = undefined;
    this.#copyIn = false;
    this.#broken = true;
    return left;
  }

  /** The server waits for CopyData: from its announcement to our CopyDone or CopyFail, or an error. */
  get copyIn(): boolean {
    return this.#copyIn;
  }

  /**
   * Nothing may be forwarded now, CopyData, CopyDone and Sync included: a request sent with
   * `mayCopyIn` has neither begun its COPY nor ended; or a Query, which may hold several, has not gone
   * on after one. True for a round trip; the announcement needs no Flush to come.
   */
  get waiting(): boolean {
    return this.#fence !== undefined && !this.#copyIn;
  }

  /** CopyDone or CopyFail was forwarded. Without a COPY under way the server drops those: no effect. */
  clientEndedCopy(): void {
    if (!this.#copyIn) return;
    this.#copyIn = false;
    // The reply to an Execute stays in the server's buffer until the Sync that comes now.
    if (this.#fence?.kind === "execute") this.#fence = undefined;
  }

  /**
   * True while `copyIn`: a Sync of the client must not be forwarded, the server would drop it. When
   * the COPY then fails with no CopyData, CopyDone or CopyFail forwarded since, the server had not read
   * up to that Sync: forward it after all.
   */
  syncIgnored(): boolean {
    return this.#copyIn;
  }

  /**
   * After an error the server drops whatever comes, Query and FunctionCall included, up to a Sync that was
   * not sent yet: such messages need not be sent at all.
   */
  get dropping(): boolean {
    return this.#skipping;
  }

  /** Syncs sent so far: requests sent in one segment fail together. */
  get segment(): number {
    return this.#segment;
  }

  #failed(entry: Entry<T>): Received<T> {
    if (entry.phase === FAILED) return this.#refuse();
    if (entry.phase === COPYING_IN) {
      this.#copyIn = false;
      if (this.#doubtfulSyncs > 0) return this.#refuse();
    }
    if (entry.kind === "query" || entry.kind === "function" || entry.kind === "sync") {
      entry.phase = FAILED;
      if (entry === this.#fence) this.#fence = undefined;
      return this.#result;
    }
    this.#end(entry);
    const skipped: Entry<T>[] = [];
    for (;;) {
      const next = this.#queue[this.#first];
      if (next?.kind === "sync") break;
      if (next === undefined) {
        this.#skipping = true;
        break;
      }
      this.#shift();
      if (next === this.#fence) this.#fence = undefined;
      skipped.push(next);
    }
    if (skipped.length > 0) this.#result.skipped = skipped;
    return this.#result;
  }

  #copyBegins(): void {
    this.#copyIn = true;
    this.#doubtfulSyncs = 0;
    let at = this.#first + 1;
    while (this.#queue[at++]?.kind === "sync") this.#doubtfulSyncs++;
  }

  /** The COPY was read to its end, so the Syncs sent ahead of its data were read, and dropped, too. */
  #copyEnds(): boolean {
    if (this.#copyIn) return false;
    if (this.#doubtfulSyncs > 0) {
      this.#result.skipped = this.#queue.splice(this.#first + 1, this.#doubtfulSyncs);
      this.#doubtfulSyncs = 0;
    }
    return true;
  }

  #end(entry: Entry<T>): void {
    this.#result.ends = true;
    this.#shift();
    if (entry === this.#fence) this.#fence = undefined;
    if (entry.kind === "sync" && this.#skippedSince.length > 0) {
      this.#result.skipped = this.#skippedSince;
      this.#skippedSince = [];
    }
  }

  #shift(): void {
    this.#first++;
    if (this.#first === this.#queue.length) {
      this.#queue = [];
      this.#first = 0;
    } else if (this.#first >= COMPACT_AT) {
      this.#queue = this.#queue.slice(this.#first);
      this.#first = 0;
    }
  }

  #refuse(): Received<T> {
    this.#broken = true;
    this.#result.ends = false;
    this.#result.unexpected = true;
    return this.#result;
  }
}

// How far a reply has come. Numbers, because a row is judged by them.
const BEGUN = 0;
/** Between RowDescription and CommandComplete of a Query. */
const ROWS = 1;
const COPYING_IN = 2;
const COPYING_OUT = 3;
/** CopyDone of the server has come, CommandComplete not yet. */
const COPIED_OUT = 4;
/** One statement of a Query, or the function, is complete; ReadyForQuery or the next statement comes. */
const COMPLETE = 5;
/** An error has come; ReadyForQuery is all that may follow. */
const FAILED = 6;
/** ParameterDescription has come, what describes the rows not yet. */
const DESCRIBED = 7;
const ENDED = 8;
const REFUSED = 9;

interface Entry<T> extends Outstanding<T> {
  phase: number;
}

interface MutableReceived<T> {
  owner: Outstanding<T> | undefined;
  ends: boolean;
  skipped: readonly Outstanding<T>[];
  unexpected: boolean;
}

const NONE: readonly never[] = Object.freeze([]);
const COMPACT_AT = 64;

function isAsynchronous(type: number): boolean {
  return (
    type === BACKEND.noticeResponse ||
    type === BACKEND.parameterStatus ||
    type === BACKEND.notificationResponse
  );
}

/** The phase after this message, or REFUSED. Errors are not asked about here. */
function follow(entry: Entry<unknown>, type: number): number {
  switch (entry.kind) {
    case "query":
      return followQuery(entry.phase, type);
    case "execute":
      return followExecute(entry.phase, type);
    case "parse":
      return type === BACKEND.parseComplete ? ENDED : REFUSED;
    case "bind":
      return type === BACKEND.bindComplete ? ENDED : REFUSED;
    case "close":
      return type === BACKEND.closeComplete ? ENDED : REFUSED;
    case "describe-portal":
      return describesRows(type) ? ENDED : REFUSED;
    case "describe-statement":
      if (entry.phase === DESCRIBED) return describesRows(type) ? ENDED : REFUSED;
      return type === BACKEND.parameterDescription ? DESCRIBED : REFUSED;
    case "sync":
      return type === BACKEND.readyForQuery ? ENDED : REFUSED;
    case "function":
      return followFunction(entry.phase, type);
  }
}

function followQuery(phase: number, type: number): number {
  switch (phase) {
    case ROWS:
      if (type === BACKEND.dataRow) return ROWS;
      return type === BACKEND.commandComplete ? COMPLETE : REFUSED;
    case COPYING_IN:
      return type === BACKEND.commandComplete ? COMPLETE : REFUSED;
    case COPYING_OUT:
    case COPIED_OUT:
      return followCopyOut(phase, type, COMPLETE);
    case FAILED:
      return type === BACKEND.readyForQuery ? ENDED : REFUSED;
  }
  switch (type) {
    case BACKEND.rowDescription:
      return ROWS;
    case BACKEND.commandComplete:
      return COMPLETE;
    case BACKEND.copyInResponse:
      return COPYING_IN;
    case BACKEND.copyOutResponse:
      return COPYING_OUT;
    case BACKEND.emptyQueryResponse:
      return phase === BEGUN ? COMPLETE : REFUSED;
    case BACKEND.readyForQuery:
      return phase === COMPLETE ? ENDED : REFUSED;
    default:
      return REFUSED;
  }
}

function followExecute(phase: number, type: number): number {
  switch (phase) {
    case COPYING_IN:
      return type === BACKEND.commandComplete ? ENDED : REFUSED;
    case COPYING_OUT:
    case COPIED_OUT:
      return followCopyOut(phase, type, ENDED);
  }
  switch (type) {
    case BACKEND.dataRow:
      return ROWS;
    case BACKEND.commandComplete:
    case BACKEND.portalSuspended:
      return ENDED;
    case BACKEND.emptyQueryResponse:
      return phase === BEGUN ? ENDED : REFUSED;
    case BACKEND.copyInResponse:
      return phase === BEGUN ? COPYING_IN : REFUSED;
    case BACKEND.copyOutResponse:
      return phase === BEGUN ? COPYING_OUT : REFUSED;
    default:
      return REFUSED;
  }
}

function followCopyOut(phase: number, type: number, complete: number): number {
  if (phase === COPIED_OUT) return type === BACKEND.commandComplete ? complete : REFUSED;
  if (type === BACKEND.copyData) return COPYING_OUT;
  return type === BACKEND.copyDone ? COPIED_OUT : REFUSED;
}

function followFunction(phase: number, type: number): number {
  if (phase === BEGUN) return type === BACKEND.functionCallResponse ? COMPLETE : REFUSED;
  return type === BACKEND.readyForQuery ? ENDED : REFUSED;
}

function describesRows(type: number): boolean {
  return type === BACKEND.rowDescription || type === BACKEND.noData;
}
