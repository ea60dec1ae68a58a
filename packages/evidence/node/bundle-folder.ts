// A bundle (core/bundle.ts) as a folder: its parts read, strictly, and written. What is not a part of a
// bundle is a problem, and so is a part that is not as it must be. The folder may be anybody's: only plain files
// of it are read, and no more of them, and of each, than a bundle has.

import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import {
  type ArchivedPolicies,
  BUNDLE_FORMAT,
  type EvidenceManifest,
  type EvidenceRecord,
  type EvidenceScope,
} from "../core/bundle.ts";
import { framePiece, RECORDING_MAGIC, readPieces } from "./recording-format.ts";

export interface BundleRecording {
  readonly session: string;
  /** The `.rec` file as it stands. */
  readonly file: Buffer;
  readonly pieces: readonly Buffer[];
  readonly key: Buffer;
}

export interface BundleParts {
  readonly manifest: EvidenceManifest;
  readonly checkpoint: Buffer;
  readonly records: readonly EvidenceRecord[];
  readonly recordings: readonly BundleRecording[];
  /** By the digest their file is named for. */
  readonly policies: ReadonlyMap<string, ArchivedPolicies>;
  /** undefined: there is none. */
  readonly page: string | undefined;
}

export class BundleError extends Error {
  override readonly name = "BundleError";
}

const RECORDING = /^recordings\/(s-[a-z0-9]{1,64})\.(rec|key)$/;
const POLICIES = /^policies\/([0-9a-f]{64})\.json$/;
const NAMED = new Set(["manifest.json", "checkpoint", "records.ndjson", "index.html"]);
const KEY_BYTES = 32;
/** What an export gives is less: a thousand recordings, a hundred thousand records. */
const MAX_FILES = 10_000;
const MAX_RECORDS = 200_000;
const MAX_BYTES = 4 * 2 ** 30;
const MAX_TEXT_BYTES = 256 << 20;

/**
 * The parts, and what else is wrong with the folder, a sentence each. Throws BundleError when what has to
 * be there is not, or is not readable.
 */
export function readBundle(directory: string): {
  readonly parts: BundleParts;
  readonly problems: readonly string[];
} {
  const problems: string[] = [];
  const names = filesOf(directory, problems);
  const recordings: BundleRecording[] = [];
  const policies = new Map<string, ArchivedPolicies>();
  for (const name of names) {
    const session = RECORDING.exec(name)?.[1];
    const digest = POLICIES.exec(name)?.[1];
    if (session !== undefined && name.endsWith(".rec"))
      recordings.push(readRecording(directory, names, session));
    else if (session !== undefined && !names.has(name.replace(/key$/, "rec")))
      problems.push(`${name}: a key without a recording`);
    else if (digest !== undefined) policies.set(digest, readPolicies(directory, names, name));
    else if (session === undefined && !NAMED.has(name))
      problems.push(`${name}: not a part of a bundle`);
  }
  const manifest = readManifest(directory, names);
  const page = names.has("index.html") ? readText(directory, names, "index.html") : undefined;
  const checkpoint = read(directory, names, "checkpoint");
  const records = readRecords(directory, names);
  return { parts: { manifest, checkpoint, records, recordings, policies, page }, problems };
}

/** Throws BundleError when the folder is there and not empty. */
export function writeBundle(directory: string, parts: BundleParts): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (readdirSync(directory).length > 0) throw new BundleError(`${directory} is not empty`);
  const write = (name: string, content: string | Buffer): void =>
    writeFileSync(join(directory, ...name.split("/")), content, { mode: 0o600, flag: "wx" });
  write("manifest.json", jsonText(parts.manifest));
  write("checkpoint", parts.checkpoint);
  write("records.ndjson", parts.records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  if (parts.recordings.length > 0) mkdirSync(join(directory, "recordings"), { mode: 0o700 });
  for (const { session, file, key } of parts.recordings) {
    write(`recordings/${session}.rec`, file);
    write(`recordings/${session}.key`, keyText(key));
  }
  if (parts.policies.size > 0) mkdirSync(join(directory, "policies"), { mode: 0o700 });
  for (const [digest, archived] of parts.policies)
    write(`policies/${digest}.json`, jsonText(archived));
  if (parts.page !== undefined) write("index.html", parts.page);
}

/** A recording's file from its pieces. */
export function recordingFile(pieces: readonly Buffer[]): Buffer {
  return Buffer.concat([RECORDING_MAGIC, ...pieces.flatMap(framePiece)]);
}

export function keyText(key: Buffer): string {
  return `${key.toString("base64url")}\n`;
}

/** Plain files; a link, a pipe or a device is none. */
function filesOf(directory: string, problems: string[]): ReadonlySet<string> {
  let bytes = 0;
  try {
    const names = readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => ({
        isPlain: entry.isFile(),
        name: relative(directory, join(entry.parentPath, entry.name)).split(sep).join("/"),
      }))
      .sort((one, other) => (one.name < other.name ? -1 : 1));
    if (names.length > MAX_FILES) throw new BundleError(`more than ${MAX_FILES} files`);
    for (const { name, isPlain } of names) {
      if (!isPlain) problems.push(`${name}: not a plain file`);
      else bytes += lstatSync(join(directory, ...name.split("/"))).size;
    }
    if (bytes > MAX_BYTES) throw new BundleError(`more than ${MAX_BYTES} bytes`);
    return new Set(names.flatMap(({ name, isPlain }) => (isPlain ? [name] : [])));
  } catch (cause) {
    if (cause instanceof BundleError) throw cause;
    throw new BundleError(`${directory} cannot be read`, { cause });
  }
}

