// A command that waits for people. The client is told on the wire that it waits and for whom; no
// further message of it is handled; a cancel ends the wait. When it has waited long enough it is
// refused, "not executed", and an approval that comes later is honoured when the same operation is
// asked again. On release everything is decided anew and must be the same (I4, I8).
//
// Who owns the state: one a session; the request itself lives on the control side.

import { createHash } from "node:crypto";
import type { Decision, Denial, Permit } from "../../access/operation.ts";
import { leafOf } from "../../delegation/chain.ts";
import type { Hold, HoldState } from "../../session/control.ts";
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

type Held = Extract<Decision, { verdict: "hold" }>;

/** How a wait ended, for the same command when it is handled again. */
export type Released =
  | { readonly permit: Permit; readonly approvedBy: readonly string[] }
  | { readonly error: StatementError; readonly denial: Denial };

type Ending =
  | { readonly kind: "approved"; readonly met: readonly string[]; readonly by: readonly string[] }
  | { readonly kind: "refused"; readonly error: StatementError };

const IN_TRANSACTION_IDLE = 0x49;

export class Holds {
  readonly #state: RelayState;
  readonly #control: RelayControl;
  #ending:
    | { readonly requestId: string; readonly binding: string; readonly ending: Ending }
    | undefined;
  #stop: ((ending: Ending) => void) | undefined;

  constructor(state: RelayState, control: RelayControl) {
    this.#state = state;
    this.#control = control;
  }

