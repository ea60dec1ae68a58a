// Evidence to take away, and its checking, which needs no gateway.

import type { EvidencePartView } from "@custody/contract/evidence.ts";
import type { ArchivedPolicies, EvidenceManifest } from "@custody/evidence/core/bundle.ts";
import { type NoteKey, parseKey } from "@custody/evidence/core/note.ts";
import {
  BundleError,
  type BundleParts,
  readBundle,
  recordingFile,
  writeBundle,
} from "@custody/evidence/node/bundle-folder.ts";
import { type BundleReport, pageOf, verifyBundle } from "@custody/evidence/node/bundle-verify.ts";
import { readEvents } from "@custody/evidence/node/recording-reader.ts";
import { type Command, InvalidArgumentError } from "commander";

import { CliError, EXIT_CODES } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { harmless, type Io } from "../output.ts";
import { createTranscript } from "../transcript.ts";
import { readKeys } from "./audit.ts";

interface ExportOptions {
  readonly session?: string;
  readonly request?: string;
  readonly root?: string;
  readonly between?: string;
  readonly out: string;
}

interface VerifyOptions {
  readonly key?: string[];
  readonly keyFile?: string;
  readonly witness?: string[];
  readonly quorum?: number;
}

type Scope =
  | { readonly session: string }
  | { readonly request: string }
  | { readonly root: string }
  | { readonly between: [string, string] };

export function addEvidenceCommands(program: Command, io: Io): void {
  program.commandsGroup("Proving:");
  const evidence = program
    .command("evidence")
    .description("take evidence away, and check it anywhere");
  evidence
    .command("export")
    .description("records with their proofs, recordings, policies, and a page to read, in a folder")
    .option("--session <session>", "one session: s-…")
    .option("--request <request>", "one command: r-…")
    .option("--root <subject>", "all that was asked by one root: its stable subject, or d-…")
    .option("--between <from/until>", "all of a time, ISO 8601: 2026-11-01/2026-11-02")
    .requiredOption("--out <folder>", "where to; must be empty, or not there")
    .addHelpText(
      "after",
      `
The folder has what was said in the sessions, readable by whoever has it: erasing a session here does
not reach it. The export itself is an event of the log.

Example:
  custody evidence export --session s-7f3k2m --out ./s-7f3k2m`,
    )
    .action((options: ExportOptions, command: Command) =>
      exportTo(invocationOf(command, io), options),
    );
  evidence
    .command("verify")
    .description("check such a folder: every record, recording, policy and the page")
    .argument("<folder>", "what custody evidence export wrote")
    .option("--key <vkey...>", "keys of the log; one of them must have signed its head")
    .option("--key-file <file>", "the same from a file, one key a line")
    .option("--witness <vkey...>", "keys of witnesses")
    .option("--quorum <count>", "how many of them must have cosigned; default: all", count)
    .addHelpText(
      "after",
      `
Needs no gateway and no network. Take the key from somewhere else than whoever gave you the folder.
The exit code is ${EXIT_CODES.unverified} when a part is missing, altered, out of order or foreign.`,
    )
    .action((folder: string, options: VerifyOptions, command: Command) =>
      verify(invocationOf(command, io), folder, options),
    );
  evidence
    .command("show")
    .description("what was said in its sessions: commands and answers")
    .argument("<folder>", "what custody evidence export wrote")
    .option("--rows <count>", "rows shown of each answer", count, 20)
    .action((folder: string, options: { rows: number }, command: Command) =>
      show(invocationOf(command, io), folder, options.rows),
    );
}

async function exportTo(invocation: Invocation, options: ExportOptions): Promise<void> {
  const body = scopeOf(options);
  const parts = await invocation.withClient((client) =>
    collect(client.lines("evidence", { body })),
  );
  try {
    writeBundle(options.out, { ...parts, page: pageOf(parts) });
  } catch (cause) {
    throw new CliError("usage", cause instanceof Error ? cause.message : String(cause), { cause });
  }
  const { records, recordings, policies, manifest } = parts;
  const withheld = Object.entries(manifest.withheld);
  const about = {
    folder: options.out,
    records: records.length,
    recordings: recordings.length,
    policies: policies.size,
    withheld: manifest.withheld,
  };
  invocation.print(
    about,
    () =>
      `${options.out}: ${records.length} records, ${recordings.length} recordings, ${policies.size} sets of policies\n` +
      withheld.map(([what, why]) => `  not in it: ${harmless(what)}: ${harmless(why)}\n`).join("") +
      `read it:  ${options.out}/index.html\ncheck it: custody evidence verify ${options.out} --key '<the log's key>'\n`,
  );
}