function read(directory: string, names: ReadonlySet<string>, name: string): Buffer {
  if (!names.has(name)) throw new BundleError(`${name} is missing`);
  try {
    return readFileSync(join(directory, ...name.split("/")));
  } catch (cause) {
    throw new BundleError(`${name} cannot be read`, { cause });
  }
}

function readText(directory: string, names: ReadonlySet<string>, name: string): string {
  if (names.has(name) && lstatSync(join(directory, ...name.split("/"))).size > MAX_TEXT_BYTES)
    throw new BundleError(`${name} is longer than ${MAX_TEXT_BYTES} bytes`);
  return read(directory, names, name).toString("utf8");
}

function readJson(
  directory: string,
  names: ReadonlySet<string>,
  name: string,
): Record<string, unknown> {
  const text = readText(directory, names, name);
  try {
    const value: unknown = JSON.parse(text);
    // One spelling of each part: what a reader does not look at must not be there.
    if (isObject(value) && jsonText(value) === text) return value;
  } catch {
    // Told below.
  }
  throw new BundleError(`${name} is not written as it must be`);
}

function readManifest(directory: string, names: ReadonlySet<string>): EvidenceManifest {
  const value = readJson(directory, names, "manifest.json");
  const { format, scope, origin, exported, seams, records, withheld } = value;
  const also = [
    ...(seams === undefined ? [] : ["seams"]),
    ...(records === undefined ? [] : ["records"]),
  ];
  const members = ["format", "scope", "origin", "exported", ...also, "withheld"].join();
  const isWhole =
    Object.keys(value).join() === members &&
    format === BUNDLE_FORMAT &&
    typeof origin === "string" &&
    isScope(scope) &&
    isRecord(exported) &&
    (seams === undefined || (Array.isArray(seams) && seams.length > 0 && seams.every(isRecord))) &&
    (records === undefined || areRows(records)) &&
    isObject(withheld) &&
    Object.values(withheld).every((why) => typeof why === "string");
  if (!isWhole) throw new BundleError("manifest.json is not one of a bundle of this format");
  return value as unknown as EvidenceManifest;
}

function readRecords(directory: string, names: ReadonlySet<string>): EvidenceRecord[] {
  const text = readText(directory, names, "records.ndjson");
  if (text !== "" && !text.endsWith("\n")) throw new BundleError("records.ndjson is cut off");
  const lines = text.split("\n", MAX_RECORDS + 2);
  if (lines.length > MAX_RECORDS + 1)
    throw new BundleError(`records.ndjson: more than ${MAX_RECORDS} records`);
  return lines.slice(0, -1).map((line, at) => {
    try {
      const value: unknown = JSON.parse(line);
      if (isRecord(value) && JSON.stringify(value) === line) return value;
    } catch {
      // Told below.
    }
    throw new BundleError(`records.ndjson: line ${at + 1} is not a record`);
  });
}

function readRecording(
  directory: string,
  names: ReadonlySet<string>,
  session: string,
): BundleRecording {
  const name = `recordings/${session}`;
  const file = read(directory, names, `${name}.rec`);
  const { pieces, end } = readPieces(file);
  if (end !== file.length) throw new BundleError(`${name}.rec is cut off or malformed`);
  const text = readText(directory, names, `${name}.key`);
  const key = Buffer.from(text.trimEnd(), "base64url");
  if (key.length !== KEY_BYTES || keyText(key) !== text)
    throw new BundleError(`${name}.key is not a key`);
  return { session, file, pieces, key };
}

function readPolicies(
  directory: string,
  names: ReadonlySet<string>,
  name: string,
): ArchivedPolicies {
  const value = readJson(directory, names, name);
  const { schema, policies } = value;
  const isWhole =
    Object.keys(value).join() === "schema,policies" &&
    typeof schema === "string" &&
    Array.isArray(policies) &&
    policies.every((policy) => typeof policy === "string");
  if (!isWhole) throw new BundleError(`${name} is not a set of policies`);
  return value as unknown as ArchivedPolicies;
}

function isScope(value: unknown): value is EvidenceScope {
  if (!isObject(value)) return false;
  const [entry, ...others] = Object.entries(value);
  if (entry === undefined || others.length > 0) return false;
  const [kind, what] = entry;
  if (kind === "between")
    return Array.isArray(what) && what.length === 2 && what.every(Number.isSafeInteger);
  return ["session", "request", "root"].includes(kind) && typeof what === "string";
}

/** Ascending, and as few as can be. */
function areRows(value: unknown): boolean {
  if (!Array.isArray(value)) return false;
  let before = -2;
  return value.every((row) => {
    if (!Array.isArray(row) || row.length !== 2 || !row.every(Number.isSafeInteger)) return false;
    const [first, last] = row as [number, number];
    const isNext = first > before + 1 && last >= first;
    before = last;
    return isNext;
  });
}

function isRecord(value: unknown): value is EvidenceRecord {
  if (!isObject(value) || Object.keys(value).join() !== "index,leaf,proof") return false;
  const { index, leaf, proof } = value;
  return (
    Number.isSafeInteger(index) &&
    typeof leaf === "string" &&
    Array.isArray(proof) &&
    proof.every((hash) => typeof hash === "string")
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function jsonText(value: object): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
