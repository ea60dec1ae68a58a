// What differs between two objects of a cluster, member by member, as people read it: `- path: value` of
// what goes, `+ path: value` of what comes. Elements of a list are told apart by their names where all have
// one, as Kubernetes' own lists do, else by their place.

import { isObject, type Json, type JsonObject } from "./json-text.ts";

/** What the server keeps for itself, which no request is about. */
const KEPT_BY_SERVER = new Set([
  ...["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"],
]);
const MAX_LINES = 300;
const MAX_VALUE_LENGTH = 240;
const MAX_DEPTH = 64;

/** undefined: there is none. Lines, bounded; empty: they are the same. */
export function diffObjects(before: Json | undefined, after: Json | undefined): string {
  const lines: string[] = [];
  compare(plain(before), plain(after), "", 0, lines);
  if (lines.length <= MAX_LINES) return lines.join("\n");
  return [...lines.slice(0, MAX_LINES), `… and ${lines.length - MAX_LINES} lines more`].join("\n");
}

function plain(value: Json | undefined): Json | undefined {
  if (!isObject(value) || !isObject(value.metadata)) return value;
  const kept = Object.entries(value.metadata).filter(([name]) => !KEPT_BY_SERVER.has(name));
  return { ...value, metadata: Object.fromEntries(kept) };
}

function compare(
  before: Json | undefined,
  after: Json | undefined,
  path: string,
  depth: number,
  lines: string[],
): void {
  if (lines.length > MAX_LINES * 4) return;
  const [one, other] = [membersOf(before), membersOf(after)];
  const isNested = one !== undefined || other !== undefined;
  const isLeafToo = (value: Json | undefined, members: unknown) =>
    value !== undefined && members === undefined;
  if (!isNested || depth > MAX_DEPTH || isLeafToo(before, one) || isLeafToo(after, other)) {
    const [was, is] = [before, after].map((value) =>
      value === undefined ? undefined : JSON.stringify(value),
    );
    if (was === is) return;
    if (was !== undefined) lines.push(`- ${path || "."}: ${shortened(was)}`);
    if (is !== undefined) lines.push(`+ ${path || "."}: ${shortened(is)}`);
    return;
  }
  for (const name of new Set([...(one?.keys() ?? []), ...(other?.keys() ?? [])])) {
    const step = name.startsWith("[") || path === "" ? name : `.${name}`;
    compare(one?.get(name), other?.get(name), path + step, depth + 1, lines);
  }
}

/** Of an object or a list that has any; undefined for everything else. */
function membersOf(value: Json | undefined): ReadonlyMap<string, Json> | undefined {
  if (Array.isArray(value)) {
    const list = value as readonly Json[];
    if (list.length === 0) return undefined;
    const names = elementNames(list);
    return new Map(list.map((one, index) => [`[${names?.[index] ?? index}]`, one]));
  }
  if (!isObject(value) || Object.keys(value).length === 0) return undefined;
  return new Map(Object.entries(value).map(([name, one]) => [member(name), one]));
}

/** A name with dots in it, as labels and annotations have, is told apart from a path. */
function member(name: string): string {
  return /^[A-Za-z0-9_$-]+$/.test(name) ? name : `[${JSON.stringify(name)}]`;
}

/** undefined: not all of them have a name of their own. */
export function elementNames(list: readonly Json[]): readonly string[] | undefined {
  const names = list.map((one) => (isObject(one) ? nameOf(one) : undefined));
  if (names.some((name) => name === undefined) || new Set(names).size !== names.length)
    return undefined;
  return names as readonly string[];
}

function nameOf({ name }: JsonObject): string | undefined {
  return typeof name === "string" ? name : undefined;
}

function shortened(text: string): string {
  return text.length <= MAX_VALUE_LENGTH ? text : `${text.slice(0, MAX_VALUE_LENGTH)}…`;
}
