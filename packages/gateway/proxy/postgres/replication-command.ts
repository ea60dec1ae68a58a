// What a command of the replication protocol does: PostgreSQL docs, "Streaming Replication Protocol", and the
// scanner of the server's repl_scanner.l. The first word decides whether the server reads a text as such a
// command; SQL, which a connection to a database takes too, is not read here and goes over a session of its own.

import type { Effect, Operation, Resource } from "../../access/operation.ts";
import { databaseResource, type Place } from "./effects.ts";
import { mayShow } from "./settings.ts";

export type ReplicationCommand =
  | { readonly ok: true; readonly operation: Operation }
  | { readonly ok: false; readonly why: string };

/** What a replication session reads: a database (logical), or all of the server. */
export interface Replicated {
  readonly place: Place;
  /** `replication=true`: files and log of the whole server. */
  readonly physical: boolean;
  /** Values that no mask can hold back: the target has classified columns, or looks for such values. */
  readonly classified: boolean;
}

/** `replicate`, and `replicate_past_masks` where values of a class would go through as they are. */
export function replicationOperation(replicated: Replicated, command: string): Operation {
  const resource = replicated.physical
    ? serverResource(replicated.place.target)
    : databaseResource(replicated.place);
  const actions = replicated.classified
    ? ["sql:replicate", "sql:replicate_past_masks"]
    : ["sql:replicate"];
  const effects = actions.map((action): Effect => ({ action, resource }));
  const summary = `replicate (${command}) on ${resource.label}`;
  return { protocol: "postgres", effects, touches: [], summary };
}

export function readReplicationCommand(text: string, replicated: Replicated): ReplicationCommand {
  // What libpq's own tools send first, so that no function of somebody's is found by name.
  if (text === SECURE_PATH && !replicated.physical)
    return { ok: true, operation: replicationOperation(replicated, "SQL") };
  const tokens = tokensOf(text);
  if (tokens === undefined) return refused("the command cannot be read");
  const [first, ...rest] = tokens.at(-1)?.text === ";" ? tokens.slice(0, -1) : tokens;
  const name = first?.kind === "word" ? first.text.toUpperCase() : "";
  const rule = COMMANDS.get(name);
  if (rule === undefined)
    return refused("only commands of the replication protocol go over a replication connection");
  if (rest.some(({ text: one }) => one === ";")) return refused("one command at a time");
  const why = rule(rest);
  return why === undefined
    ? { ok: true, operation: replicationOperation(replicated, name) }
    : refused(why);
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

type Rule = (rest: readonly Token[]) => string | undefined;

const anything: Rule = () => undefined;

const COMMANDS: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ["IDENTIFY_SYSTEM", anything],
  ["TIMELINE_HISTORY", anything],
  ["READ_REPLICATION_SLOT", anything],
  ["DROP_REPLICATION_SLOT", anything],
  ["ALTER_REPLICATION_SLOT", anything],
  ["START_REPLICATION", anything],
  ["UPLOAD_MANIFEST", anything],
  ["CREATE_REPLICATION_SLOT", knownPlugin],
  ["BASE_BACKUP", toClient],
  ["SHOW", shown],
]);

/** A plugin is a library of the server's that runs in it. */
function knownPlugin(rest: readonly Token[]): string | undefined {
  const at = rest.findIndex(({ kind, text }) => kind === "word" && /^logical$/i.test(text));
  if (at < 0) return undefined;
  const plugin = rest[at + 1];
  const name = plugin?.kind === "word" ? plugin.text.toLowerCase() : (plugin?.text ?? "");
  return PLUGINS.has(name) ? undefined : `the output plugin ${JSON.stringify(name)} is not known`;
}

const PLUGINS = new Set(["pgoutput", "test_decoding", "wal2json", "decoderbufs"]);

/** A backup can be written to the server's own disk, which is its files with its rights. */
function toClient(rest: readonly Token[]): string | undefined {
  for (const [index, { kind, text }] of rest.entries()) {
    if ((kind !== "word" && kind !== "quoted") || !/^target(_detail)?$/i.test(text)) continue;
    const value = rest[index + 1];
    const isClient = value?.kind === "string" && value.text.toLowerCase() === "client";
    if (text.toLowerCase() !== "target" || !isClient)
      return "a base backup goes to the client that asks for it";
  }
  return undefined;
}

function shown(rest: readonly Token[]): string | undefined {
  const name = rest.map(({ text }) => text).join("");
  return mayShow(name) ? undefined : `SHOW ${name} is not permitted`;
}

function refused(why: string): ReplicationCommand {
  return { ok: false, why };
}

const SECURE_PATH = "SELECT pg_catalog.set_config('search_path', '', false);";
