// Whether something may be asked on a replication connection: a command of its own protocol, or a statement. What
// a subscriber of another PostgreSQL asks before it streams is SQL: which tables the publication has, their
// columns and filters, and a COPY of the rows there are, in the transaction that has the slot's snapshot. It is
// judged by the classifier and the policies of every session, as the reads it is, and nothing but reads is taken.
// No mask holds here: what reads a class is refused unless the chain may see it.

import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import type { Denial, Operation, Permit } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import type { CommandBook } from "./command-book.ts";
import { denialError, type StatementError } from "./faults.ts";
import { maybeStale } from "./judge.ts";
import type { Classifier, QueryPlan, SessionNames, Unclassified } from "./plan.ts";
import { asDenial, unclassified } from "./refusals.ts";
import {
  type Replicated,
  rowsOperation,
  SECURE_PATH,
  startUpOperation,
} from "./replication-command.ts";

/** Before the target is connected to. Throws GatewayError "forbidden" with why. */
export function requireReplication(book: CommandBook, replicated: Replicated): void {
  const operation = startUpOperation(replicated);
  const judged = judgeReplication(book, operation);
  if (!("denial" in judged)) return;
  const requestId = book.nextRequestId();
  const digest = commandDigest(operation.summary);
  book.refuseCommand({ requestId, operation, digest }, judged.denial);
  const { detail, hint, message } = denialError(judged.denial, requestId);
  throw new GatewayError(
    "forbidden",
    `${message}: ${detail ?? ""}`,
    hint === undefined ? {} : { hint },
  );
}

/** Nobody is asked about a stream: consent is for one exact operation, and this one goes on. */
export function judgeReplication(
  book: CommandBook,
  operation: Operation,
): { readonly permit: Permit } | { readonly denial: Denial } {
  const decision = book.decide(operation);
  if (decision.verdict === "deny") return { denial: decision.denial };
  const { summary: what } = operation;
  if (decision.verdict === "hold")
    return { denial: refusal(what, "it needs approval, which is not given to a replication") };
  const { maxBytes, maxRows, timeoutMs } = decision.permit.obligations;
  if (maxBytes !== undefined || maxRows !== undefined || timeoutMs !== undefined)
    return {
      denial: refusal(what, "a policy or grant limits results, and a replication has no end"),
    };
  return { permit: decision.permit };
}

/**
 * True: the server reads it as SQL, for its first word is none of the replication protocol's. Comments before it
 * are not read over: the server's own scanner of such commands takes none.
 */
export function isStatement(text: string, { physical }: Replicated): boolean {
  return (
    !physical &&
    text !== SECURE_PATH &&
    /^[ \t\r\n]*(?:select|copy|begin|commit|rollback)\b/i.test(text)
  );
}

export type JudgedStatement =
  | { readonly plan: QueryPlan; readonly permit: Permit }
  | {
      readonly plan: QueryPlan | undefined;
      readonly denial: Denial;
      readonly error: StatementError;
    };

export interface StatementContext {
  readonly book: CommandBook;
  readonly classifier: Classifier;
  readonly replicated: Replicated;
}

export async function judgeStatement(
  text: string,
  requestId: string,
  { book, classifier, replicated }: StatementContext,
): Promise<JudgedStatement> {
  const plan = await classified(text, classifier);
  if ("unclassified" in plan) {
    const error = unclassified(plan);
    return { plan: undefined, denial: asDenial(error), error };
  }
  const judged = judgeReplication(book, withStatement(plan.operation, replicated));
  const why = "denial" in judged ? undefined : whyNot(plan, judged.permit);
  if (!("denial" in judged) && why === undefined) return { plan, permit: judged.permit };
  const denial = "denial" in judged ? judged.denial : refusal(plan.operation.summary, why ?? "");
  return { plan, denial, error: denialError(denial, requestId) };
}

/** Rows nobody looks through, of a target where values are looked for, are what streams of it are. */
function withStatement(operation: Operation, replicated: Replicated): Operation {
  const readsRows = operation.effects.some(({ resource }) => !resource.implied);
  if (!replicated.detects || !readsRows) return operation;
  const { effects } = rowsOperation(replicated);
  return { ...operation, effects: [...operation.effects, ...effects] };
}

/** The catalogue is looked at again as for any statement: what others changed, and a name it does not know. */
async function classified(text: string, classifier: Classifier): Promise<QueryPlan | Unclassified> {
  if (classifier.due?.() === true) await classifier.verify?.();
  await classifier.prepare?.(text);
  const plan = classifier.classify(text, NO_NAMES);
  if (!("unclassified" in plan) || !maybeStale(plan)) return plan;
  await (classifier.verify?.() ?? classifier.refresh());
  return classifier.classify(text, NO_NAMES);
}

function whyNot({ operation, statements }: QueryPlan, { obligations }: Permit) {
  const [only, second] = statements;
  if (only === undefined || second !== undefined) return "one statement at a time";
  const { changesSettings, kind, renamed } = only;
  const isTaken =
    kind.kind === "query" ||
    (kind.kind === "copy" && kind.direction === "out") ||
    (kind.kind === "transaction" && TRANSACTION_STEPS.has(kind.step));
  const isRead = operation.effects.every(({ action }) => READS.has(action));
  if (!isTaken || !isRead || renamed !== undefined || changesSettings === true)
    return "only reads, and the transaction around them; connect without replication for others";
  const hidden = operation.touches.find((touch) => !obligations.unmask.has(touch.class));
  return hidden && `it reads values of class ${hidden.class}, and no mask holds here`;
}

export function refusal(what: string, message: string): Denial {
  return {
    ...{ kind: "forbidden", what, message },
    ...{ policyId: undefined, hop: undefined, hopLabel: undefined },
  };
}

const READS = new Set(["sql:select", "sql:copy_out"]);
const TRANSACTION_STEPS = new Set(["begin", "commit", "rollback"]);
const NO_NAMES: SessionNames = { prepared: () => undefined, cursor: () => undefined };