function scopeOf({ session, request, root, between }: ExportOptions): Scope {
  const given: Scope[] = [];
  if (session !== undefined) given.push({ session });
  if (request !== undefined) given.push({ request });
  if (root !== undefined) given.push({ root });
  if (between !== undefined) given.push({ between: timesOf(between) });
  const [only, ...others] = given;
  if (only === undefined || others.length > 0)
    throw new CliError("usage", "exactly one of --session, --request, --root and --between");
  return only;
}

function timesOf(text: string): [string, string] {
  const times = text.split("/").map((part) => new Date(part));
  const [from, until] = times;
  if (times.length !== 2 || from === undefined || until === undefined)
    throw new CliError("usage", "--between takes two times with a slash between them");
  if (times.some((time) => Number.isNaN(time.getTime())))
    throw new CliError("usage", `--between ${text}: not ISO 8601`);
  return [from.toISOString(), until.toISOString()];
}

async function collect(lines: AsyncIterable<EvidencePartView>): Promise<BundleParts> {
  const pieces = new Map<string, Buffer[]>();
  const recordings: BundleParts["recordings"][number][] = [];
  const records: BundleParts["records"][number][] = [];
  const policies = new Map<string, ArchivedPolicies>();
  let checkpoint: Buffer | undefined;
  let manifest: EvidenceManifest | undefined;
  for await (const line of lines) {
    if (line.part === "record") records.push(line.record);
    else if (line.part === "policies") policies.set(line.digest, line.archived);
    else if (line.part === "checkpoint") checkpoint = Buffer.from(line.text, "utf8");
    else if (line.part === "manifest") manifest = line.manifest as unknown as EvidenceManifest;
    else if (line.part === "piece") {
      const piece = Buffer.from(line.bytes, "base64");
      const known = pieces.get(line.session);
      if (known === undefined) pieces.set(line.session, [piece]);
      else known.push(piece);
    } else {
      const own = pieces.get(line.session) ?? [];
      pieces.delete(line.session);
      recordings.push({
        session: line.session,
        ...{ file: recordingFile(own), pieces: own },
        key: Buffer.from(line.key, "base64url"),
      });
    }
  }
  if (checkpoint === undefined || manifest === undefined)
    throw new CliError("unreachable", "the gateway's answer broke off", { hint: "try again" });
  return { manifest, checkpoint, records, recordings, policies, page: undefined };
}

async function verify(
  invocation: Invocation,
  folder: string,
  options: VerifyOptions,
): Promise<void> {
  const given = [
    ...(options.key ?? []),
    ...(options.keyFile === undefined ? [] : readKeys(options.keyFile)),
  ];
  if (given.length === 0)
    throw new CliError("usage", "with which key?", {
      hint: "--key or --key-file: the log's operator publishes it; the gateway prints it at start",
    });
  const log = given.map(keyOf);
  const witnesses = (options.witness ?? []).map(keyOf);
  const quorum = options.quorum ?? witnesses.length;
  const report = await verifyBundle(folder, { log, witnesses, quorum });
  invocation.print(report, () => reportText(invocation, report));
  if (!report.ok) invocation.exit("unverified");
}

function keyOf(text: string): NoteKey {
  try {
    return parseKey(text);
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new CliError("usage", `the key cannot be used: ${said}`, { cause });
  }
}

function reportText({ palette }: Invocation, report: BundleReport): string {
  const verdict = report.ok
    ? palette.green(`verified: ${harmless(report.scope)}`)
    : palette.red(`NOT verified: ${harmless(report.scope)}`);
  const list = (mark: string, lines: readonly string[]) =>
    lines.map((line) => `  ${mark} ${harmless(line)}\n`).join("");
  const open = report.notProved.length === 0 ? "" : "not proved:\n";
  return `${verdict}\n${list(palette.red("✗"), report.problems)}${list(palette.green("✓"), report.proved)}${open}${list("·", report.notProved)}`;
}

function show({ io, json }: Invocation, folder: string, rows: number): void {
  const { parts } = readable(() => readBundle(folder));
  for (const { session, key, pieces } of parts.recordings) {
    const transcript = createTranscript(io, { rows });
    const events = readable(() => [...readEvents(session, key, pieces)]);
    for (const event of events)
      io.stdout(
        json ? `${JSON.stringify({ session, ...event })}\n` : transcript.line({ ...event }),
      );
    if (!json) io.stdout(transcript.end());
  }
}

function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    const hint = cause instanceof BundleError ? "custody evidence verify says more" : undefined;
    throw new CliError("unverified", said, { cause, ...(hint === undefined ? {} : { hint }) });
  }
}

function count(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("expected a number");
  return Number(text);
}
