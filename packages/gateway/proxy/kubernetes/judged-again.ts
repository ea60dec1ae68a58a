// What runs for long (a watch, followed logs, a command, a forwarded port) is judged again while it runs: as
// policies are reloaded, as a group is taken away, as the clock passes what a policy reads. It goes on under
// exactly the terms it began under, or ends.

import type { Obligations, Operation, Permit } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import type { SessionBook } from "../../session/session-book.ts";

export interface Running {
  readonly operation: Operation;
  readonly permit: Permit;
  /** Policies whose approval it was released by; undefined: it needed none. */
  readonly met: readonly string[] | undefined;
}

/** undefined: it may go on. A decision that was asked for before is a look-up. */
export function judgeAgain(
  book: Pick<SessionBook, "decide" | "decideApproved">,
  { operation, permit, met }: Running,
): GatewayError | undefined {
  const decision = met === undefined ? book.decide(operation) : book.decideApproved(operation, met);
  if (decision.verdict === "permit")
    return isSame(decision.permit.obligations, permit.obligations)
      ? undefined
      : ended(`${operation.summary} is permitted on other terms now`);
  if (decision.verdict === "hold") return ended(`${operation.summary} needs an approval now`);
  const { message, policyId } = decision.denial;
  const policy = policyId === undefined ? "" : ` (policy ${policyId})`;
  return ended(`${operation.summary} is no longer permitted: ${message}${policy}`);
}

function ended(message: string): GatewayError {
  return new GatewayError("forbidden", message, { hint: "ask again" });
}

function isSame(one: Obligations, other: Obligations): boolean {
  return one === other || plain(one) === plain(other);
}

function plain({ unmask, ...others }: Obligations): string {
  const named = Object.entries(others).filter(([, value]) => value !== undefined);
  return JSON.stringify([[...unmask].sort(), named.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
