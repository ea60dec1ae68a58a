// Completeness from the other side: what a target's own log says happened, held against ours. What the target
// did for nobody of ours happened without us; what our log has and the target's has not, the target forgot or
// never got.
//
// Each kind of target names us in its log in its own way: PostgreSQL by the role made for a session
// (`custody_<instance>_<session>`), Kubernetes by the Audit-ID, which is our request id, sshd by the key id of the
// session's certificate (`custody s-… …`). Lines in a form that is not known are counted, never passed over
// in silence.

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { decodeLeaf } from "../core/leaf.ts";
import { commandDigest } from "./command-digest.ts";
import { logRecords } from "./prove.ts";

export type TargetLogKind = "postgres" | "kubernetes" | "sshd";

/** One thing a target's log says was done, or somebody who came. */
interface Deed {
  /** As the target's log has it. */
  readonly at: string;
  readonly who: string;
  readonly what: string;
  /** Our session (`s-…`) or request (`r-…`) it names; undefined: none of ours. */
  readonly names: string | undefined;
  /** SHA-256 of the command's text, where the line has it whole. */
  readonly digest: string | undefined;
}

export interface ReconcileOptions {
  /** The folder with `checkpoint` and `tile/`. */
  readonly log: string;
  readonly target: string;
  readonly kind: TargetLogKind;
  /** The target's log: jsonlog or csvlog of PostgreSQL, JSON lines of Kubernetes, text of sshd. */
  readonly file: string;
  /** Names the gateway itself comes by: its standing logins. What they do is counted apart. */
  readonly own: readonly string[];
}

export interface Finding {
  /** In the target's log, from 1. */
  readonly line: number;
  readonly at: string;
  readonly who: string;
  readonly what: string;
}

export interface ReconcileReport {
  readonly ok: boolean;
  /** Deeds that our log has too. */
  readonly matched: number;
  /** Of the gateway's own logins. */
  readonly own: number;
  /** Lines that tell of no deed, and lines that could not be read. */
  readonly passed: number;
  readonly unreadable: number;
  /** Done through nothing of ours. */
  readonly withoutUs: readonly Finding[];
  /** In our name, but our log does not know the session, request or command. */
  readonly notInLog: readonly Finding[];
  /** Sessions (requests of Kubernetes) of our log that the target's says nothing of. */
  readonly notAtTarget: readonly string[];
  /** Findings beyond the first 1,000 of each kind are counted only. */
  readonly further: number;
}

const MAX_FINDINGS = 1_000;
const MAX_SHOWN = 200;

/** Throws NoProofError when there is no log, and what reading the file throws. */
export async function reconcile(options: ReconcileOptions): Promise<ReconcileReport> {
  const ours = indexOf(options.log, options.target);
  const seen = new Set<string>();
  const withoutUs: Finding[] = [];
  const notInLog: Finding[] = [];
  const counts = { matched: 0, own: 0, passed: 0, unreadable: 0, further: 0 };
  const add = (list: Finding[], finding: Finding): void => {
    if (list.length < MAX_FINDINGS) list.push(finding);
    else counts.further += 1;
  };
  for await (const { line, read } of deedsOf(options)) {
    if (read === "unreadable" || read === "nothing") {
      counts[read === "nothing" ? "passed" : "unreadable"] += 1;
      continue;
    }
    const { at, who, what, names, digest } = read;
    const finding = { line, at, who, what: shortened(what) };
    if (names === undefined) {
      if (options.own.includes(who)) counts.own += 1;
      else add(withoutUs, finding);
      continue;
    }
    const known = ours.get(names);
    if (known === undefined) add(notInLog, finding);
    else if (digest !== undefined && known.commands.size > 0 && !known.commands.has(digest))
      add(notInLog, finding);
    else counts.matched += 1;
    seen.add(names);
  }
  const wanted = options.kind === "kubernetes" ? "request" : "session";
  const notAtTarget = [...ours]
    .filter(([name, { kind }]) => kind === wanted && !seen.has(name))
    .map(([name]) => name);
  const ok = withoutUs.length + notInLog.length + counts.further + counts.unreadable === 0;
  return { ok, ...counts, withoutUs, notInLog, notAtTarget };
}

interface Known {
  readonly kind: "session" | "request";
  /** Digests of what was forwarded or prepared in it. */
  readonly commands: Set<string>;
}

function indexOf(log: string, target: string): Map<string, Known> {
  const ours = new Map<string, Known>();
  for (const { entry } of logRecords(log)) {
    const leaf = decodeLeaf(entry);
    if (leaf.target !== target || leaf.session === undefined) continue;
    if (leaf.event === "session.opened")
      ours.set(leaf.session, { kind: "session", commands: new Set() });
    if (leaf.event !== "command.intent" && leaf.event !== "command.prepared") continue;
    if (leaf.command !== undefined) ours.get(leaf.session)?.commands.add(leaf.command);
    if (leaf.request !== undefined && leaf.event === "command.intent")
      ours.set(leaf.request, { kind: "request", commands: new Set() });
  }
  return ours;
}

