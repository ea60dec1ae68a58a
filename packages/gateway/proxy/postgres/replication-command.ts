// What a command of the replication protocol does: PostgreSQL docs, "Streaming Replication Protocol", and the
// scanner of the server's repl_scanner.l. The first word decides whether the server reads a text as such a
// command; SQL, which a connection to a database takes too, is not read here but by the classifier that reads it
// everywhere (replication-judge.ts).

import type { Effect, Operation, Resource } from "../../access/operation.ts";
import { databaseResource, type Place } from "./effects.ts";
import { mayShow } from "./settings.ts";

export type ReplicationCommand =
  | {
      readonly ok: true;
      readonly operation: Operation;
      /** A slot that is dropped or altered: whose it is says what that takes, `ofOthers` where not this database's. */
      readonly slot?: { readonly name: string; readonly ofOthers: Operation };
      /** Where `operation` is not permitted: what it does while nothing of a class is in the stream. */
      readonly watched?: Operation;
      /** What is streamed is of these; absent: they are not told in a way that is certain. */
      readonly publications?: readonly string[];
    }
  | { readonly ok: false; readonly why: string };

/** What a replication session reads: a database (logical), or all of the server. */
export interface Replicated {
  readonly place: Place;
  /** `replication=true`: files and log of the whole server. */
  readonly physical: boolean;
  /** Columns of the target have classes: in a stream they can be told, in files and in the log they cannot. */
  readonly classified: boolean;
  /** Values are looked for in what is answered, which nobody does in a stream. */
  readonly detects: boolean;
}

/**
 * What a command lets its client have; `slot`: what becomes of one, which may be of another database; `others`:
 * what is of the whole server, without a value in it. A connection to a database takes commands that are of the whole server
 * too, BASE_BACKUP among them: what is asked for decides, not what was connected to.
 */
type Reach = "nothing" | "slot" | "others" | "changes" | "server";

/** Before the target is connected to. */
export function startUpOperation(replicated: Replicated): Operation {
  return replicationOperation(replicated, replicated.physical ? "server" : "nothing", "start-up");
}

/** Rows of a database as they are. */
export function rowsOperation(replicated: Replicated): Operation {
  return replicationOperation(replicated, "changes", "SQL");
}

export function readReplicationCommand(text: string, replicated: Replicated): ReplicationCommand {
  if (text === SECURE_PATH && !replicated.physical)
    return { ok: true, operation: replicationOperation(replicated, "nothing", "SQL") };
  const tokens = tokensOf(text);
  if (tokens === undefined) return refused("the command cannot be read");
  const [first, ...rest] = tokens.at(-1)?.text === ";" ? tokens.slice(0, -1) : tokens;
  const name = first?.kind === "word" ? first.text.toUpperCase() : "";
  const rule = COMMANDS.get(name);
  if (rule === undefined)
    return refused("only commands of the replication protocol go over a replication connection");
  if (rest.some(({ text: one }) => one === ";")) return refused("one command at a time");
  const read = rule(rest);
  if (typeof read !== "string") return refused(read.why);
  const operation = replicationOperation(replicated, read, name);
  if (read === "slot" && !replicated.physical) {
    const ofOthers = replicationOperation(replicated, "others", name);
    return { ok: true, operation, slot: { name: nameOf(rest[0]), ofOthers } };
  }
  if (read !== "changes" || !replicated.classified || replicated.detects)
    return { ok: true, operation };
  const publications = publicationsOf(rest);
  return {
    ...{ ok: true, operation, watched: replicationOperation(replicated, "nothing", name) },
    ...(publications === undefined ? {} : { publications }),
  };
}

/** `replicate`, and `replicate_past_masks` where values of a class may go through as they are. */
function replicationOperation(replicated: Replicated, reach: Reach, command: string): Operation {
  const { classified, detects, physical, place } = replicated;
  const resource =
    physical || reach === "server" || reach === "others"
      ? serverResource(place.target)
      : databaseResource(place);
  const actions = ["sql:replicate"];
  if ((classified || detects) && (physical || reach === "changes" || reach === "server"))
    actions.push("sql:replicate_past_masks");
  const effects = actions.map((action): Effect => ({ action, resource }));
  const summary = `replicate (${command}) on ${resource.label}`;
  return { protocol: "postgres", effects, touches: [], summary };
}

/** The server's files and its log are of no database: what stands for all of them is no database's name. */
function serverResource(target: string): Resource {
  return {
    type: "SQL::Schema",
    id: `${target}/*`,
    path: "*",
    label: `all of target ${target}`,
    parent: undefined,
    implied: false,
  };
}

interface Token {
  readonly kind: "word" | "quoted" | "string" | "number" | "sign";
  readonly text: string;
}

