// A log in shards: one C2SP log for each year (or month), one after the other, each with an origin of its own
// (`custody.example/log/2027`), a folder of its own (`2027/`) and the same key under its own name. The seam is
// two records: the last of a shard, `log.closed`, names the next one; the first of the next, `log.opened`,
// names the one before with its final size and root. So the head of the newest shard vouches for all of them.
//
// A log that was not always in shards begins with one whose name is empty: in the folder itself.

import { fromBase64, toBase64 } from "./base64.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Leaf, LeafFields } from "./leaf.ts";
import { formatKey, type NoteKey, parseKey } from "./note.ts";

/** A year, or a month. Their order as text is that of the shards. */
const SHARD_NAME = /^[0-9]{4}(?:-(?:0[1-9]|1[0-2]))?$/;
const SHARD_AT_END = /\/([0-9]{4}(?:-(?:0[1-9]|1[0-2]))?)$/;

/** The `worker` of a log's own records; no journal has this number. */
export const LOG_WORKER = 0xffff_ffff;

export function isShardName(name: string): boolean {
  return SHARD_NAME.test(name);
}

/** The one that follows where time passes and nobody changes the period. */
export function shardNext(name: string): string {
  const [year, month] = name.split("-").map(Number) as [number, number?];
  if (month === undefined) return padded(year + 1, 4);
  return month === 12 ? `${padded(year + 1, 4)}-01` : `${padded(year, 4)}-${padded(month + 1, 2)}`;
}

function padded(value: number, digits: number): string {
  return String(value).padStart(digits, "0");
}

export function shardOrigin(base: string, shard: string): string {
  return shard === "" ? base : `${base}/${shard}`;
}

/** The origin without its shard, and the shard; "" when it has none. */
export function splitOrigin(origin: string): { readonly base: string; readonly shard: string } {
  const shard = SHARD_AT_END.exec(origin)?.[1] ?? "";
  return { base: shard === "" ? origin : origin.slice(0, -shard.length - 1), shard };
}

/** The same key under another name: what of a log's keys is kept from shard to shard. */
export function keyNamed(key: NoteKey, name: string): NoteKey {
  return key.name === name ? key : parseKey(formatKey(name, key.type, key.publicKey));
}

/** The keys with which the log of this origin is verified: those of its name, its other shards' included. */
export function keysOf(keys: readonly NoteKey[], origin: string): NoteKey[] {
  const { base } = splitOrigin(origin);
  return keys
    .filter(({ name }) => [origin, base].includes(name) || splitOrigin(name).base === base)
    .map((key) => keyNamed(key, origin));
}

/**
 * The keys among these that are of the log with this origin. One named `<log>/*` is of all shards of a log: for
 * witnesses, which are to know the next one before it begins.
 */
export function keysKnown(keys: readonly NoteKey[], origin: string): NoteKey[] {
  const { base, shard } = splitOrigin(origin);
  return keys
    .filter(({ name }) => name === origin || (shard !== "" && name === shardOrigin(base, "*")))
    .map((key) => keyNamed(key, origin));
}

/** What `log.opened` says. */
export interface ShardBegin {
  /** undefined: there was none before. */
  readonly previous: Checkpoint | undefined;
  /** Records in all shards before this one. */
  readonly before: number;
  /** By worker: the number of its last record before this shard. */
  readonly workers: ReadonlyMap<number, number>;
}

export function openedLeaf(begin: ShardBegin): LeafFields {
  const { previous, before, workers } = begin;
  if (previous === undefined) return { event: "log.opened", detail: { before: 0 } };
  const { origin, size, root } = previous;
  return {
    event: "log.opened",
    detail: {
      ...{ before, previous: origin, size, root: toBase64(root) },
      workers: [...workers].sort(([one], [other]) => one - other).map((pair) => pair.join(":")),
    },
  };
}

export function closedLeaf(next: string): LeafFields {
  return { event: "log.closed", detail: { next } };
}

/** undefined for every leaf that is not exactly what `openedLeaf` gives. */
export function readOpened(leaf: Leaf): ShardBegin | undefined {
  if (leaf.event !== "log.opened" || leaf.worker !== LOG_WORKER) return undefined;
  const { before, previous, size, root, workers } = leaf.detail ?? {};
  if (typeof before !== "number" || !Number.isSafeInteger(before) || before < 0) return undefined;
  if (previous === undefined) {
    return before === 0 ? { previous, before, workers: new Map() } : undefined;
  }
  const hash = typeof root === "string" ? fromBase64(root) : undefined;
  if (typeof previous !== "string" || typeof size !== "number" || hash?.length !== 32) {
    return undefined;
  }
  if (!Number.isSafeInteger(size) || size < 1 || size > before) return undefined;
  const numbers = readWorkers(workers);
  if (numbers === undefined) return undefined;
  return { previous: { origin: previous, size, root: hash }, before, workers: numbers };
}

/** The origin of the next shard. */
export function readClosed(leaf: Leaf): string | undefined {
  if (leaf.event !== "log.closed" || leaf.worker !== LOG_WORKER) return undefined;
  const next = leaf.detail?.next;
  return typeof next === "string" && splitOrigin(next).shard !== "" ? next : undefined;
}

function readWorkers(value: unknown): Map<number, number> | undefined {
  if (!Array.isArray(value)) return undefined;
  const workers = new Map<number, number>();
  for (const pair of value as string[]) {
    const match = /^(0|[1-9][0-9]{0,9}):([1-9][0-9]{0,15})$/.exec(pair);
    if (match === null || workers.has(Number(match[1]))) return undefined;
    workers.set(Number(match[1]), Number(match[2]));
  }
  return workers;
}