type Read = Deed | "nothing" | "unreadable";

async function* deedsOf({
  file,
  kind,
}: ReconcileOptions): AsyncGenerator<{ readonly line: number; readonly read: Read }> {
  const lines = createInterface({
    input: createReadStream(file),
    crlfDelay: Number.POSITIVE_INFINITY,
  });
  const reader = READERS[kind]();
  let line = 0;
  for await (const text of lines) {
    line += 1;
    const read = text === "" ? "nothing" : reader(text);
    if (read !== undefined) yield { line, read };
  }
}

/** undefined: the record goes on in the next line. */
type Reader = (line: string) => Read | undefined;

const READERS: Readonly<Record<TargetLogKind, () => Reader>> = {
  postgres: () => {
    let open = "";
    return (line) => {
      if (open === "" && line.startsWith("{")) return postgresJson(line);
      // A value in quotes may have line breaks: the record ends where the quotes are even.
      open = open === "" ? line : `${open}\n${line}`;
      if ((open.split('"').length - 1) % 2 === 1) return undefined;
      const whole = open;
      open = "";
      return postgresCsv(whole);
    };
  },
  kubernetes: () => kubernetesAudit,
  sshd: () => sshdLine,
};

const ROLE = /^custody_[a-z0-9]+_([a-z0-9]{4,32})$/;
const STATEMENT = /^(?:duration: [0-9.]+ ms {2})?(?:statement|execute [^:]*): (.*)$/s;
const PGAUDIT = /^AUDIT: (?:SESSION|OBJECT),/;
const CONNECTION = /^connection authorized: /;

function postgresJson(line: string): Read {
  try {
    const value = JSON.parse(line) as Record<string, unknown>;
    const { user, message, timestamp } = value;
    if (typeof message !== "string" || typeof timestamp !== "string") return "unreadable";
    return postgresDeed(timestamp, typeof user === "string" ? user : "", message);
  } catch {
    return "unreadable";
  }
}

/** Columns of csvlog: time, user, …, and the message as the fourteenth (PostgreSQL's documentation, 19.8.4). */
function postgresCsv(record: string): Read {
  const columns = csvColumns(record);
  const [time, user] = columns;
  const message = columns[13];
  if (time === undefined || user === undefined || message === undefined) return "unreadable";
  return postgresDeed(time, user, message);
}

function postgresDeed(at: string, user: string, message: string): Read {
  const statement = STATEMENT.exec(message)?.[1];
  if (statement === undefined && !PGAUDIT.test(message) && !CONNECTION.test(message))
    return "nothing";
  const session = ROLE.exec(user)?.[1];
  // What a denied statement is replaced by fails to parse, so it is never logged as a statement.
  const digest = statement === undefined ? undefined : commandDigest(statement);
  const names = session === undefined ? undefined : `s-${session}`;
  return { at, who: user, what: statement ?? message, names, digest };
}

function csvColumns(record: string): string[] {
  const columns: string[] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^,]*))(,|$)/gsy;
  for (let match = field.exec(record); match !== null; match = field.exec(record)) {
    columns.push(match[1] === undefined ? (match[2] ?? "") : match[1].replaceAll('""', '"'));
    if (match[3] === "") break;
  }
  return columns;
}

/** audit.k8s.io/v1; one event a request is enough, its last stage. */
function kubernetesAudit(line: string): Read {
  try {
    const value = JSON.parse(line) as {
      auditID?: unknown;
      stage?: unknown;
      verb?: unknown;
      requestURI?: unknown;
      user?: { username?: unknown };
      requestReceivedTimestamp?: unknown;
    };
    if (typeof value.auditID !== "string" || typeof value.stage !== "string") return "unreadable";
    if (value.stage !== "ResponseComplete" && value.stage !== "Panic") return "nothing";
    const isOurs = /^r-[a-z0-9]+-[0-9]+$/.test(value.auditID);
    return {
      at: String(value.requestReceivedTimestamp ?? ""),
      who: String(value.user?.username ?? ""),
      what: `${String(value.verb ?? "")} ${String(value.requestURI ?? "")}`,
      names: isOurs ? value.auditID : undefined,
      digest: undefined,
    };
  } catch {
    return "unreadable";
  }
}

const ACCEPTED =
  /^(\S+(?: +\d+ [0-9:]+)?) .*sshd(?:-session)?\[\d+\]: Accepted (\S+) for (\S+) from (\S+)(.*)$/;
const CERTIFICATE = / ID (.*) \(serial \d+\) CA /;

function sshdLine(line: string): Read {
  const accepted = ACCEPTED.exec(line);
  if (accepted === null) return "nothing";
  const [, at = "", method = "", user = "", from = "", rest = ""] = accepted;
  const session = /^custody (s-[a-z0-9]+) /.exec(CERTIFICATE.exec(rest)?.[1] ?? "")?.[1];
  const what = `${method} login from ${from}`;
  return { at, who: user, what, names: session, digest: undefined };
}

function shortened(text: string): string {
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}