/** undefined: there is something in it that the server's scanner would not take, or takes otherwise. */
function tokensOf(text: string): readonly Token[] | undefined {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    TOKEN.lastIndex = at;
    const groups = TOKEN.exec(text)?.groups;
    if (groups === undefined) return undefined;
    at = TOKEN.lastIndex;
    for (const kind of KINDS) {
      const found = groups[kind];
      if (found !== undefined) tokens.push({ kind, text: found });
    }
  }
  return tokens;
}

const KINDS = ["word", "quoted", "string", "number", "sign"] as const;
const TOKEN =
  /[ \t\n\r\f\v]+|(?<word>[A-Za-z_][A-Za-z0-9_$]*)|"(?<quoted>(?:[^"\0]|"")+)"|'(?<string>(?:[^'\0]|'')*)'|(?<number>[0-9A-Fa-f]+\/[0-9A-Fa-f]+|[0-9]+)|(?<sign>[(),;.])/y;

type Rule = (rest: readonly Token[]) => Reach | { readonly why: string };

const nothing: Rule = () => "nothing";
const slotOfSomebody: Rule = () => "slot";
const ofOthers: Rule = () => "others";

const COMMANDS: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ["IDENTIFY_SYSTEM", nothing],
  ["TIMELINE_HISTORY", ofOthers],
  // Of a physical one; others are not told of.
  ["READ_REPLICATION_SLOT", ofOthers],
  ["DROP_REPLICATION_SLOT", slotOfSomebody],
  ["ALTER_REPLICATION_SLOT", slotOfSomebody],
  ["START_REPLICATION", stream],
  ["UPLOAD_MANIFEST", () => "server"],
  ["CREATE_REPLICATION_SLOT", slot],
  ["BASE_BACKUP", toClient],
  ["SHOW", shown],
]);

/** `SLOT name LOGICAL position (…)`: changes of one database. Anything else is the log of the server. */
function stream([first, , third]: readonly Token[]): Reach {
  return isWord(first, "slot") && isWord(third, "logical") ? "changes" : "server";
}

/** Of `publication_names 'a,"B"'`, as the server splits it; one in letters that need thought makes it uncertain. */
function publicationsOf(tokens: readonly Token[]): readonly string[] | undefined {
  const at = tokens.findIndex((token) => nameOf(token) === "publication_names");
  const value = tokens[at + 1];
  if (at < 0 || value?.kind !== "string") return undefined;
  const names: string[] = [];
  for (const part of value.text.split(",")) {
    const { quoted, plain } = PUBLICATION.exec(part)?.groups ?? {};
    if (quoted === undefined && plain === undefined) return undefined;
    names.push(quoted ?? plain?.toLowerCase() ?? "");
  }
  return names;
}

const PUBLICATION =
  /^[ \t\n]*(?:"(?<quoted>[A-Za-z0-9_ .$-]{1,63})"|(?<plain>[A-Za-z_][A-Za-z0-9_$]{0,62}))[ \t\n]*$/;

/** `name [TEMPORARY] LOGICAL plugin`. A plugin is a library of the server's that runs in it. */
function slot([, ...rest]: readonly Token[]): Reach | { readonly why: string } {
  const [kind, plugin] = isWord(rest[0], "temporary") ? rest.slice(1) : rest;
  if (!isWord(kind, "logical")) return "server";
  const name = nameOf(plugin);
  return PLUGINS.has(name)
    ? "nothing"
    : { why: `the output plugin ${JSON.stringify(name)} is not known` };
}

/** As the server has it. */
function nameOf(token: Token | undefined): string {
  if (token?.kind === "word") return token.text.toLowerCase();
  return token?.kind === "quoted" ? token.text.replaceAll('""', '"') : "";
}

function isWord(token: Token | undefined, word: string): boolean {
  return token?.kind === "word" && token.text.toLowerCase() === word;
}

const PLUGINS = new Set(["pgoutput", "test_decoding", "wal2json", "decoderbufs"]);

/** A backup can be written to the server's own disk, which is its files with its rights. */
function toClient(rest: readonly Token[]): Reach | { readonly why: string } {
  for (const [index, { kind, text }] of rest.entries()) {
    if ((kind !== "word" && kind !== "quoted") || !/^target(_detail)?$/i.test(text)) continue;
    const value = rest[index + 1];
    const isClient = value?.kind === "string" && value.text.toLowerCase() === "client";
    if (text.toLowerCase() !== "target" || !isClient)
      return { why: "a base backup goes to the client that asks for it" };
  }
  return "server";
}

function shown(rest: readonly Token[]): Reach | { readonly why: string } {
  const name = rest.map(({ text }) => text).join("");
  return mayShow(name) && name.toLowerCase() !== "all"
    ? "nothing"
    : { why: `SHOW ${name} is not permitted` };
}

function refused(why: string): ReplicationCommand {
  return { ok: false, why };
}

/** What libpq's own tools send first, so that no function of somebody's is found by name. */
export const SECURE_PATH = "SELECT pg_catalog.set_config('search_path', '', false);";
