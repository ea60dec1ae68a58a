// A command that waits for people, whatever protocol it came by. The client is told that it waits and
// for whom, and told again from time to time; a cancel ends the wait. When it has waited long enough it
// is refused, "not executed", and an approval that comes later is honoured when the same operation is
// asked for again. On release everything is decided anew and must be the same (I4, I8).
//
// Who owns the state: one a session, which waits for one command at a time; the request itself lives on
// the control side.

import { createHash } from "node:crypto";
import type { Decision, Operation, Permit } from "../access/operation.ts";
import type { PreviewPart } from "../approval/request.ts";
import type { Clock } from "../base/clock.ts";
import { leafOf } from "../delegation/chain.ts";
import type { Control, Hold, HoldState } from "./control.ts";
import type { SessionBook } from "./session-book.ts";

export type HeldDecision = Extract<Decision, { verdict: "hold" }>;

export interface WaitingCommand {
  readonly requestId: string;
  readonly operation: Operation;
  /** The command as people read it, for the approver only. */
  readonly text: string;
  /** For the approver only; a classified one never. */
  readonly parameters: readonly (string | null)[];
  /** What the approver is shown beforehand. */
  readonly preview?: readonly PreviewPart[] | undefined;
  /**
   * The protocol's part of what an approval is bound to: the exact bytes, resolved objects, settings.
   * Read when it begins to wait and again when it is released.
   */
  readonly bound: () => readonly unknown[];
}

/** In the protocol's own form: a NOTICE, a line on stderr, a Status. */
export interface HoldNotice {
  readonly requestId: string;
  readonly message: string;
  readonly detail: string;
  readonly hint: string;
}

export type HoldEnd =
  | { readonly kind: "released"; readonly permit: Permit; readonly approvedBy: readonly string[] }
  /** `how`: what came between, a sentence without its full stop. `isLate`: nothing but time. */
  | { readonly kind: "refused"; readonly how: string; readonly isLate?: true }
  /** Approved, but no longer the same operation. */
  | { readonly kind: "changed" }
  | { readonly kind: "cancelled" };

/** What the wait itself ended with; `release` makes a HoldEnd of it when the command's turn comes. */
export type WaitEnd =
  | {
      readonly kind: "approved";
      readonly met: readonly string[];
      readonly by: readonly string[];
      readonly binding: string;
    }
  | { readonly kind: "refused"; readonly how: string; readonly isLate?: true }
  | { readonly kind: "cancelled" };

export interface HoldWaitDeps {
  readonly control: Pick<Control, "requestApproval" | "leaveHold" | "spendApproval">;
  readonly book: SessionBook;
  readonly clock: Clock;
  readonly reminderMs: number;
}

type Stop = (end: Settled) => void;
type Settled =
  | { readonly kind: "approved"; readonly met: readonly string[]; readonly by: readonly string[] }
  | { readonly kind: "refused"; readonly how: string; readonly isLate?: true }
  | { readonly kind: "cancelled" };

export class HoldWait {
  readonly #deps: HoldWaitDeps;
  #stop: Stop | undefined;

  constructor(deps: HoldWaitDeps) {
    this.#deps = deps;
  }

