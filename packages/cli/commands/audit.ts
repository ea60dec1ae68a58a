// Checking the evidence. Needs a copy of the log and its key, and no gateway.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { shardNext, shardOrigin, splitOrigin } from "@custody/evidence/core/log-shard.ts";
import { formatKey, parseKey } from "@custody/evidence/core/note.ts";
import { readShards } from "@custody/evidence/node/log-shards.ts";
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
  readonly retired?: string[];
  readonly from?: string;
  readonly witness?: string[];
  readonly quorum?: string;
  readonly cosignedSince?: string;
}

export function addAuditCommands(program: Command, io: Io): void {
  program.commandsGroup("Proving:");
  const audit = program.command("audit").description("check the evidence, offline");
  audit
    .command("verify")
    .description("check a copy of the log: every hash, the signatures, the rules between records")
    .argument(
      "<directory>",
      "the log, or a copy of it: the folder with `checkpoint`, or its shards, in it; or one of them",
    )
    .option("--key <vkey...>", "the key that must have signed it; all of several must have")
    .option("--key-file <file>", "the same from a file, one key a line")
    .option("--retired <vkey...>", "keys of before a rotation, for the shards they signed")
    .option("--from <shard>", "the first shard to look at; those before it are kept elsewhere")
    .option("--witness <vkey...>", "keys of witnesses that must have cosigned a head of it")
    .option("--quorum <count>", "how many of them; default: all")
    .option(
      "--cosigned-since <time>",
      "the head they cosigned must not be older, such as 2027-01-31T12:00:00Z",
    )
    .addHelpText(
      "after",
      `
Take the key from somewhere else than the log: who can change both can make both fit. Without a key
the one beside the log (../keys/log.vkey) is used, which shows that the log is whole, not whose it is.
A log in shards is checked across them, with the log's key or that of any of its shards.

Examples:
  custody audit verify ./log-copy --key 'custody.example.com/log+1a2b3c4d+Ac…'
  custody audit verify ./data/log --json

The exit code is ${EXIT_CODES.unverified} when anything does not fit, and each record that does not is named.`,
    )
    .action(async (directory: string, options: VerifyCommandOptions, command: Command) =>
      verify(invocationOf(command, io), directory, options),
    );
  audit
    .command("shards")
    .description("the shards of a log, and the keys that each is signed with")
    .argument("<directory>", "the log, or a copy of it; nothing in it is checked")
    .option("--key <vkey>", "of the log or one of its shards; default: the one beside the log")
    .addHelpText(
      "after",
      "\nA witness has to know a shard before its heads are cosigned: `next` is what to tell it; one of ours\n" +
        "takes `all` in its list and knows every shard of this log.",
    )
    .action((directory: string, options: { key?: string }, command: Command) =>
      listShards(invocationOf(command, io), directory, options.key),
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
  const beside = given.length > 0 ? undefined : keysBeside(directory);
  const keys = beside === undefined ? given : readKeys(join(beside, "log.vkey"));
  const retired = options.retired ?? retiredIn(beside);
  const witnesses = options.witness ?? [];
  const quorum = options.quorum === undefined ? witnesses.length : Number(options.quorum);
  if (!Number.isInteger(quorum) || quorum < 0 || quorum > witnesses.length)
    throw new CliError("usage", "--quorum is a number, at most that of the --witness keys");
  const { from } = options;
  const asked = {
    ...{ keys, retired, witnesses, quorum, cosignedSince: sinceOf(options, quorum) },
    ...(from === undefined ? {} : { from }),
  };
  const report = await verifyLog(directory, asked).catch((error: unknown) => {
    const said = error instanceof Error ? error.message : String(error);
    throw new CliError("usage", `the key cannot be used: ${said}`, { cause: error });
  });
  invocation.print(report, () => reportText(invocation, report, given.length === 0));
  // The report has been printed: nothing more is to be said, only the exit code.
  if (!report.ok) invocation.exit("unverified");
}

/** In seconds since the Unix epoch. */
function sinceOf({ cosignedSince }: VerifyCommandOptions, quorum: number): number {
  if (cosignedSince === undefined) return 0;
  const ms = Date.parse(cosignedSince);
  if (Number.isNaN(ms)) throw new CliError("usage", "--cosigned-since is a time, in ISO 8601");
  if (quorum === 0) throw new CliError("usage", "--cosigned-since needs --witness");
  return ms / 1000;
}

/** The folder of the gateway's keys, where this is its log or one of its shards. */
function keysBeside(directory: string): string {
  const found = [
    ["..", "keys"],
    ["..", "..", "keys"],
  ]
    .map((path) => join(directory, ...path))
    .find((folder) => existsSync(join(folder, "log.vkey")));
  if (found !== undefined) return found;
  throw new CliError("usage", "with which key?", {
    hint: "--key or --key-file: the gateway prints it at start, and custody init names its file",
  });
}

function retiredIn(folder: string | undefined): string[] {
  const file = join(folder ?? "", "log.retired.vkeys");
  return folder !== undefined && existsSync(file) ? readKeys(file) : [];
}

function listShards(invocation: Invocation, directory: string, given: string | undefined): void {
  const text = given ?? readKeys(join(keysBeside(directory), "log.vkey"))[0] ?? "";
  const shards = usage(() => readShards(directory));
  const key = usage(() => parseKey(text));
  const { base } = splitOrigin(shards.at(-1)?.checkpoint.origin ?? key.name);
  const named = (name: string): string => formatKey(name, key.type, key.publicKey);
  const newest = shards.at(-1)?.name ?? "";
  const list = shards.map(({ name, before, checkpoint: { origin, size } }) => ({
    ...{ name, origin, records: size, before, closed: name !== newest },
    vkey: named(origin),
  }));
  const next = newest === "" ? undefined : named(shardOrigin(base, shardNext(newest)));
  const all = named(shardOrigin(base, "*"));
  invocation.print({ shards: list, next, all }, () => {
    const rows = list.map(({ name, records, before, closed, vkey }) => {
      const range = `${before} to ${before + records - 1}`;
      return facts(invocation.io, [
        ["shard", name === "" ? "none: the log itself" : name],
        ["records", `${records} (${range})${closed ? ", closed" : ""}`],
        ["key", vkey],
      ]);
    });
    return `${rows.join("\n")}\n${facts(invocation.io, [
      ["next", next],
      ["all", all],
    ])}`;
  });
}

function usage<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new CliError("usage", cause instanceof Error ? cause.message : String(cause), { cause });
  }
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
    ["shards", shardsText(report)],
    ["cosigned", cosignedText(report)],
    ["open", openText(report)],
    ["key", ownKey ? "from beside the log: shows that it is whole, not whose it is" : undefined],
  ]);
  return `${verdict}\n${problems}${further}${about}`;
}

function shardsText({ shards, beyond }: LogReport): string | undefined {
  if (shards.every(({ name }) => name === "")) return undefined;
  const looked = shards.map(({ name, size }) => `${name === "" ? "unsharded" : name}: ${size}`);
  const { before, after } = beyond;
  if (before !== undefined)
    looked.unshift(`not looked at: ${before.records} records to the end of ${before.origin}`);
  if (after !== undefined) looked.push(`not looked at: ${after} and what follows`);
  return looked.join("; ");
}

function cosignedText({ cosigned, size }: LogReport): string | undefined {
  if (cosigned === undefined) return undefined;
  const names = cosigned.witnesses.map(({ name, seconds }) => {
    return `${name} at ${new Date(seconds * 1000).toISOString()}`;
  });
  const after = size - cosigned.size;
  const rest = after === 0 ? "" : `; the ${after} after them are the log's word alone`;
  return `the first ${cosigned.size} records, by ${names.join("; ")}${rest}`;
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
