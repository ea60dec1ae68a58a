// What a command text means in this session now, and whether it may run: the classifier with the
// session's names, the catalogue read again when a name is unknown, the decision, the hold. Requests
// ask; "wait" means ask again when the relay goes on.

import { flush } from "@custody/wire/postgres/frontend.ts";
import type { Denial, Permit } from "../../access/operation.ts";
import type { Portal } from "./exchange.ts";
import { denialError, type StatementError } from "./faults.ts";
import { type HeldCommand, Holds } from "./holds.ts";
import type { QueryPlan, SessionNames, StatementPlan, Unclassified } from "./plan.ts";
import type { RelayControl, RelayState } from "./relay-state.ts";

/** The session waits for something: the same message is handled again afterwards. */
export type Wait = "wait";

/** A permitted command, or the error its client gets. */
export type Verdict =
  | { readonly permit: Permit; readonly approvedBy: readonly string[] | undefined }
  | { readonly error: StatementError; readonly denial: Denial | undefined }
  | Wait;

export class Judge {
  readonly #state: RelayState;
  readonly #control: RelayControl;
  readonly #holds: Holds;
  /** The message at hand already had the catalogue read again for it. */
  #refreshed = false;
  /** What a name stands for is a large text, and is parsed first. */
  #preparing: Promise<void> | undefined;

  constructor(state: RelayState, control: RelayControl) {
    this.#state = state;
    this.#control = control;
    this.#holds = new Holds(state, control);
  }

  /** The message at hand is done with. */
  nextMessage(): void {
    this.#refreshed = false;
  }

  /** True when a hold was waiting and now ends as cancelled. */
  cancelHold(): boolean {
    return this.#holds.cancel();
  }

  close(): void {
    this.#holds.close();
  }

