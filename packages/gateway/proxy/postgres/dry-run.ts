// What would be decided about a text, without a session and without running it: the classifier and the
// engine that sessions use, asked by the control side for a chain of its own.

import type { Access, Decision, Operation, Subject } from "../../access/operation.ts";
import type { PostgresTarget } from "../../target/target.ts";
import type { Classifier, SessionNames } from "./plan.ts";

export interface DryRunDeps {
  readonly access: Access;
  readonly classifierFor: (
    target: PostgresTarget,
    database: string,
  ) => Promise<{ readonly classifier: Classifier }>;
}

export interface DryRun {
  readonly decision: Decision;
  /** undefined: the text was not understood. */
  readonly operation: Operation | undefined;
}

export type AskDryRun = (
  subject: Subject,
  target: PostgresTarget,
  database: string,
  sql: string,
) => Promise<DryRun>;

/** What a session made names of is not known here: EXECUTE and FETCH are refused. */
const NO_NAMES: SessionNames = { prepared: () => undefined, cursor: () => undefined };

/** Throws GatewayError target_unavailable when the catalogue cannot be read. */
export function createDryRun({ access, classifierFor }: DryRunDeps): AskDryRun {
  return async (subject, target, database, sql) => {
    const { classifier } = await classifierFor(target, database);
    await classifier.prepare?.(sql);
    const plan = classifier.classify(sql, NO_NAMES);
    if ("unclassified" in plan) {
      const denial = {
        kind: "unknown",
        what: "a statement that could not be classified",
        policyId: undefined,
        message: plan.message,
        hop: undefined,
        hopLabel: undefined,
      } as const;
      const decision = { verdict: "deny", denial, policyVersion: access.policyVersion } as const;
      return { decision, operation: undefined };
    }
    const decision = access.authorize(subject, plan.operation);
    access.forget(subject.sessionId);
    return { decision, operation: plan.operation };
  };
}
