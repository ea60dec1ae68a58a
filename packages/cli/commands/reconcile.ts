// Our log held against a target's own: what happened there without us.

import {
  type Finding,
  type ReconcileReport,
  reconcile,
  type TargetLogKind,
} from "@custody/evidence/node/reconcile.ts";
import type { Command } from "commander";

import { CliError, EXIT_CODES } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, type Io, oneLine } from "../output.ts";

interface ReconcileOptions {
  readonly log: string;
  readonly target: string;
  readonly postgres?: string;
  readonly kubernetes?: string;
  readonly sshd?: string;
  readonly own?: string[];
}

export function addReconcileCommand(audit: Command, io: Io): void {
  audit
    .command("reconcile")
    .description("hold the log against a target's own log: what happened there without Custody")
    .requiredOption("--log <directory>", "our log, or a copy of it")
    .requiredOption("--target <target>", "the target's name")
    .option("--postgres <file>", "PostgreSQL's log: jsonlog or csvlog, pgaudit's lines too")
    .option("--kubernetes <file>", "the API server's audit log, JSON lines")
    .option("--sshd <file>", "sshd's log, level VERBOSE or INFO")
    .option("--own <login...>", "the gateway's own logins there, which are counted apart")
    .addHelpText(
      "after",
      `
PostgreSQL needs log_connections, and log_statement = all or pgaudit to see more than who came. The times of
both logs should be the same: what lies outside of ours was done "without Custody" too.

Example:
  custody audit reconcile --log ./log-copy --target orders --postgres postgresql.json --own custody_admin

The exit code is ${EXIT_CODES.unverified} when something happened that the log does not have.`,
    )
    .action((options: ReconcileOptions, command: Command) =>
      compare(invocationOf(command, io), options),
    );
}

async function compare(invocation: Invocation, options: ReconcileOptions): Promise<void> {
  const { kind, file } = targetLog(options);
  const { log, target, own = [] } = options;
  const report = await reconcile({ log, target, kind, file, own }).catch((cause: unknown) => {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new CliError("usage", said, { cause });
  });
  invocation.print(report, () => reportText(invocation, report));
  if (!report.ok) invocation.exit("unverified");
}

function targetLog(options: ReconcileOptions): { kind: TargetLogKind; file: string } {
  const kinds: readonly TargetLogKind[] = ["postgres", "kubernetes", "sshd"];
  const given = kinds.flatMap((kind) => {
    const file = options[kind];
    return file === undefined ? [] : [{ kind, file }];
  });
  const [only, ...others] = given;
  if (only === undefined || others.length > 0)
    throw new CliError("usage", "exactly one of --postgres, --kubernetes and --sshd");
  return only;
}

function reportText({ io, palette }: Invocation, report: ReconcileReport): string {
  const verdict = report.ok
    ? palette.green("nothing happened that the log does not have")
    : palette.red("the target's log has what ours has not");
  const list = (title: string, findings: readonly Finding[]): string =>
    findings.length === 0
      ? ""
      : `${title}\n${findings
          .map(
            ({ line, at, who, what }) =>
              `  ${palette.dim(`line ${line}`)}  ${oneLine(at)}  ${oneLine(who)}  ${oneLine(what)}\n`,
          )
          .join("")}`;
  const quiet = report.notAtTarget.slice(0, 20).join(", ");
  const about = facts(io, [
    ["matched", String(report.matched)],
    ["gateway's own", String(report.own)],
    ["no deed", String(report.passed)],
    ["unreadable", report.unreadable === 0 ? undefined : `${report.unreadable} lines`],
    ["further", report.further === 0 ? undefined : `${report.further} findings`],
    ["not at target", quiet === "" ? undefined : quiet],
  ]);
  return `${verdict}\n${list("without Custody:", report.withoutUs)}${list("in its name, not in the log:", report.notInLog)}${about}`;
}
