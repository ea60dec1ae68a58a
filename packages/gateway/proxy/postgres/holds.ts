// A statement that waits for people: session/hold-wait.ts in PostgreSQL's words. The client gets
// NOTICEs; no further message of it is handled; a cancel ends the wait. Inside a transaction it waits
// less long, since others wait for its locks.
//
// Who owns the state: one a session.

import type { Denial, Permit } from "../../access/operation.ts";
import {
  type HeldDecision,
  type HoldEnd,
  HoldWait,
  type WaitEnd,
  type WaitingCommand,
} from "../../session/hold-wait.ts";
import { textDigest } from "./command-book.ts";
import type { Portal } from "./exchange.ts";
import type { StatementError } from "./faults.ts";
import type { QueryPlan } from "./plan.ts";
import type { RelayControl, RelayState } from "./relay-state.ts";

export interface HeldCommand {
  readonly requestId: string;
  readonly plan: QueryPlan;
  readonly portal: Portal | undefined;
}

/** How a wait ended, for the same command when it is handled again. */
export type Released =
  | { readonly permit: Permit; readonly approvedBy: readonly string[] }
  | { readonly error: StatementError; readonly denial: Denial };

const IN_TRANSACTION_IDLE = 0x49;

export class Holds {
  readonly #state: RelayState;
  readonly #control: RelayControl;
  readonly #wait: HoldWait;
  #ended:
    | { readonly command: HeldCommand; readonly decision: HeldDecision; readonly end: WaitEnd }
    | undefined;

  constructor(state: RelayState, control: RelayControl) {
    this.#state = state;
    this.#control = control;
    const { book, clock, limits } = state.context;
    this.#wait = new HoldWait({
      ...{ control: state.context.control, book, clock },
      reminderMs: limits.holdReminderMs,
    });
  }

  /** Waits; afterwards `take` says how it ended. */
  async wait(command: HeldCommand, decision: HeldDecision): Promise<void> {
    const { limits } = this.#state.context;
    const inTransaction = this.#state.transaction !== IN_TRANSACTION_IDLE;
    const waitMs = inTransaction ? limits.holdWaitInTransactionMs : limits.holdWaitMs;
    const end = await this.#wait.wait(this.#waiting(command), decision, waitMs, (notice) =>
      this.#control.notice(notice),
    );
    this.#ended = { command, decision, end };
  }

  /** For the command that waited, once; undefined for any other. */
  take(command: HeldCommand): Released | undefined {
    const ended = this.#ended;
    if (ended === undefined || ended.command.requestId !== command.requestId) return undefined;
    this.#ended = undefined;
    const end = this.#wait.release(this.#waiting(command), ended.end);
    if (end.kind === "released") return { permit: end.permit, approvedBy: end.approvedBy };
    const error = errorOf(end, ended.decision, command.requestId);
    return { error, denial: denialOf(error) };
  }

  /** True when something waited; it ends as cancelled. */
  cancel(): boolean {
    return this.#wait.cancel();
  }

  close(): void {
    this.cancel();
  }

  #waiting({ requestId, plan, portal }: HeldCommand): WaitingCommand {
    const { context } = this.#state;
    return {
      ...{ requestId, operation: plan.operation, text: plan.text },
      parameters: readableParameters(portal),
      bound: () => [
        textDigest(plan),
        portal?.parametersDigest ?? null,
        portal?.parameterTypes ?? null,
        portal?.bind.parameterFormats ?? null,
        portal?.bind.resultFormats ?? null,
        plan.epoch,
        context.database,
        [...context.settings],
        // What the client has set is counted, not kept: it is the same only while this session sets nothing.
        this.#state.settingsChanged === 0 ? null : [context.sessionId, this.#state.settingsChanged],
      ],
    };
  }
}

function errorOf(
  end: Exclude<HoldEnd, { kind: "released" }>,
  decision: HeldDecision,
  requestId: string,
): StatementError {
  switch (end.kind) {
    case "cancelled":
      return {
        sqlState: "57014",
        message: "canceling statement due to user request",
        detail: "It was waiting for approval and was not executed.",
        hint: undefined,
        position: undefined,
      };
    case "changed":
      return {
        sqlState: "42501",
        message: "Custody denied it: what was approved is no longer what would run",
        detail: `Policies, objects or settings changed while it waited. Not executed. Request ${requestId}.`,
        hint: "ask again",
        position: undefined,
      };
    case "refused": {
      const policies = decision.requirements.map(({ policyId }) => policyId).join(", ");
      return {
        sqlState: "42501",
        message: `Custody denied ${decision.what}: not approved, not executed`,
        detail: `${end.how}. Policy ${policies}. Request ${requestId}.`,
        hint: `custody explain ${requestId}`,
        position: undefined,
      };
    }
  }
}

function denialOf(error: StatementError): Denial {
  return {
    kind: "forbidden",
    what: "a held command",
    policyId: undefined,
    message: error.detail ?? error.message,
    hop: undefined,
    hopLabel: undefined,
  };
}

const MAX_SHOWN_PARAMETER_BYTES = 256;

/** Text parameters as they are, binary ones as hex; for the approver. */
function readableParameters(portal: Portal | undefined): (string | null)[] {
  if (portal === undefined) return [];
  const { parameters, parameterFormats } = portal.bind;
  return parameters.map((value, index) => {
    if (value === null) return null;
    const format = parameterFormats.length === 1 ? parameterFormats[0] : parameterFormats[index];
    const shown = value.subarray(0, MAX_SHOWN_PARAMETER_BYTES);
    const text = format === 1 ? `\\x${shown.toString("hex")}` : shown.toString("utf8");
    return value.length > shown.length ? `${text}… (${value.length} bytes)` : text;
  });
}