  /**
   * Until people decided, it was cancelled, or `waitMs` are over. An approval is spent before this
   * returns. Throws GatewayError of the control side: limit, dependency_unavailable.
   */
  async wait(
    command: WaitingCommand,
    decision: HeldDecision,
    waitMs: number,
    tell: (notice: HoldNotice) => void,
  ): Promise<WaitEnd> {
    const { control, book } = this.#deps;
    const { requestId } = command;
    const { sessionId, target, account, justification } = book.subject;
    const binding = bindingOf(book, command, decision);
    let changed: (state: HoldState) => void = () => undefined;
    const hold = await control.requestApproval(
      {
        ...{ requestId, sessionId, target, account, justification, binding },
        what: decision.what,
        command: command.text,
        parameters: command.parameters,
        ...(command.preview === undefined ? {} : { preview: command.preview }),
        requirements: decision.requirements,
      },
      (state) => changed(state),
    );
    book.held(requestId, decision.what, decision.requirements);
    const settled = await this.#untilSettled(hold, waitMs, noticeOf(command, decision), {
      tell,
      listen: (listener) => {
        changed = listener;
      },
    });
    control.leaveHold(hold.holdId, sessionId);
    if (settled.kind !== "approved") return settled;
    if (await control.spendApproval(hold.holdId, binding)) return { ...settled, binding };
    return { kind: "refused", how: "the approval was already used or has expired" };
  }

  /** Decides the command that waited anew: only what was approved, exactly, gets a permit. */
  release(command: WaitingCommand, ended: WaitEnd): HoldEnd {
    if (ended.kind !== "approved") return ended;
    const { book } = this.#deps;
    const now = book.decide(command.operation);
    if (now.verdict !== "hold" || bindingOf(book, command, now) !== ended.binding)
      return { kind: "changed" };
    const decision = book.decideApproved(command.operation, ended.met);
    if (decision.verdict !== "permit") return { kind: "changed" };
    return { kind: "released", permit: decision.permit, approvedBy: ended.by };
  }

  /** True when something waited; it ends as cancelled. */
  cancel(): boolean {
    if (this.#stop === undefined) return false;
    this.#stop({ kind: "cancelled" });
    return true;
  }

  async #untilSettled(
    hold: Hold,
    waitMs: number,
    notice: (hold: Hold, waitedMs: number, waitMs: number) => HoldNotice,
    client: {
      readonly tell: (notice: HoldNotice) => void;
      readonly listen: (listener: (state: HoldState) => void) => void;
    },
  ): Promise<Settled> {
    const { clock, reminderMs } = this.#deps;
    const startedMs = clock.monotonicMs();
    const { promise, resolve } = Promise.withResolvers<Settled>();
    this.#stop = resolve;
    const tell = () => client.tell(notice(hold, clock.monotonicMs() - startedMs, waitMs));
    const onChange = (state: HoldState) => {
      const settled = settledBy(state, hold);
      if (settled !== undefined) resolve(settled);
    };
    client.listen(onChange);
    onChange(hold.current);
    if (hold.current.state === "waiting") tell();
    const reminder = setInterval(tell, reminderMs);
    const deadline = setTimeout(() => {
      const until = new Date(hold.expiresAtMs).toISOString();
      const how = `nobody decided within ${seconds(waitMs)} s; an approval of ${hold.holdId} is honoured until ${until}, when the same is asked again`;
      resolve({ kind: "refused", how, isLate: true });
    }, waitMs);
    try {
      return await promise;
    } finally {
      clearInterval(reminder);
      clearTimeout(deadline);
      this.#stop = undefined;
    }
  }
}

/** Policies whose approval ended the wait; undefined: none did. */
export function metBy(ended: WaitEnd): readonly string[] | undefined {
  return ended.kind === "approved" ? ended.met : undefined;
}

/** `corp/dba`, `2 of corp/dba and an approver`: for messages. */
export function whoMayApprove(decision: HeldDecision): string {
  const parts = decision.requirements.map(({ approvers, quorum }) => {
    const who = approvers.length === 0 ? "an approver" : approvers.join(" or ");
    return quorum > 1 ? `${quorum} of ${who}` : who;
  });
  return [...new Set(parts)].join(" and ");
}

/** Everything an approval is for; see DESIGN.md, "An approval is bound". */
function bindingOf(book: SessionBook, command: WaitingCommand, decision: HeldDecision): string {
  const { operation } = command;
  const { chain, target, account } = book.subject;
  const bound = createHash("sha256");
  const add = (part: unknown) => {
    const text = JSON.stringify(part);
    bound.update(`${text.length}:${text}`);
  };
  add(operation.protocol);
  add(operation.effects.map((effect) => [effect.action, effect.resource.id]));
  add([leafOf(chain).delegationId, target, account]);
  for (const part of command.bound()) add(part);
  add(decision.requirements);
  return bound.digest("base64url");
}

function noticeOf({ requestId }: WaitingCommand, decision: HeldDecision) {
  const message = `Custody holds ${decision.what}: it waits for approval by ${whoMayApprove(decision)}`;
  return ({ holdId }: Hold, waitedMs: number, waitMs: number): HoldNotice => ({
    requestId,
    message,
    detail: `Request ${holdId}, waited ${seconds(waitedMs)} s of ${seconds(waitMs)} s.`,
    hint: `custody approve ${holdId}`,
  });
}

function settledBy(state: HoldState, { holdId }: Hold): Settled | undefined {
  switch (state.state) {
    case "waiting":
      return undefined;
    case "approved":
      return { kind: "approved", met: state.met, by: state.approvers };
    case "denied": {
      const why = state.reason === undefined ? "" : `: ${state.reason}`;
      return { kind: "refused", how: `${state.by} denied ${holdId}${why}` };
    }
    case "expired":
      return { kind: "refused", how: `${holdId} has expired` };
  }
}

function seconds(ms: number): number {
  return Math.round(ms / 1000);
}
