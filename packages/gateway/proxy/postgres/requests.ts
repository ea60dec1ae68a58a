// Messages of the client: each is decoded, what it would run is classified and decided, its intent is
// journalled, and then its own bytes go on. What is denied is replaced by a message that the server is
// sure to refuse at the same place, so that transaction state and pipeline stay exactly as PostgreSQL
// would have them; replies.ts puts our error in place of the server's.
//
// `handle` answers "again" when the same message is to be handled anew after a wait: nothing it did
// before that has left a trace.

import { parametersDigest } from "@custody/evidence/node/command-digest.ts";
import type { FrameCursor } from "@custody/wire/postgres/frames.ts";
import {
  copyFail,
  decodeBare,
  decodeBind,
  decodeClose,
  decodeCopyData,
  decodeCopyFail,
  decodeDescribe,
  decodeExecute,
  decodeParse,
  decodeQuery,
  describePortal,
  flush,
  missingPortalExecute,
  parse,
  poisonedParse,
  poisonedQuery,
  query,
} from "@custody/wire/postgres/frontend.ts";
import type { RequestKind } from "@custody/wire/postgres/reply-tracker.ts";
import type { Denial } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import {
  type Ending,
  type Exchange,
  type Portal,
  plainExchange,
  preparingExchange,
  proposeName,
  runningExchange,
  SYNC,
} from "./exchange.ts";
import { denialError, type StatementError, statementErrorResponse } from "./faults.ts";
import {
  changesNames,
  Judge,
  nameTrouble,
  type Verdict,
  type Wait,
  waitForReplies,
} from "./judge.ts";
import { NEVER_CERTAIN, requireWholeName } from "./names.ts";
import type { QueryPlan, StatementPlan } from "./plan.ts";
import {
  asDenial,
  madeBySql,
  PARAMETER_RUNS_CODE,
  refusedGuess,
  unclassified,
} from "./refusals.ts";
import type { RelayControl, RelayState } from "./relay-state.ts";
import { needsCheck } from "./row-check.ts";
import { StoredMasks } from "./write-back.ts";

export type Handled = "done" | "again";

/** What handles a client's messages. */
export interface ClientMessages {
  handle(cursor: FrameCursor): Handled;
  /** True when a hold was waiting and now ends as cancelled. */
  cancelHold(): boolean;
  close(): void;
}

export class Requests implements ClientMessages {
  readonly #state: RelayState;
  readonly #control: RelayControl;
  readonly #judge: Judge;
  /** What was sent changes names or the catalogue: the next message waits until it is known how. */
  #fenced = false;
  readonly #stored: StoredMasks;
  /** The request id of a message that is handled again. */
  #requestId: string | undefined;

  constructor(state: RelayState, control: RelayControl) {
    this.#state = state;
    this.#control = control;
    this.#judge = new Judge(state, control);
    this.#stored = new StoredMasks(state.context);
  }

