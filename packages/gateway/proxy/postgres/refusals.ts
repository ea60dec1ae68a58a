// Why a message is refused though no policy denies what it does: the errors its client gets instead.

import type { Denial, Permit } from "../../access/operation.ts";
import type { StatementError } from "./faults.ts";
import type { QueryPlan, Unclassified } from "./plan.ts";
import type { RelayContext } from "./relay-state.ts";

/** A comparison with a value nobody may see that is one too many; undefined: there may be more of them. */
export function refusedGuess(
  { guesses, limits }: Pick<RelayContext, "guesses" | "limits">,
  { operation }: QueryPlan,
  { obligations }: Permit,
): StatementError | undefined {
  if (operation.touches.length === 0) return undefined;
  const classes = operation.touches
    .filter((touch) => touch.use === "match" && !obligations.unmask.has(touch.class))
    .map((touch) => touch.class);
  if (classes.length === 0 || guesses.spend([...new Set(classes)])) return undefined;
  return {
    sqlState: "53400",
    message: `Custody denied it: there were ${limits.matchesPerHour} comparisons with ${classes[0]} within an hour`,
    detail: "Whoever may guess without end knows the value. Comparisons come back over time.",
    hint: undefined,
    position: undefined,
  };
}

/** Its statement says nothing of it, so it could not be judged. */
export const PARAMETER_RUNS_CODE: StatementError = {
  sqlState: "0A000",
  message: "a parameter of this type is not supported through the gateway",
  detail: "Making a value of it runs a function somebody wrote.",
  hint: "leave its type open, and write the cast in the statement",
  position: undefined,
};

export function madeBySql(made: string, run: string): StatementError {
  return {
    sqlState: "0A000",
    message: `what ${made} made is run with ${run}, not by message`,
    detail: undefined,
    hint: undefined,
    position: undefined,
  };
}

/** As PostgreSQL itself says it, to the letter: a typo looks as it would without us. */
export function unclassified(plan: Unclassified): StatementError {
  return {
    sqlState: plan.sqlState,
    message: plan.message,
    detail: undefined,
    hint: undefined,
    position: plan.position,
  };
}

export function asDenial(error: StatementError): Denial {
  return {
    kind: "unknown",
    what: "a statement that could not be classified",
    policyId: undefined,
    message: error.message,
    hop: undefined,
    hopLabel: undefined,
  };
}
