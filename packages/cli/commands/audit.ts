// Checking the evidence. Needs a copy of the log and its key, and no gateway.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { LogReport } from "@custody/evidence/node/verify.ts";
import { verifyLog } from "@custody/evidence/node/verify.ts";
import type { Command } from "commander";

import { CliError, EXIT_CODES } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, harmless, type Io } from "../output.ts";
import { addProofCommands } from "./proofs.ts";
import { addReconcileCommand } from "./reconcile.ts";

interface VerifyCommandOptions {
  readonly key?: string[];
  readonly keyFile?: string;
  readonly witness?: string[];
  readonly quorum?: string;
}

export function addAuditCommands(program: Command, io: Io): void {
  program.commandsGroup("Proving:");
  const audit = program.command("audit").description("check the evidence, offline");
  audit
    .command("verify")
    .description("check a copy of the log: every hash, the signatures, the rules between records")
    .argument("<directory>", "the log, or a copy of it: the folder with `checkpoint` in it")
    .option("--key <vkey...>", "the key that must have signed it; all of several must have")
    .option("--key-file <file>", "the same from a file, one key a line")
    .option("--witness <vkey...>", "keys of witnesses that must have cosigned a head of it")
    .option("--quorum <count>", "how many of them; default: all")
    .addHelpText(
      "after",
      `
Take the key from somewhere else than the log: who can change both can make both fit. Without a key
the one beside the log (../keys/log.vkey) is used, which shows that the log is whole, not whose it is.

Examples:
  custody audit verify ./log-copy --key 'custody.example.com/log+1a2b3c4d+Ac…'
  custody audit verify ./data/log --json

The exit code is ${EXIT_CODES.unverified} when anything does not fit, and each record that does not is named.`,
    )
    .action(async (directory: string, options: VerifyCommandOptions, command: Command) =>
      verify(invocationOf(command, io), directory, options),
    );
  addReconcileCommand(audit, io);
  addProofCommands(audit, io);
}

async function verify(
  invocation: Invocation,
  directory: string,
  options: VerifyCommandOptions,
): Promise<void> {
  const given = [
    ...(options.key ?? []),
    ...(options.keyFile === undefined ? [] : readKeys(options.keyFile)),
  ];
  const beside = join(directory, "..", "keys", "log.vkey");
  if (given.length === 0 && !existsSync(beside))
    throw new CliError("usage", "with which key?", {
      hint: "--key or --key-file: the gateway prints it at start, and custody init names its file",
    });
  const keys = given.length > 0 ? given : readKeys(beside);
  const witnesses = options.witness ?? [];
  const quorum = options.quorum === undefined ? witnesses.length : Number(options.quorum);
  if (!Number.isInteger(quorum) || quorum < 0 || quorum > witnesses.length)
    throw new CliError("usage", "--quorum is a number, at most that of the --witness keys");
  const report = await verifyLog(directory, { keys, witnesses, quorum }).catch((error: unknown) => {
    const said = error instanceof Error ? error.message : String(error);
    throw new CliError("usage", `the key cannot be used: ${said}`, { cause: error });
  });
  invocation.print(report, () => reportText(invocation, report, given.length === 0));
  // The report has been printed: nothing more is to be said, only the exit code.
  if (!report.ok) invocation.exit("unverified");
}

function reportText(invocation: Invocation, report: LogReport, ownKey: boolean): string {
  const { io, palette } = invocation;
  const verdict = report.ok
    ? palette.green("verified: nothing was altered, left out or put in between")
    : palette.red("NOT verified");
  const problems = report.problems
    .map((problem) => `  ${palette.red("✗")} ${harmless(problem.message)}\n`)
    .join("");
  const further =
    report.furtherProblems > 0 ? `  … and ${report.furtherProblems} further problems\n` : "";
  const about = facts(io, [
    ["log", report.origin],
    ["records", String(report.size)],
    ["root", report.root],
    ["cosigned", cosignedText(report)],
    ["open", openText(report)],
    ["key", ownKey ? "from beside the log: shows that it is whole, not whose it is" : undefined],
  ]);
  return `${verdict}\n${problems}${further}${about}`;
}

function cosignedText({ cosigned }: LogReport): string | undefined {
  if (cosigned === undefined) return undefined;
  const names = cosigned.witnesses.map(({ name, seconds }) => {
    return `${name} at ${new Date(seconds * 1000).toISOString()}`;
  });
  return `the first ${cosigned.size} records, by ${names.join("; ")}`;
}

function openText(report: LogReport): string | undefined {
  const { sessions, intents } = report.open;
  if (sessions.length + intents.length === 0) return undefined;
  return `${sessions.length} sessions and ${intents.length} commands without an end yet`;
}

export function readKeys(file: string): string[] {
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "");
  } catch (error) {
    throw new CliError("usage", `${file} cannot be read`, { cause: error });
  }
}