  /** The plan, or why there is none; the catalogue is read again once for a name it does not know. */
  classify(text: string): QueryPlan | Unclassified | Wait {
    const { classifier } = this.#state.context;
    if (this.#mustVerify()) return "wait";
    const parsing = classifier.prepare?.(text);
    if (parsing !== undefined) {
      this.#control.waitFor(parsing);
      return "wait";
    }
    const plan = classifier.classify(text, this.#names);
    const preparing = this.#preparing;
    if (preparing !== undefined) {
      this.#preparing = undefined;
      this.#control.waitFor(preparing);
      return "wait";
    }
    if (!("unclassified" in plan))
      return this.#state.uncommittedDefinition && !definesOrEnds(plan) ? UNSETTLED : plan;
    if (!maybeStale(plan)) return plan;
    // What was defined a moment ago is nowhere to be read yet.
    if (this.#state.uncommittedDefinition) return UNSETTLED;
    if (this.#refreshed) return plan;
    this.#refreshed = true;
    // A look at whether anybody defined anything is a fraction of reading it all: names are missing often.
    const look = plan.sqlState === LOCK_NOT_AVAILABLE ? undefined : classifier.verify?.();
    this.#control.waitFor(look ?? classifier.refresh());
    return "wait";
  }

  /** A plan of an older catalogue, or one whose names may mean something else now, is made anew. */
  currentPlan(plan: QueryPlan): QueryPlan | Unclassified | Wait {
    if (this.#mustVerify()) return "wait";
    if (plan.refers.length > 0) {
      if (this.#state.tracker.depth > 0) return this.#waitForReplies();
    } else if (
      plan.epoch === this.#state.context.classifier.epoch &&
      !this.#state.uncommittedDefinition
    )
      return plan;
    return this.classify(plan.text);
  }

  /** Others define objects too: what names mean is looked at again when that was a while ago. */
  #mustVerify(): boolean {
    const { classifier } = this.#state.context;
    if (classifier.verify === undefined || classifier.due?.() !== true) return false;
    this.#control.waitFor(classifier.verify());
    return true;
  }

  readonly #names: SessionNames = {
    prepared: (name) => this.#preparedStatement(name),
    cursor: (name) => {
      const portal = this.#state.portals.confirmed(name);
      return portal?.by === "message" ? portal.plan.statements[0] : portal?.statement;
    },
  };

  /** In the catalogue as it is now; undefined when it was prepared in an older one by SQL. */
  #preparedStatement(name: string): StatementPlan | undefined {
    const { classifier } = this.#state.context;
    const prepared = this.#state.statements.confirmed(name);
    if (prepared === undefined) return undefined;
    if (prepared.by === "sql")
      return prepared.epoch === classifier.epoch ? prepared.statement : undefined;
    if (prepared.plan.epoch === classifier.epoch) return prepared.plan.statements[0];
    // A large one is parsed elsewhere here too: whoever uses its name waits.
    this.#preparing ??= classifier.prepare?.(prepared.plan.text);
    if (this.#preparing !== undefined) return undefined;
    const plan = classifier.classify(prepared.plan.text, NO_NAMES);
    return "unclassified" in plan ? undefined : plan.statements[0];
  }

  decide(requestId: string, plan: QueryPlan, portal: Portal | undefined): Verdict {
    const { book } = this.#state.context;
    const command: HeldCommand = { requestId, plan, portal };
    const released = this.#holds.take(command);
    if (released !== undefined) {
      if ("error" in released) return { error: released.error, denial: released.denial };
      return { permit: released.permit, approvedBy: released.approvedBy };
    }
    const decision = book.decide(plan.operation);
    if (decision.verdict === "permit") return { permit: decision.permit, approvedBy: undefined };
    if (decision.verdict === "deny")
      return { error: denialError(decision.denial, requestId), denial: decision.denial };
    // Consent is for one exact operation, and a name can be given another meaning afterwards.
    if (plan.refers.length > 0 || plan.statements.some(givesName)) {
      const error = heldByName(decision.what);
      return { error, denial: undefined };
    }
    // What came before is answered first, so that the transaction's state is known while it waits.
    if (this.#state.tracker.depth > 0) return this.#waitForReplies();
    this.#control.waitFor(this.#holds.wait(command, decision));
    return "wait";
  }

  #waitForReplies(): Wait {
    waitForReplies(this.#state, this.#control);
    return "wait";
  }
}

/** The session goes on when everything sent so far was answered. */
export function waitForReplies(state: RelayState, control: RelayControl): void {
  // Without it the server may keep the replies to itself until a Sync that has not come yet.
  state.toServer.push(flush());
  control.waitForReplies();
}

function givesName({ kind }: StatementPlan): boolean {
  return kind.kind === "prepare" || kind.kind === "declare";
}

function heldByName(what: string): StatementError {
  return {
    sqlState: "42501",
    message: `Custody denied ${what}: it needs approval, which is not given to a name`,
    detail: "EXECUTE and FETCH run what a name stands for at the time.",
    hint: "send the statement itself",
    position: undefined,
  };
}

const NO_NAMES: SessionNames = { prepared: () => undefined, cursor: () => undefined };

/** What may follow a definition before its transaction ends: more of them, and the end. */
function definesOrEnds(plan: QueryPlan): boolean {
  return plan.statements.every(
    ({ kind }) => kind.kind === "definition" || kind.kind === "transaction",
  );
}

const UNSETTLED: Unclassified = {
  unclassified: true,
  message: "this transaction defines objects: commit it before other statements",
  sqlState: "0A000",
  position: undefined,
};

/** A text that gives a name a meaning and uses names is judged before either happens: refused. */
export function nameTrouble(plan: QueryPlan): Unclassified | undefined {
  if (plan.statements.length < 2 || plan.refers.length === 0) return undefined;
  if (!plan.statements.some(changesNames)) return undefined;
  return {
    unclassified: true,
    message: "PREPARE, DECLARE and the use of such names cannot share one query text",
    sqlState: "0A000",
    position: undefined,
  };
}

/** Of a view that was locked when its definition was to be read: nobody defined anything when it no longer is. */
const LOCK_NOT_AVAILABLE = "55P03";

/** Names that a newer catalogue may know: relations, columns, functions, schemas, types; and such views. */
export function maybeStale(plan: Unclassified): boolean {
  return ["42P01", "42703", "42883", "3F000", "42704", LOCK_NOT_AVAILABLE].includes(plan.sqlState);
}

/** Changes what names or objects mean for what follows. */
export function changesNames(statement: StatementPlan): boolean {
  switch (statement.kind.kind) {
    case "prepare":
    case "deallocate":
    case "declare":
    case "close":
    case "discard":
    case "definition":
    case "custody":
      return true;
    default:
      return false;
  }
}