  handle(cursor: FrameCursor): Handled {
    // What the server would drop unread is not judged, held or sent: nothing would ever answer it.
    if (this.#state.tracker.dropping && !ENDS_DROPPING.has(cursor.type)) {
      this.#judge.nextMessage();
      this.#requestId = undefined;
      return "done";
    }
    if (this.#fenced) {
      if (this.#state.tracker.depth > 0) return this.#waitForReplies();
      this.#fenced = false;
    }
    if (this.#state.tracker.copyIn && !COPY_TYPES.has(cursor.type)) return this.#abandonCopy();
    const handled = this.#dispatch(cursor);
    if (handled === "done") {
      this.#judge.nextMessage();
      this.#requestId = undefined;
    }
    return handled;
  }

  cancelHold(): boolean {
    return this.#judge.cancelHold();
  }

  close(): void {
    this.#judge.close();
  }

  #dispatch(cursor: FrameCursor): Handled {
    const { type, buffer, start, end } = cursor;
    const { toServer, tracker } = this.#state;
    switch (type) {
      case 0x51: // Q
        return this.#query(buffer, start, end);
      case 0x50: // P
        return this.#parse(buffer, start, end);
      case 0x42: // B
        return this.#bind(buffer, start, end);
      case 0x45: // E
        return this.#execute(buffer, start, end);
      case 0x44: // D
        return this.#describe(buffer, start, end);
      case 0x43: // C
        return this.#close(buffer, start, end);
      case 0x53: // S
        decodeBare(buffer, start, end);
        // The server would ignore it in the middle of a COPY; then it has no reply either.
        if (tracker.syncIgnored()) {
          this.#state.syncKeptBack = true;
          return "done";
        }
        this.#send("sync", SYNC, buffer, start, end);
        return "done";
      case 0x48: // H
        decodeBare(buffer, start, end);
        toServer.range(buffer, start, end);
        return "done";
      case 0x64: // d
        decodeCopyData(buffer, start, end);
        this.#copied(buffer, start, end);
        return "done";
      case 0x63: // c
        decodeBare(buffer, start, end);
        this.#copied(buffer, start, end);
        tracker.clientEndedCopy();
        return "done";
      case 0x66: // f
        decodeCopyFail(buffer, start, end);
        this.#copied(buffer, start, end);
        tracker.clientEndedCopy();
        return "done";
      case 0x46: // F
        return this.#functionCall();
      case 0x58: // X
        this.#control.finish();
        return "done";
      default:
        throw new GatewayError("protocol", "unexpected message type; the session was closed");
    }
  }

  // --- simple query ---

  #query(buffer: Buffer, start: number, end: number): Handled {
    const { text } = decodeQuery(buffer, start, end);
    const requestId = this.#newRequestId();
    const plan = this.#judge.classify(text);
    if (plan === "wait") return "again";
    if ("unclassified" in plan) return this.#poisonQuery(requestId, text, unclassified(plan));
    const trouble = nameTrouble(plan);
    if (trouble !== undefined) return this.#poisonQuery(requestId, text, unclassified(trouble));
    // EXECUTE and FETCH mean what earlier statements made of their names: that must be known first.
    if (plan.refers.length > 0 && this.#state.tracker.depth > 0) return this.#waitForReplies();

    const verdict = this.#judge.decide(requestId, plan, undefined);
    if (verdict === "wait") return "again";
    if ("error" in verdict)
      return this.#poisonQuery(requestId, text, verdict.error, verdict.denial, plan);

    const stored =
      this.#stored.inCommand(plan, undefined) ??
      refusedGuess(this.#state.context, plan, verdict.permit);
    if (stored !== undefined) return this.#poisonQuery(requestId, text, stored, undefined, plan);

    this.#intent(requestId, plan, undefined, verdict);
    this.#send(
      "query",
      runningExchange(
        plan.statements,
        { requestId, obligations: verdict.permit.obligations, plainRead: plan.plainRead },
        this.#forgetUnnamed(),
      ),
      ...sentFor(plan, { buffer, start, end }, query),
    );
    if (plan.statements.some(changesNames)) this.#fence();
    return "done";
  }

  #poisonQuery(
    requestId: string,
    text: string,
    error: StatementError,
    denial?: Denial,
    plan?: QueryPlan,
  ): Handled {
    this.#denied(requestId, text, plan, denial ?? asDenial(error));
    const poison = poisonedQuery(requestId);
    const instead = statementErrorResponse(error);
    this.#send("query", plainExchange(this.#forgetUnnamed(), instead), poison, 0, poison.length);
    return "done";
  }

