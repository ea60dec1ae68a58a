// What a policy's conditions read of the context, from Cedar's JSON form of the policy: whether it
// asks for approval, and how long an answer of it stays true. The context may only be read member by
// member; then this is exact, not a guess.

import type { PolicyJson } from "@cedar-policy/cedar-wasm/nodejs";

/** Until when an evaluation can be used again: for good, to the end of the hour, of the minute. */
export type ClockReading = "none" | "hour" | "minute";

export interface ConditionFacts {
  /** A `forbid … unless { context.approved }`, and nothing else reads `approved`. */
  readonly asksApproval: boolean;
  readonly clock: ClockReading;
  /** The members of the context it reads besides `approved`, and no other. */
  readonly members: ReadonlySet<string>;
  /** What makes the policy unusable, for people. */
  readonly problem: string | undefined;
}

/** Members of `context.time` that stay the same for an hour. */
const HOURLY = new Set(["hour", "weekday"]);

export function readConditions(policy: PolicyJson): ConditionFacts {
  const reads: (readonly string[])[] = [];
  let approvedClauses = 0;
  for (const clause of policy.conditions) {
    if (clause.kind === "unless" && isApproved(clause.body)) approvedClauses += 1;
    else collectReads(clause.body, (path) => reads.push(path));
  }
  const readsApproved = reads.some((path) => path[0] === "approved");
  let problem: string | undefined;
  if (reads.some((path) => path.length === 0)) {
    problem = "context may only be read member by member, as context.<name>";
  } else if (policy.effect === "permit" && (readsApproved || approvedClauses > 0)) {
    problem =
      "a permit may not read context.approved; ask for approval with a forbid (…) unless { context.approved };";
  } else if (readsApproved || approvedClauses > 1) {
    problem = "context.approved may only be read as: forbid (…) unless { context.approved };";
  }
  const members = new Set(reads.flatMap((path) => path.slice(0, 1)));
  return { asksApproval: approvedClauses === 1, clock: clockOf(reads), members, problem };
}

function clockOf(reads: readonly (readonly string[])[]): ClockReading {
  const times = reads.filter((path) => path[0] === "time");
  if (times.length === 0) return "none";
  return times.every((path) => HOURLY.has(path[1] ?? "")) ? "hour" : "minute";
}

function isApproved(body: unknown): boolean {
  const path = contextPath(body);
  return path?.length === 1 && path[0] === "approved";
}

/** Calls `onRead` with the members of each reading of the context; empty: the context itself. */
function collectReads(expression: unknown, onRead: (path: readonly string[]) => void): void {
  if (Array.isArray(expression)) {
    for (const item of expression) collectReads(item, onRead);
    return;
  }
  if (!isRecord(expression)) return;
  const path = contextPath(expression);
  if (path !== undefined) {
    onRead(path);
    return;
  }
  for (const [operator, operand] of Object.entries(expression)) {
    if (operator === "Value") continue;
    if (operator === "has" && isRecord(operand)) {
      const left = contextPath(operand.left);
      if (left !== undefined) onRead([...left, ...[operand.attr].flat().map(String)]);
      else collectReads(operand.left, onRead);
    } else if (operator === "Record" && isRecord(operand)) {
      collectReads(Object.values(operand), onRead);
    } else {
      collectReads(operand, onRead);
    }
  }
}

/** `context.a.b` → ["a", "b"]; undefined for anything else. */
function contextPath(expression: unknown): readonly string[] | undefined {
  if (!isRecord(expression)) return undefined;
  if (expression.Var === "context") return [];
  const access = expression["."];
  if (!isRecord(access) || typeof access.attr !== "string") return undefined;
  const left = contextPath(access.left);
  return left === undefined ? undefined : [...left, access.attr];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
