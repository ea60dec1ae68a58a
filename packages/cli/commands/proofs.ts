// Proofs of single records: made from a copy of the log, checked without it.

import { readFileSync } from "node:fs";
import { decodeLeaf, type Leaf } from "@custody/evidence/core/leaf.ts";
import { type NoteKey, parseKey } from "@custody/evidence/core/note.ts";
import {
  formatTlogProof,
  type ProvedRecord,
  parseTlogProof,
  verifyTlogProof,
} from "@custody/evidence/core/tlog-proof.ts";
import { type LogRecord, logRecords, proveRecord } from "@custody/evidence/node/prove.ts";
import type { Command } from "commander";

import { CliError, EXIT_CODES } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, type Io, oneLine } from "../output.ts";

interface CheckOptions {
  readonly key: string[];
  readonly witness?: string[];
  readonly quorum?: string;
}

/** Which record of a command is meant when only its id is given. */
const OF_A_COMMAND = ["command.intent", "command.denied", "session.opened"];

export function addProofCommands(audit: Command, io: Io): void {
  audit
    .command("prove")
    .description("a proof that one record is in the log, as one text (C2SP tlog-proof)")
    .argument("<record>", "r-…, s-…, or its number in the log: 17, in a log in shards 2027/17")
    .requiredOption("--log <directory>", "the log, or a copy of it")
    .option("--event <event>", "which of its records: command.outcome")
    .addHelpText(
      "after",
      "\nThe record itself is in the text: who it names is for its reader to know.\n\n" +
        "Example:\n  custody audit prove r-7f3k-2 --log ./data/log > r-7f3k-2.tlog-proof",
    )
    .action((record: string, options: { log: string; event?: string }, command: Command) =>
      prove(invocationOf(command, io), record, options),
    );
  audit
    .command("check-proof")
    .description("check such a proof, without the log")
    .argument("<file>", "the proof")
    .requiredOption("--key <vkey...>", "keys of the log; one of them must have signed")
    .option("--witness <vkey...>", "keys of witnesses")
    .option("--quorum <count>", "how many of them must have cosigned; default: all")
    .addHelpText("after", `\nThe exit code is ${EXIT_CODES.unverified} when it does not hold.`)
    .action(async (file: string, options: CheckOptions, command: Command) =>
      check(invocationOf(command, io), file, options),
    );
}

function prove(
  invocation: Invocation,
  wanted: string,
  { log, event }: { log: string; event?: string },
): void {
  const found = wrapped("usage", () => find(log, wanted, event));
  if (found === undefined) throw new CliError("refused", `there is no such record in ${log}`);
  invocation.io.stdout(formatTlogProof(wrapped("usage", () => proveRecord(found))));
}

function find(log: string, wanted: string, event: string | undefined): LogRecord | undefined {
  const place = /^(?:(\d{4}(?:-\d\d)?)\/)?(\d+)$/.exec(wanted);
  for (const record of logRecords(log)) {
    if (place !== null) {
      const isThere = record.shard.name === (place[1] ?? "") && record.index === Number(place[2]);
      if (isThere) return record;
      continue;
    }
    const text = Buffer.from(record.entry).toString("utf8");
    // Most records are passed over without being parsed.
    if (!text.includes(`"${wanted}"`)) continue;
    const leaf = decodeLeaf(record.entry);
    const isIt = wanted.startsWith("s-") ? leaf.session === wanted : leaf.request === wanted;
    const isEvent = event === undefined ? OF_A_COMMAND.includes(leaf.event) : leaf.event === event;
    if (isIt && isEvent) return record;
  }
  return undefined;
}

async function check(invocation: Invocation, file: string, options: CheckOptions): Promise<void> {
  const keysOf = (texts: readonly string[] = []): NoteKey[] =>
    wrapped("usage", () => texts.map(parseKey));
  const witnesses = keysOf(options.witness);
  const quorum = options.quorum === undefined ? witnesses.length : Number(options.quorum);
  if (!Number.isInteger(quorum) || quorum < 0 || quorum > witnesses.length)
    throw new CliError("usage", "--quorum is a number, at most that of the --witness keys");
  const policy = { log: keysOf(options.key), witnesses, quorum };
  const text = wrapped("usage", () => readFileSync(file, "utf8"));
  let leaf: Leaf;
  let proved: ProvedRecord;
  try {
    const proof = parseTlogProof(text);
    const record = proof.extra ?? new Uint8Array();
    proved = await verifyTlogProof(proof, record, policy);
    leaf = decodeLeaf(record);
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new CliError("unverified", `NOT proved: ${said}`, { cause });
  }
  const seen = proved.witnesses.map(({ key, seconds }) => ({ name: key.name, seconds }));
  const { origin, size, index } = proved;
  invocation.print({ ok: true, origin, size, index, witnesses: seen, record: leaf }, () =>
    [
      invocation.palette.green(`proved: this is record ${index} of the log\n`),
      facts(invocation.io, [
        ["log", `${origin}, ${size} records`],
        ["record", `${leaf.event} ${leaf.request ?? leaf.session ?? ""}`.trim()],
        ["at", new Date(leaf.at).toISOString()],
        ["target", leaf.target],
        ["effects", leaf.effects?.map(oneLine).join(", ")],
        ["decision", leaf.decision],
        ["by", leaf.policies?.join(", ")],
        ["chain", leaf.chain?.map(({ s }) => oneLine(s)).join(" → ")],
        ["witnesses", seen.map(({ name, seconds }) => witnessText(name, seconds)).join("; ")],
      ]),
    ].join(""),
  );
}

function witnessText(name: string, seconds: number | undefined): string {
  return seconds === undefined ? name : `${name} at ${new Date(seconds * 1000).toISOString()}`;
}

function wrapped<T>(exit: "usage", action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new CliError(exit, cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
