// Messages of the target: each belongs to something the client (or we) sent, in order. Errors we
// provoked get our text; rows are checked against the plan before the first is released (the second
// witness) and masked; outcomes are journalled; everything else goes on as it came.

import {
  decodeErrorFields,
  decodeParameterStatus,
  errorResponse,
  noticeResponse,
} from "@custody/wire/postgres/backend.ts";
import { type ReplaceValue, RowWriter } from "@custody/wire/postgres/data-row.ts";
import type { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { sync } from "@custody/wire/postgres/frontend.ts";
import { GatewayError } from "../../base/errors.ts";
import type { RecordingLevel } from "../../policy/annotations.ts";
import { APPLICATION_NAME, describedAsAsked, reportOf } from "./application-name.ts";
import { type Exchange, type Limited, type PreparedStatement, SYNC } from "./exchange.ts";
import { limitNotice, limitResponse, scrubbedMessage } from "./faults.ts";
import type { RenamedStatement, StatementPlan } from "./plan.ts";
import type { RelayState } from "./relay-state.ts";
import { needsCheck, type RowCheck } from "./row-check.ts";
import { settingDrift } from "./session-settings.ts";

export class Replies {
  readonly #state: RelayState;
  #work: Promise<void> | undefined;
  #limitHit = false;
  /** The open transaction wrote what may be told of when it ends: deferred constraints, triggers. */
  #leftToTell = false;
  /** `settingsChanged` when no transaction was open: what came since is undone with it. */
  #settledSettings = 0;
  // Response bytes of one command that lie side by side: recorded in one piece.
  #recordFor: string | undefined;
  #recordLevel: RecordingLevel | undefined;
  #recordBuffer: Buffer | undefined;
  #recordStart = 0;
  #recordEnd = 0;

  constructor(state: RelayState) {
    this.#state = state;
  }

  /** A promise: the same message is to be handled again when it is settled. */
  handle(cursor: FrameCursor): Promise<void> | undefined {
    const { type } = cursor;
    const tells = type === 0x44 || type === 0x64 || this.#quotes(cursor);
    const unconfirmed = tells ? this.#confirm() : undefined;
    if (unconfirmed !== undefined) return unconfirmed;
    this.#handle(cursor);
    return undefined;
  }

  /** An error or notice whose text would go on: what was judged not to reach a class may have been replaced. */
  #quotes({ type, buffer, start, end }: FrameCursor): boolean {
    if (type !== 0x45 && type !== 0x4e) return false;
    const running = this.#state.tracker.head?.tag;
    if (running?.statements[running.at]?.definitions === undefined) return false;
    return !this.#mayTellClassified(running) && !isFatal(buffer, start, end);
  }

  /** Something came of it: what it went through must still be what it was when the statement was judged (I6). */
  #confirm(): Promise<void> | undefined {
    const { context, tracker } = this.#state;
    const running = tracker.head?.tag;
    const definitions = running?.statements[running.at]?.definitions;
    if (running === undefined || definitions === undefined || running.confirmed === running.at)
      return undefined;
    const { classifier } = context;
    if (classifier.confirm === undefined) return undefined;
    return classifier.confirm(definitions).then((isSame) => {
      if (!isSame)
        throw new GatewayError(
          "internal",
          "a view or function was replaced while the statement ran; the session was closed before anything of it was sent",
        );
      running.confirmed = running.at;
    });
  }

  #handle(cursor: FrameCursor): void {
    const { type, buffer, start, end } = cursor;
    if (type === 0x45 && this.#state.tracker.depth === 0) {
      if (this.#isTransparent && isFatal(buffer, start, end)) {
        this.#state.targetSaidWhy = true;
        this.#state.toClient.range(buffer, start, end);
        return;
      }
      throw this.#unaskedError(decodeErrorFields(buffer, start, end));
    }
    const received = this.#state.tracker.received(type);
    if (received.unexpected) throw outOfStep();
    const { owner, ends, skipped } = received;
    if (owner === undefined) {
      this.#unasked(type, buffer, start, end);
      return;
    }
    const exchange = owner.tag;
    if (type === 0x45 && owner.kind === "execute") this.#releaseSync();
    if (owner.swallow) {
      if (type === 0x54) this.#describeRows(exchange, buffer, start, end);
      if (type === 0x45) this.#error(exchange, buffer, start, end);
    } else if (type === 0x44) this.#rows(exchange, cursor);
    else this.#reply(type, exchange, buffer, start, end);
    if (ends) this.#settle(exchange);
    for (const skippedOne of skipped) this.#skip(skippedOne.tag);
  }

  get #isTransparent(): boolean {
    return this.#state.context.target.transparent === true;
  }

  /** After the last message of a chunk. */
  endBatch(): void {
    this.#flushRecording();
  }

  /** Something that must finish before the client's next message is handled. */
  takeWork(): Promise<void> | undefined {
    const work = this.#work;
    this.#work = undefined;
    return work;
  }

  /** True once after a row limit was reached: what runs is to be cancelled. */
  takeLimitHit(): boolean {
    const hit = this.#limitHit;
    this.#limitHit = false;
    return hit;
  }

  /** The session ends: what has no answer yet never gets one here. */
  close(): void {
    this.#flushRecording();
    const { tracker, context } = this.#state;
    for (const left of tracker.drain()) context.book.outcome(left.tag, "disconnected");
  }

  /** A server that stops or ends a backend says so to nobody's question. */
  #unaskedError(fields: ReadonlyMap<string, string>): GatewayError {
    if (fields.get("V") !== "FATAL" && fields.get("V") !== "PANIC") return outOfStep();
    const { name } = this.#state.context.target;
    const state = fields.get("C") ?? "XX000";
    return new GatewayError("target_unavailable", `target ${name} ended the session (${state})`, {
      hint: "connect again",
      cause: new Error(fields.get("M") ?? "no message"),
    });
  }

  #reply(type: number, exchange: Exchange, buffer: Buffer, start: number, end: number): void {
    switch (type) {
      case 0x54: // T
        this.#describeRows(exchange, buffer, start, end);
        if (exchange.statements[exchange.at]?.renamed === undefined) break;
        this.#push(exchange, describedAsAsked(buffer, start, end));
        return;
      case 0x45: // E
        this.#error(exchange, buffer, start, end);
        return;
      case 0x43: // C
      case 0x49: // I
      case 0x73: // s
        if (exchange.instead !== undefined) throw outOfStep();
        if (exchange.limited !== undefined && this.#endOfLimited(exchange, exchange.limited))
          return;
        if (type === 0x73) this.#suspended(exchange);
        else this.#statementDone(exchange);
        break;
      case 0x5a: // Z
        this.#transaction(buffer[start + 5] ?? 0);
        break;
      case 0x64: // d
        if (exchange.limited !== undefined) return;
        exchange.rows += 1;
        exchange.bytes += end - start;
        if (this.#overLimit(exchange)) return;
        break;
    }
    this.#forward(exchange, buffer, start, end);
  }

  #transaction(status: number): void {
    this.#state.transaction = status;
    if (status !== IDLE) return;
    this.#leftToTell = false;
    this.#settledSettings = this.#state.settingsChanged;
    if (!this.#state.uncommittedDefinition) return;
    this.#state.uncommittedDefinition = false;
    this.#work = this.#state.context.classifier.refresh();
  }

  /** The row at hand, and where nothing counts them one by one, those that follow it in the chunk. */
  #rows(exchange: Exchange, cursor: FrameCursor): void {
    const check = exchange.portal?.rowCheck ?? exchange.rowCheck;
    if (
      check === undefined &&
      needsCheck(this.#state.context.masks, exchange.statements[exchange.at])
    )
      throw new GatewayError("internal", "rows came without a description; the session was closed");
    if (exchange.limited !== undefined) return;
    const isFirst = exchange.rows === 0;
    exchange.rows += isLimited(exchange) ? 1 : cursor.takeRun();
    const { buffer, start, end } = cursor;
    exchange.bytes += end - start;
    if (this.#overLimit(exchange)) return;
    if (check?.replace === undefined) this.#forward(exchange, buffer, start, end);
    else this.#mask(exchange, check, check.replace, isFirst, cursor);
  }

  #mask(
    exchange: Exchange,
    check: RowCheck,
    replace: ReplaceValue,
    isFirst: boolean,
    { buffer, start, end }: FrameCursor,
  ): void {
    const { given } = this.#state.context;
    if (isFirst) {
      exchange.masked ??= new Set();
      for (const name of check.maskedClasses) exchange.masked.add(name);
      for (const name of check.nulled) given.gaveNull(name);
    }
    const masked: ReplaceValue = check.partial.includes(true)
      ? (column, from, offset, length) => {
          const value = replace(column, from, offset, length);
          if (value && check.partial[column] === true) given.gave(value);
          return value;
        }
      : replace;
    for (let at = start; at < end; ) {
      const next = at + 1 + buffer.readInt32BE(at + 1);
      ROWS.write(buffer, at, next, check.columns, masked);
      this.#forward(exchange, ROWS.buffer, ROWS.start, ROWS.end);
      at = next;
    }
  }

  /** Rows of one portal count together, in however many parts they are fetched. */
  #overLimit(exchange: Exchange): boolean {
    const { maxRows, maxBytes } = exchange.obligations ?? {};
    if (maxRows === undefined && maxBytes === undefined) return false;
    const before = exchange.portal?.fetched ?? NOTHING_FETCHED;
    const rows = before.rows + exchange.rows;
    const bytes = before.bytes + exchange.bytes;
    const tooMany = maxRows !== undefined && rows > maxRows;
    if (!tooMany && (maxBytes === undefined || bytes <= maxBytes)) return false;
    exchange.limited = {
      what: tooMany ? `${maxRows} rows` : `${maxBytes} bytes`,
      isRead: exchange.statements.every(readsOnly),
    };
    // What changes something is left to end: nobody could say whether it did.
    this.#limitHit = exchange.limited.isRead;
    return true;
  }

  /**
   * The statement came to its end before our cancel did. An error in place of the end keeps step where the
   * server goes on with nothing after it; elsewhere a notice says what is missing.
   */
  #endOfLimited(exchange: Exchange, limited: Limited): boolean {
    const { tracker, toClient } = this.#state;
    const { head } = tracker;
    // A Query is the head until ReadyForQuery; an Execute has left.
    const isLast =
      head?.tag === exchange
        ? exchange.statements.length === 1
        : head === undefined || head.kind === "sync";
    if (!limited.isRead || !isLast) {
      toClient.push(limitNotice(limited, exchange.requestId));
      return false;
    }
    this.#push(exchange, limitResponse(limited, exchange.requestId));
    return true;
  }

  /** RowDescription: the server's word against the plan's, before any row. */
  #describeRows(exchange: Exchange, buffer: Buffer, start: number, end: number): void {
    const { masks } = this.#state.context;
    const plan = exchange.statements[exchange.at];
    if (!needsCheck(masks, plan)) return;
    const unmask = exchange.obligations?.unmask ?? this.#unmaskFor(plan);
    const check = masks.check(buffer, start, end, plan, unmask);
    if ("disagree" in check)
      throw new GatewayError(
        "internal",
        "the result is not what the statement said it would be; the session was closed before a row was sent",
        { cause: new Error(check.disagree) },
      );
    exchange.rowCheck = check;
    if (exchange.portal === undefined) return;
    exchange.portal.rowCheck = check;
    exchange.portal.unmask = unmask;
  }

  /** A Describe that comes before its Execute: what the decision of that operation is now. */
  #unmaskFor(plan: StatementPlan | undefined): ReadonlySet<string> {
    if (plan === undefined || plan.operation.touches.length === 0) return NOTHING;
    const decision = this.#state.context.book.decide(plan.operation);
    return decision.verdict === "permit" ? decision.permit.obligations.unmask : NOTHING;
  }

  #error(exchange: Exchange, buffer: Buffer, start: number, end: number): void {
    const fields = decodeErrorFields(buffer, start, end);
    exchange.sqlState ??= fields.get("C") ?? "XX000";
    this.#settingsMayRevert();
    if (exchange.instead !== undefined) this.#push(exchange, exchange.instead);
    else if (exchange.limited?.isRead === true && exchange.sqlState === CANCELLED)
      this.#push(exchange, limitResponse(exchange.limited, exchange.requestId));
    else if (exchange.ended !== undefined && exchange.sqlState === CANCELLED)
      this.#push(exchange, exchange.ended);
    else if (this.#mayTellClassified(exchange))
      this.#push(exchange, errorResponse(scrubbedMessage(fields, exchange.requestId ?? "unknown")));
    else this.#forward(exchange, buffer, start, end);
  }

  /** NoticeResponse, ParameterStatus, NotificationResponse: at any time, part of no reply. */
  #unasked(type: number, buffer: Buffer, start: number, end: number): void {
    const { context, toClient, tracker } = this.#state;
    if (this.#isTransparent) {
      toClient.range(buffer, start, end);
      return;
    }
    if (type === 0x53) {
      const { name, value } = decodeParameterStatus(buffer, start, end);
      const drift = settingDrift(context.target, name, value);
      if (drift !== undefined) throw new GatewayError("internal", drift);
      if (name === APPLICATION_NAME) {
        // Code of the target's own may set it: then its log no longer shows the chain.
        if (value !== context.settings.get(APPLICATION_NAME))
          context.log(`the target changed ${APPLICATION_NAME} in session ${context.sessionId}`);
        return;
      }
    } else if (type === 0x4e) {
      const running = tracker.head?.tag;
      if (running !== undefined && this.#mayTellClassified(running)) {
        const fields = decodeErrorFields(buffer, start, end);
        const scrubbed = scrubbedMessage(fields, running.requestId ?? "unknown");
        toClient.push(noticeResponse({ ...scrubbed, message: "notice withheld" }));
        return;
      }
    } else if (type === 0x45) {
      // Outside any request: the server ends the session (57P01 and its like).
      const fields = decodeErrorFields(buffer, start, end);
      context.log(`target ended session ${context.sessionId}: ${fields.get("C") ?? "no SQLSTATE"}`);
    }
    toClient.range(buffer, start, end);
  }

  /** A part of its rows came; what it does besides is done as if all had. */
  #suspended(exchange: Exchange): void {
    const { portal } = exchange;
    if (portal !== undefined)
      portal.fetched = {
        rows: portal.fetched.rows + exchange.rows,
        bytes: portal.fetched.bytes + exchange.bytes,
      };
    const statement = exchange.statements[exchange.at];
    if (statement === undefined) return;
    this.#leftToTell ||= leavesToTell(statement);
    if (statement.changesSettings === true) this.#state.settingsChanged += 1;
  }

  /** SET LOCAL ends with its transaction, and SET with one that fails. */
  #settingsMayRevert(): void {
    if (this.#state.settingsChanged !== this.#settledSettings) this.#state.settingsChanged += 1;
  }

  /** Its errors and notices may quote a value: `DETAIL: Failing row contains (…)`. */
  #mayTellClassified({ statements }: Exchange): boolean {
    if (statements.some((statement) => statement.reachesClassified !== false)) return true;
    if (!this.#leftToTell) return false;
    // What was deferred is done now, whatever else is in the text: by COMMIT and its kin, by SET CONSTRAINTS,
    // by a Sync; where no BEGIN was answered, by any Query.
    const isImplicit = this.#state.transaction === IDLE;
    return isImplicit || statements.length === 0 || statements.some(mayDoDeferred);
  }

  /** One statement of the exchange has completed. */
  #statementDone(exchange: Exchange): void {
    const statement = exchange.statements[exchange.at];
    if (statement !== undefined) this.#leftToTell ||= leavesToTell(statement);
    if (statement !== undefined && exchange.sqlState === undefined)
      this.#apply(statement, exchange);
    exchange.at += 1;
    exchange.rowCheck = undefined;
  }

  /** What a statement did to names, settings and objects; the session waits for it (requests.ts). */
  #apply(statement: StatementPlan, exchange: Exchange): void {
    const { statements, portals, context } = this.#state;
    const { kind } = statement;
    if (statement.changesSettings === true) this.#state.settingsChanged += 1;
    switch (kind.kind) {
      case "transaction":
        if (kind.step !== "begin" && kind.step !== "savepoint") this.#settingsMayRevert();
        break;
      case "prepare":
        if (!statements.assign(kind.name, sqlPrepared(kind.inner, context.classifier.epoch)))
          throw new GatewayError("limit", "too many prepared statements in one session");
        break;
      case "declare":
        if (!portals.assign(kind.name, { by: "sql", statement: kind.inner }))
          throw new GatewayError("limit", "too many cursors in one session");
        break;
      case "deallocate":
        if (kind.name === undefined) statements.clear();
        else statements.assign(kind.name, undefined);
        break;
      case "close":
        if (kind.name === undefined) portals.clear();
        else portals.assign(kind.name, undefined);
        break;
      case "discard":
        if (kind.what === "all") {
          this.#reportName("start");
          statements.clear();
          portals.clear();
          this.#state.settingsChanged += 1;
        }
        break;
      case "set":
        // Of its own name nothing depends.
        if (statement.renamed === undefined) this.#state.settingsChanged += 1;
        this.#reportName(kind.name === "all" ? "start" : statement.renamed?.reports);
        break;
      case "custody":
        if (kind.name === "custody.justification") {
          context.book.justify(kind.value);
          context.book.recorder.event(exchange.requestId, "justification", {
            text: kind.value ?? "",
          });
        }
        break;
      case "definition":
        // Inside a transaction nobody else sees it yet, the gateway's catalogue neither.
        this.#state.uncommittedDefinition = true;
        break;
    }
  }

  #reportName(reports: RenamedStatement["reports"]): void {
    const report = reportOf(this.#state.applicationName, reports);
    if (report !== undefined) this.#state.toClient.push(report);
  }

  #settle(exchange: Exchange): void {
    exchange.change?.settle(exchange.sqlState === undefined ? "succeeded" : "failed");
    this.#flushRecording();
    this.#state.context.book.outcome(exchange, exchange.sqlState ?? "ok");
  }

  #skip(exchange: Exchange): void {
    exchange.change?.settle("skipped");
    this.#state.context.book.outcome(exchange, "skipped");
  }

  /** The COPY failed before the server read as far as a Sync we kept back: it waits for that Sync. */
  #releaseSync(): void {
    if (!this.#state.syncKeptBack) return;
    this.#state.syncKeptBack = false;
    this.#state.tracker.sent("sync", SYNC);
    this.#state.toServer.push(sync());
  }

  #forward(exchange: Exchange, buffer: Buffer, start: number, end: number): void {
    this.#state.toClient.range(buffer, start, end);
    this.#record(exchange, buffer, start, end);
  }

  #push(exchange: Exchange, message: Buffer): void {
    this.#state.toClient.push(message);
    this.#record(exchange, message, 0, message.length);
  }

  #record(exchange: Exchange, buffer: Buffer, start: number, end: number): void {
    if (exchange.requestId === undefined) return;
    if (
      this.#recordBuffer === buffer &&
      this.#recordEnd === start &&
      this.#recordFor === exchange.requestId
    ) {
      this.#recordEnd = end;
      return;
    }
    this.#flushRecording();
    this.#recordFor = exchange.requestId;
    this.#recordLevel = exchange.obligations?.record;
    this.#recordBuffer = buffer;
    this.#recordStart = start;
    this.#recordEnd = end;
  }

  #flushRecording(): void {
    const buffer = this.#recordBuffer;
    if (buffer === undefined || this.#recordFor === undefined) return;
    this.#recordBuffer = undefined;
    this.#state.context.book.recorder.response(
      this.#recordFor,
      buffer.subarray(this.#recordStart, this.#recordEnd),
      this.#recordLevel,
    );
  }
}

