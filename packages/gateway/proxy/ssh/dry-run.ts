// What would be decided about a command line, without a session and without running it: the reading and the
// engine that sessions use, asked by the control side for a chain of its own.

import type { Access, Decision, Operation, Subject } from "../../access/operation.ts";
import type { Grammars } from "../../command/load-grammars.ts";
import type { SshTarget } from "../../target/target.ts";
import { readExec } from "./exec.ts";
import { masksOf } from "./judge.ts";

export interface SshDryRunDeps {
  readonly access: Access;
  readonly grammars: Grammars;
}

export interface SshDryRun {
  readonly decision: Decision;
  /** undefined: the line cannot be read. */
  readonly operation: Operation | undefined;
}

export function askSshDryRun(
  { access, grammars }: SshDryRunDeps,
  subject: Subject,
  target: SshTarget,
  line: string,
): SshDryRun {
  const deny = (denial: Extract<Decision, { verdict: "deny" }>["denial"]) =>
    ({ verdict: "deny", denial, policyVersion: access.policyVersion }) as const;
  const judge = {
    mayBe: (operation: Operation) => access.authorize(subject, operation).verdict !== "deny",
  };
  const { account, target: name } = subject;
  const context = {
    ...{ grammars, judge, site: { target: name, account } },
    shell: target.accounts.find((one) => one.name === account)?.shell,
  };
  const { operation } = readExec(context, Buffer.from(line, "utf8"));
  if (!("effects" in operation)) return { decision: deny(operation), operation: undefined };
  const decision = access.authorize(subject, operation);
  access.forget(subject.sessionId);
  if (decision.verdict !== "permit") return { decision, operation };
  const masks = masksOf(decision.permit, operation, target.detect ?? []);
  return { decision: "kind" in masks ? deny(masks) : decision, operation };
}