  /** A simple Query drops the unnamed statement and portal, whether it succeeds or not. */
  #forgetUnnamed() {
    const { statements, portals } = this.#state;
    const statement = proposeName(statements, "", undefined, NEVER_CERTAIN);
    const portal = proposeName(portals, "", undefined, NEVER_CERTAIN);
    return {
      settle: (ending: Ending) => {
        const dropped = ending === "skipped" ? "skipped" : "succeeded";
        statement?.settle(dropped);
        portal?.settle(dropped);
      },
    };
  }

  // --- extended query ---

  #parse(buffer: Buffer, start: number, end: number): Handled {
    const message = decodeParse(buffer, start, end);
    requireWholeName(message.name);
    const requestId = this.#newRequestId();
    const plan = this.#judge.classify(message.text);
    if (plan === "wait") return "again";
    if ("unclassified" in plan)
      return this.#poisonParse(message.name, requestId, message.text, unclassified(plan));
    if (plan.refers.length > 0 && this.#state.tracker.depth > 0) return this.#waitForReplies();
    const decision = this.#state.context.book.decide(plan.operation);
    if (decision.verdict === "deny") {
      const error = denialError(decision.denial, requestId);
      return this.#poisonParse(message.name, requestId, message.text, error, decision.denial, plan);
    }
    const { codeTypes } = this.#state.context.classifier;
    if (message.parameterTypes.some((type) => codeTypes?.has(type)))
      return this.#poisonParse(message.name, requestId, message.text, PARAMETER_RUNS_CODE);
    const { statements, tracker } = this.#state;
    const prepared = {
      by: "message",
      plan,
      parameterTypes: message.parameterTypes,
    } as const;
    // A named statement that exists cannot be parsed over: the server will refuse, and the name keeps
    // its meaning. Whether it exists is the server's to say.
    const change = proposeName(statements, message.name, prepared, tracker.segment);
    if (change === undefined)
      throw new GatewayError("limit", "too many prepared statements in one session");
    this.#state.context.book.prepared(requestId, plan, decision.verdict);
    this.#state.toServer.requires("ordered");
    this.#send(
      "parse",
      preparingExchange(plan.statements, change),
      ...sentFor(plan, { buffer, start, end }, (text) =>
        parse(message.name, text, message.parameterTypes),
      ),
    );
    return "done";
  }

  #poisonParse(
    name: string,
    requestId: string,
    text: string,
    error: StatementError,
    denial?: Denial,
    plan?: QueryPlan,
  ): Handled {
    this.#denied(requestId, text, plan, denial ?? asDenial(error));
    const poison = poisonedParse(name, requestId);
    this.#send(
      "parse",
      plainExchange(undefined, statementErrorResponse(error)),
      poison,
      0,
      poison.length,
    );
    return "done";
  }

  #bind(buffer: Buffer, start: number, end: number): Handled {
    const { statements, portals, tracker } = this.#state;
    const message = decodeBind(buffer, start, end);
    requireWholeName(message.statement);
    requireWholeName(message.portal);
    const statement = statements.lookup(message.statement, tracker.segment);
    if (!statement.certain) return this.#waitForReplies();
    if (statement.value === undefined)
      return this.#poisonExtended("bind", {
        sqlState: "26000",
        message: `prepared statement "${message.statement}" does not exist`,
        detail: undefined,
        hint: undefined,
        position: undefined,
      });
    if (statement.value.by === "sql")
      return this.#poisonExtended("bind", madeBySql("PREPARE", "EXECUTE"));
    const portal: Portal = {
      by: "message",
      plan: statement.value.plan,
      parameterTypes: statement.value.parameterTypes,
      bind: message,
      parametersDigest: parametersDigest(message.parameters),
      rowCheck: undefined,
      unmask: undefined,
      fetched: { rows: 0, bytes: 0 },
      describing: false,
    };
    const change = proposeName(portals, message.portal, portal, tracker.segment);
    if (change === undefined) throw new GatewayError("limit", "too many portals in one session");
    // Values are read and the statement is planned: code of the database's may run and say something.
    const bound = preparingExchange(statement.value.plan.statements, change);
    this.#send("bind", bound, buffer, start, end);
    return "done";
  }

  #execute(buffer: Buffer, start: number, end: number): Handled {
    const { portals, tracker, context } = this.#state;
    const message = decodeExecute(buffer, start, end);
    requireWholeName(message.portal);
    const found = portals.lookup(message.portal, tracker.segment);
    if (!found.certain) return this.#waitForReplies();
    const portal = found.value;
    if (portal === undefined)
      return this.#poisonExtended("execute", {
        sqlState: "34000",
        message: `portal "${message.portal}" does not exist`,
        detail: undefined,
        hint: undefined,
        position: undefined,
      });
    if (portal.by === "sql") return this.#poisonExtended("execute", madeBySql("DECLARE", "FETCH"));
    const requestId = this.#newRequestId();
    const plan = this.#judge.currentPlan(portal.plan);
    if (plan === "wait") return "again";
    if ("unclassified" in plan)
      return this.#poisonExecute(requestId, portal.plan, unclassified(plan));

    const verdict = this.#judge.decide(requestId, plan, portal);
    if (verdict === "wait") return "again";
    if ("error" in verdict)
      return this.#poisonExecute(requestId, plan, verdict.error, verdict.denial);

    const stored =
      this.#stored.inCommand(plan, portal) ??
      refusedGuess(this.#state.context, plan, verdict.permit);
    if (stored !== undefined) return this.#poisonExecute(requestId, plan, stored);

    // Rows of a plan of another catalogue, or of a decision that shows less or more, are described anew.
    if (plan !== portal.plan || unmasksOtherwise(portal, verdict.permit.obligations.unmask)) {
      portal.rowCheck = undefined;
      portal.describing = false;
    }
    // Rows are checked against what the server says of them (the second witness), so it is asked when
    // the client did not ask itself.
    if (
      needsCheck(context.masks, plan.statements[0]) &&
      portal.rowCheck === undefined &&
      !portal.describing
    ) {
      portal.describing = true;
      const describe = describePortal(message.portal);
      const asked = preparingExchange(plan.statements, undefined, portal);
      this.#send("describe-portal", asked, describe, 0, describe.length, true);
    }
    this.#intent(requestId, plan, portal, verdict);
    this.#send(
      "execute",
      runningExchange(
        plan.statements,
        { requestId, obligations: verdict.permit.obligations, plainRead: plan.plainRead },
        undefined,
        portal,
      ),
      buffer,
      start,
      end,
    );
    if (plan.statements.some(changesNames)) this.#fence();
    return "done";
  }

  #poisonExecute(
    requestId: string,
    plan: QueryPlan,
    error: StatementError,
    denial?: Denial,
  ): Handled {
    this.#denied(requestId, plan.text, plan, denial ?? asDenial(error));
    return this.#poisonExtended("execute", error, requestId);
  }

  /** In place of a Bind or Execute: one that fails, so that the server skips to Sync as it must. */
  #poisonExtended(kind: "bind" | "execute", error: StatementError, requestId = "none"): Handled {
    const poison = missingPortalExecute(requestId);
    const instead = plainExchange(undefined, statementErrorResponse(error));
    this.#send(kind, instead, poison, 0, poison.length);
    return "done";
  }

  #describe(buffer: Buffer, start: number, end: number): Handled {
    const { statements, portals, tracker } = this.#state;
    const { kind, name } = decodeDescribe(buffer, start, end);
    requireWholeName(name);
    if (kind === "statement") {
      const found = statements.lookup(name, tracker.segment);
      if (!found.certain) return this.#waitForReplies();
      const known = found.value?.by === "message" ? found.value.plan.statements : [];
      this.#send("describe-statement", preparingExchange(known, undefined), buffer, start, end);
      return "done";
    }
    const found = portals.lookup(name, tracker.segment);
    if (!found.certain) return this.#waitForReplies();
    const portal = found.value;
    if (portal?.by !== "message") {
      const known = portal === undefined ? [] : [portal.statement];
      this.#send("describe-portal", preparingExchange(known, undefined), buffer, start, end);
      return "done";
    }
    portal.describing = true;
    const described = preparingExchange(portal.plan.statements, undefined, portal);
    this.#send("describe-portal", described, buffer, start, end);
    return "done";
  }

  #close(buffer: Buffer, start: number, end: number): Handled {
    const { statements, portals, tracker } = this.#state;
    const { kind, name } = decodeClose(buffer, start, end);
    requireWholeName(name);
    const change =
      kind === "statement"
        ? proposeName(statements, name, undefined, tracker.segment)
        : proposeName(portals, name, undefined, tracker.segment);
    this.#send("close", plainExchange(change, undefined), buffer, start, end);
    return "done";
  }

  /** FunctionCall names a function by OID and says nothing else that could be judged. */
  #functionCall(): Handled {
    const requestId = this.#newRequestId();
    const denial: Denial = {
      kind: "unknown",
      what: "a FunctionCall message",
      policyId: undefined,
      message: "the function-call protocol is not supported; use SELECT",
      hop: undefined,
      hopLabel: undefined,
    };
    this.#denied(requestId, "", undefined, denial);
    const poison = poisonedQuery(requestId);
    const instead = statementErrorResponse(denialError(denial, requestId));
    this.#send("query", plainExchange(undefined, instead), poison, 0, poison.length);
    return "done";
  }

  // --- shared ---

  /**
   * A command in the middle of COPY FROM STDIN: either a client's fault, or the COPY has failed and we
   * have not heard yet. The server takes CopyFail well in both cases; then it is known.
   */
  #abandonCopy(): Handled {
    this.#state.toServer.push(copyFail("the client sent another command"));
    this.#state.tracker.clientEndedCopy();
    return this.#waitForReplies();
  }

  /** CopyData, CopyDone, CopyFail: part of a command that was permitted, or dropped by the server. */
  #copied(buffer: Buffer, start: number, end: number): void {
    const { context, toServer, tracker } = this.#state;
    this.#state.syncKeptBack = false;
    const copying = tracker.copyIn ? tracker.head?.tag : undefined;
    if (copying !== undefined) {
      context.book.copied(copying, buffer, start, end);
      if (buffer[start] === 0x64 && this.#endsCopy(copying, buffer.subarray(start + 5, end)))
        return;
    }
    toServer.range(buffer, start, end);
  }

  /** Rows with a mask in them end the COPY; what the client sends of it after that is dropped. */
  #endsCopy(copying: Exchange, rows: Buffer): boolean {
    const stored = this.#stored.inCopy(copying, rows);
    if (stored === undefined) return false;
    copying.ended = statementErrorResponse(stored);
    this.#state.toServer.push(copyFail("a masked value"));
    this.#state.tracker.clientEndedCopy();
    return true;
  }

  #send(
    kind: RequestKind,
    sent: Exchange,
    buffer: Buffer,
    start: number,
    end: number,
    swallow = false,
  ): void {
    const mayCopyIn = sent.requestId !== undefined && sent.statements.some(copiesIn);
    this.#state.tracker.sent(kind, sent, swallow, mayCopyIn);
    this.#state.toServer.range(buffer, start, end);
  }

  #newRequestId(): string {
    this.#requestId ??= this.#state.context.book.nextRequestId();
    return this.#requestId;
  }

  #intent(
    requestId: string,
    plan: QueryPlan,
    portal: Portal | undefined,
    verdict: Exclude<Verdict, Wait | { readonly error: StatementError }>,
  ): void {
    const { book } = this.#state.context;
    book.intent(requestId, plan, portal, verdict.permit, verdict.approvedBy);
    this.#state.toServer.requires(plan.plainRead ? "ordered" : "strict");
  }

  #denied(requestId: string, text: string, plan: QueryPlan | undefined, denial: Denial): void {
    this.#state.context.book.denied(requestId, text, plan, denial);
    this.#state.toServer.requires("ordered");
  }

  #fence(): void {
    this.#fenced = true;
    this.#state.toServer.push(flush());
  }

  #waitForReplies(): Handled {
    waitForReplies(this.#state, this.#control);
    return "again";
  }
}

/** The client's own bytes, but for the one statement that is sent by another name. */
function sentFor(
  { statements: [first, second] }: QueryPlan,
  { buffer, start, end }: { buffer: Buffer; start: number; end: number },
  encode: (text: string) => Buffer,
): [Buffer, number, number] {
  if (first?.renamed === undefined || second !== undefined) return [buffer, start, end];
  const renamed = encode(first.renamed.text);
  return [renamed, 0, renamed.length];
}

function unmasksOtherwise({ unmask }: Portal, now: ReadonlySet<string>): boolean {
  if (unmask === undefined || unmask === now) return false;
  return unmask.size !== now.size || !unmask.isSubsetOf(now);
}

function copiesIn({ kind }: StatementPlan): boolean {
  return kind.kind === "copy" && kind.direction === "in";
}

/** S and X; and H, which is harmless. */
const ENDS_DROPPING = new Set([0x53, 0x58, 0x48]);

/** What belongs to a COPY FROM STDIN or is dropped during one: d, c, f, S, H; and X. */
const COPY_TYPES = new Set([0x64, 0x63, 0x66, 0x53, 0x48, 0x58]);
