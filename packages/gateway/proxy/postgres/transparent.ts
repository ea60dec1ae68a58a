// Messages of a client of a transparent target: `mode: transparent-for-tests-only`. Nothing is parsed,
// judged or pinned; being connected is asked of the policies with each command, commands are journalled and
// recorded, replies are kept in step as everywhere. It exists so that PostgreSQL's own test suites can be
// run through the relay, and is refused where a class is configured (config/resolve-postgres.ts).

import type { FrameCursor } from "@custody/wire/postgres/frames.ts";
import {
  copyFail,
  decodeBind,
  decodeExecute,
  decodeParse,
  decodeQuery,
} from "@custody/wire/postgres/frontend.ts";
import type { RequestKind } from "@custody/wire/postgres/reply-tracker.ts";
import type { Operation } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import { type Exchange, plainExchange, runningExchange, SYNC } from "./exchange.ts";
import { waitForReplies } from "./judge.ts";
import type { Classifier, QueryPlan, StatementPlan } from "./plan.ts";
import type { RelayControl, RelayState } from "./relay-state.ts";
import type { ClientMessages, Handled } from "./requests.ts";
import type { ResultMasks } from "./row-check.ts";

const ANYTHING: Operation = {
  protocol: "postgres",
  effects: [],
  touches: [],
  summary: "anything at a transparent target",
};

const STATEMENT: StatementPlan = {
  kind: { kind: "query" },
  operation: ANYTHING,
  columns: undefined,
  plainRead: false,
  reachesClassified: false,
};

const COPY: StatementPlan = { ...STATEMENT, kind: { kind: "copy", direction: "in" } };

/** Takes every text for what it is. */
export const TRANSPARENT_CLASSIFIER: Classifier = {
  classify: planOf,
  epoch: 1,
  refresh: async () => undefined,
};

export const NO_MASKS: ResultMasks = {
  needed: false,
  check: () => ({ maskedClasses: [], nulled: [], partial: [], columns: [], replace: undefined }),
};

export class TransparentRequests implements ClientMessages {
  readonly #state: RelayState;
  readonly #control: RelayControl;
  readonly #statements = new Map<string, string>();
  readonly #portals = new Map<string, string>();

  constructor(state: RelayState, control: RelayControl) {
    this.#state = state;
    this.#control = control;
  }

  handle(cursor: FrameCursor): Handled {
    const { type, buffer, start, end } = cursor;
    const { toServer, tracker } = this.#state;
    if (tracker.copyIn && !COPY_TYPES.has(type)) {
      toServer.push(copyFail("the client sent another command"));
      tracker.clientEndedCopy();
      waitForReplies(this.#state, this.#control);
      return "again";
    }
    const other = OTHERS.get(type);
    if (type === 0x51) this.#run("query", decodeQuery(buffer, start, end).text, cursor);
    else if (type === 0x50) this.#parse(cursor);
    else if (type === 0x42) this.#bind(cursor);
    else if (type === 0x45)
      this.#run(
        "execute",
        this.#portals.get(decodeExecute(buffer, start, end).portal) ?? "",
        cursor,
      );
    else if (type === 0x46) this.#run("function", "", cursor);
    else if (type === 0x44)
      this.#send(buffer[start + 5] === 0x53 ? "describe-statement" : "describe-portal", cursor);
    else if (type === 0x43) this.#send("close", cursor);
    else if (type === 0x53) this.#sync(cursor);
    else if (type === 0x58) this.#control.finish();
    else if (other !== undefined) {
      if (type !== FLUSH) this.#state.syncKeptBack = false;
      toServer.range(buffer, start, end);
      if (other.endsCopy) tracker.clientEndedCopy();
    } else throw new GatewayError("protocol", "unexpected message type; the session was closed");
    return "done";
  }

  cancelHold(): boolean {
    return false;
  }

  close(): void {
    this.#statements.clear();
    this.#portals.clear();
  }

  #parse(cursor: FrameCursor): void {
    const { name, text } = decodeParse(cursor.buffer, cursor.start, cursor.end);
    this.#remember(this.#statements, name, text);
    this.#send("parse", cursor);
  }

  #bind(cursor: FrameCursor): void {
    const { portal, statement } = decodeBind(cursor.buffer, cursor.start, cursor.end);
    this.#remember(this.#portals, portal, this.#statements.get(statement) ?? "");
    this.#send("bind", cursor);
  }

  #remember(names: Map<string, string>, name: string, text: string): void {
    if (names.size >= this.#state.context.limits.maxNames && !names.has(name))
      throw new GatewayError("limit", "too many prepared statements in one session");
    names.set(name, text);
  }

  #run(kind: RequestKind, text: string, cursor: FrameCursor): void {
    const { book } = this.#state.context;
    const plan = planOf(text);
    const decision = book.decide(ANYTHING);
    if (decision.verdict !== "permit")
      throw new GatewayError("forbidden", "policies do not let this session go on");
    const requestId = book.nextRequestId();
    book.intent(requestId, plan, undefined, decision.permit, undefined);
    this.#state.toServer.requires("ordered");
    const { obligations } = decision.permit;
    this.#send(
      kind,
      cursor,
      runningExchange(plan.statements, { requestId, obligations, plainRead: false }, undefined),
    );
  }

  #sync(cursor: FrameCursor): void {
    // As in requests.ts: a Sync in the middle of a COPY has no reply.
    if (this.#state.tracker.syncIgnored()) this.#state.syncKeptBack = true;
    else this.#send("sync", cursor, SYNC);
  }

  #send(kind: RequestKind, cursor: FrameCursor, sent: Exchange = NOTHING()): void {
    const mayCopyIn = sent.statements.includes(COPY);
    this.#state.tracker.sent(kind, sent, false, mayCopyIn);
    this.#state.toServer.range(cursor.buffer, cursor.start, cursor.end);
  }
}

const NOTHING = () => plainExchange(undefined, undefined);

const FLUSH = 0x48;

/** H, d, c, f: forwarded, with no reply of their own. */
const OTHERS = new Map([
  [FLUSH, { endsCopy: false }],
  [0x64, { endsCopy: false }],
  [0x63, { endsCopy: true }],
  [0x66, { endsCopy: true }],
]);

/** d, c, f, S, H, X: what belongs to a COPY FROM STDIN or is dropped during one. */
const COPY_TYPES = new Set([0x64, 0x63, 0x66, 0x53, 0x48, 0x58]);

/** A text that may begin COPY FROM STDIN is waited for: what follows depends on whether it does. */
function planOf(text: string): QueryPlan {
  const statement = /\bcopy\b[\s\S]*\bstdin\b/i.test(text) ? COPY : STATEMENT;
  return {
    text,
    epoch: 1,
    statements: [statement],
    operation: ANYTHING,
    plainRead: false,
    reachesClassified: false,
    refers: [],
  };
}
