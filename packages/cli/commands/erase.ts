// Erasing what was recorded, for who administers the gateway.

import type { Command } from "commander";

import { CliError } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { harmless, type Io } from "../output.ts";

interface EraseOptions {
  readonly session?: string;
  readonly subject?: string;
  readonly yes?: boolean;
}

export function addEraseCommand(program: Command, io: Io): void {
  program.commandsGroup("Proving:");
  program
    .command("erase")
    .description("erase what was recorded; the log stays whole and says that it was done")
    .option("--session <session>", "of one session that has ended")
    .option("--subject <subject>", "all that one root has done, by its stable subject: corp/248…")
    .option("--yes", "it cannot be undone: say so")
    .addHelpText(
      "after",
      `
The content goes by its key, the gateway's own copies of the recordings included. What remains, and
where else it may be (the targets' logs, backups of keys, exported evidence), is in docs/guides/erasing.md.

Example:
  custody erase --session s-7f3k2m --yes`,
    )
    .action((options: EraseOptions, command: Command) => erase(invocationOf(command, io), options));
}

async function erase(
  invocation: Invocation,
  { session, subject, yes }: EraseOptions,
): Promise<void> {
  if ((session === undefined) === (subject === undefined))
    throw new CliError("usage", "exactly one of --session and --subject");
  if (yes !== true)
    throw new CliError("usage", "this cannot be undone", { hint: "say so with --yes" });
  const body = session === undefined ? { subject: subject ?? "" } : { session };
  const answer = await invocation.withClient((client) => client.call("erase", { body }));
  invocation.print(
    answer,
    () => `erased: ${harmless(session ?? subject ?? "")}, ${answer.sessions} sessions\n`,
  );
}