  /** Waits; afterwards `take` says how it ended. */
  async wait(command: HeldCommand, decision: Held): Promise<void> {
    const { context } = this.#state;
    const { requestId } = command;
    const binding = this.#bindingOf(command, decision);
    let changed: (state: HoldState) => void = () => undefined;
    const hold = await context.control.requestApproval(
      {
        requestId,
        sessionId: context.sessionId,
        target: context.target.name,
        account: context.book.subject.account,
        what: decision.what,
        command: command.plan.text,
        parameters: readableParameters(command.portal),
        requirements: decision.requirements,
        justification: context.book.subject.justification,
        binding,
      },
      (state) => changed(state),
    );
    context.book.held(requestId, decision.what, decision.requirements);
    const ending = await this.#untilEnded(hold, requestId, decision, (listener) => {
      changed = listener;
    });
    context.control.leaveHold(hold.holdId, context.sessionId);
    if (
      ending.kind === "approved" &&
      !(await context.control.spendApproval(hold.holdId, binding))
    ) {
      const error = refusal(decision, requestId, "the approval was already used or has expired");
      this.#ending = { requestId, binding, ending: { kind: "refused", error } };
      return;
    }
    this.#ending = { requestId, binding, ending };
  }

  /** For the command that waited, once; undefined for any other. */
  take(command: HeldCommand): Released | undefined {
    const ended = this.#ending;
    if (ended === undefined || ended.requestId !== command.requestId) return undefined;
    this.#ending = undefined;
    const { ending } = ended;
    if (ending.kind === "refused") return { error: ending.error, denial: denialOf(ending.error) };
    const { book } = this.#state.context;
    const now = book.decide(command.plan.operation);
    const same = now.verdict === "hold" && this.#bindingOf(command, now) === ended.binding;
    const decision = same ? book.decideApproved(command.plan.operation, ending.met) : undefined;
    if (decision?.verdict === "permit") return { permit: decision.permit, approvedBy: ending.by };
    const error: StatementError = {
      sqlState: "42501",
      message: "Custody denied it: what was approved is no longer what would run",
      detail: `Policies, objects or settings changed while it waited. Not executed. Request ${command.requestId}.`,
      hint: "ask again",
      position: undefined,
    };
    return { error, denial: denialOf(error) };
  }

  /** True when something waited; it ends as cancelled. */
  cancel(): boolean {
    if (this.#stop === undefined) return false;
    this.#stop({
      kind: "refused",
      error: {
        sqlState: "57014",
        message: "canceling statement due to user request",
        detail: "It was waiting for approval and was not executed.",
        hint: undefined,
        position: undefined,
      },
    });
    return true;
  }

  close(): void {
    this.cancel();
  }

  async #untilEnded(
    hold: Hold,
    requestId: string,
    decision: Held,
    listen: (listener: (state: HoldState) => void) => void,
  ): Promise<Ending> {
    const { limits, clock } = this.#state.context;
    const inTransaction = this.#state.transaction !== IN_TRANSACTION_IDLE;
    const waitMs = inTransaction ? limits.holdWaitInTransactionMs : limits.holdWaitMs;
    const startedMs = clock.monotonicMs();
    const { promise, resolve } = Promise.withResolvers<Ending>();
    this.#stop = resolve;
    const forWhom = whoMayApprove(decision);
    const tell = () =>
      this.#control.notice({
        requestId,
        message: `Custody holds ${decision.what}: it waits for approval by ${forWhom}`,
        detail: `Request ${hold.holdId}, waited ${Math.round((clock.monotonicMs() - startedMs) / 1000)} s of ${Math.round(waitMs / 1000)} s.`,
        hint: `custody approve ${hold.holdId}`,
      });
    const onChange = (state: HoldState) => {
      const ending = endingOf(state, decision, requestId, hold);
      if (ending !== undefined) resolve(ending);
    };
    listen(onChange);
    onChange(hold.current);
    const already = hold.current.state !== "waiting";
    if (!already) tell();
    const reminder = setInterval(tell, limits.holdReminderMs);
    const deadline = setTimeout(() => {
      const until = new Date(hold.expiresAtMs).toISOString();
      const how = `nobody decided within ${Math.round(waitMs / 1000)} s; an approval of ${hold.holdId} is honoured until ${until}, when the same statement is sent again`;
      resolve({ kind: "refused", error: refusal(decision, requestId, how) });
    }, waitMs);
    try {
      return await promise;
    } finally {
      clearInterval(reminder);
      clearTimeout(deadline);
      this.#stop = undefined;
    }
  }

  /** Everything an approval is for; see DESIGN.md, "An approval is bound". */
  #bindingOf(command: HeldCommand, decision: Held): string {
    const { context, settingsChanged } = this.#state;
    const { plan, portal } = command;
    const { subject } = context.book;
    const bound = createHash("sha256");
    const add = (part: unknown) => {
      const text = JSON.stringify(part);
      bound.update(`${text.length}:${text}`);
    };
    add(textDigest(plan));
    add(portal?.parametersDigest ?? null);
    add(portal?.parameterTypes ?? null);
    add(portal?.bind.parameterFormats ?? null);
    add(portal?.bind.resultFormats ?? null);
    add(plan.operation.effects.map((effect) => [effect.action, effect.resource.id]));
    add(plan.epoch);
    add([leafOf(subject.chain).delegationId, subject.target, subject.account, context.database]);
    add([...context.settings]);
    // What the client has set is counted, not kept: it is the same only while this session sets nothing.
    add(settingsChanged === 0 ? null : [context.sessionId, settingsChanged]);
    add(decision.requirements);
    return bound.digest("base64url");
  }
}

function endingOf(
  state: HoldState,
  decision: Held,
  requestId: string,
  hold: Hold,
): Ending | undefined {
  switch (state.state) {
    case "waiting":
      return undefined;
    case "approved":
      return { kind: "approved", met: state.met, by: state.approvers };
    case "denied": {
      const why = state.reason === undefined ? "" : `: ${state.reason}`;
      const how = `${state.by} denied ${hold.holdId}${why}`;
      return { kind: "refused", error: refusal(decision, requestId, how) };
    }
    case "expired":
      return { kind: "refused", error: refusal(decision, requestId, `${hold.holdId} has expired`) };
  }
}

function refusal(decision: Held, requestId: string, how: string): StatementError {
  const policies = decision.requirements.map((requirement) => requirement.policyId).join(", ");
  return {
    sqlState: "42501",
    message: `Custody denied ${decision.what}: not approved, not executed`,
    detail: `${how}. Policy ${policies}. Request ${requestId}.`,
    hint: `custody explain ${requestId}`,
    position: undefined,
  };
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

function whoMayApprove(decision: Held): string {
  const parts = decision.requirements.map((requirement) => {
    const who =
      requirement.approvers.length === 0 ? "an approver" : requirement.approvers.join(" or ");
    return requirement.quorum > 1 ? `${requirement.quorum} of ${who}` : who;
  });
  return [...new Set(parts)].join(" and ");
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