/** For all sessions: an idle one keeps no room for rows. */
const ROWS = new RowWriter();
/** ReadyForQuery outside a transaction: I. */
const IDLE = 0x49;
const NOTHING: ReadonlySet<string> = new Set();
const NOTHING_FETCHED = { rows: 0, bytes: 0 };
const READS = new Set(["sql:select", "sql:copy_out", "sql:execute"]);
/** query_canceled; of a COPY too that we gave up. */
const CANCELLED = "57014";

function isLimited({ obligations }: Exchange): boolean {
  return obligations?.maxRows !== undefined || obligations?.maxBytes !== undefined;
}

function isFatal(buffer: Buffer, start: number, end: number): boolean {
  const severity = decodeErrorFields(buffer, start, end).get("V");
  return severity === "FATAL" || severity === "PANIC";
}

/** Writes, whose constraints and triggers may be deferred, and cursors: one that is held is run by COMMIT. */
function leavesToTell({ kind, reachesClassified, operation }: StatementPlan): boolean {
  if (reachesClassified === false) return false;
  return (
    kind.kind === "declare" || operation.effects.some((effect) => effect.action !== "sql:select")
  );
}

/** PREPARE TRANSACTION has effects and COMMIT has none; SET CONSTRAINTS is known by having none. */
function mayDoDeferred({ kind, operation }: StatementPlan): boolean {
  return kind.kind === "transaction" || operation.effects.length === 0;
}

function readsOnly({ operation }: StatementPlan): boolean {
  return operation.effects.every(({ action }) => READS.has(action));
}

function sqlPrepared(statement: StatementPlan, epoch: number): PreparedStatement {
  return { by: "sql", statement, epoch };
}

function outOfStep(): GatewayError {
  return new GatewayError(
    "internal",
    "the target's answers are out of step with what was asked; the session was closed",
  );
}
