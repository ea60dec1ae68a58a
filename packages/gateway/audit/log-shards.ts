// Shards of the log (evidence/core/log-shard.ts) as the gateway makes them: which one is due, and where each
// is. Their order is that of their names; time never leads back to one that was left.

import { join } from "node:path";
import type { Checkpoint } from "@custody/evidence/core/checkpoint.ts";
import { formatKey, parseKey } from "@custody/evidence/core/note.ts";
import { type LogShard, readShards } from "@custody/evidence/node/log-shards.ts";
import { GatewayError } from "../base/errors.ts";
import type { ShardPeriod } from "../config/config.ts";
import type { LogKey } from "./log-key.ts";

export interface LogSharding {
  readonly period: ShardPeriod;
  readonly nowMs: () => number;
}

export function logDirectory(dataDirectory: string): string {
  return join(dataDirectory, "log");
}

/** The unsharded log lies in the folder itself. */
export function shardDirectory(dataDirectory: string, shard: string): string {
  return join(logDirectory(dataDirectory), shard);
}

/**
 * The shard that is due after `current` ("" for the unsharded log, undefined for none); undefined while the
 * current one is. UTC. Where months become years in the middle of one, its months are gone on with: the year
 * would be one that has begun in another way.
 */
export function shardDue(
  current: string | undefined,
  { period, nowMs }: LogSharding,
): string | undefined {
  const month = new Date(nowMs()).toISOString().slice(0, 7);
  const year = month.slice(0, 4);
  if (current === undefined || current === "") return period === "year" ? year : month;
  const isMonthOfThisYear = current.startsWith(`${year}-`);
  const due = period === "year" && !isMonthOfThisYear ? year : month;
  // A year goes on to its end; and clocks may be set back.
  return due > current && !due.startsWith(current) ? due : undefined;
}

/** What is shown outside: a log, or each of its shards. */
export interface ShardHead {
  readonly name: string;
  readonly directory: string;
  /** Its own. */
  readonly key: LogKey;
  /** As it is published; undefined: nothing was. */
  readonly published: { readonly note: string; readonly checkpoint: Checkpoint } | undefined;
  /** Records in the shards before it. */
  readonly before: number;
}

export interface LogFolder {
  readonly logDirectory: string;
  /** Of the log without its shards. */
  readonly key: LogKey;
  readonly sharding?: LogSharding | undefined;
}

export function publishedHeads({ logDirectory, key }: LogFolder): ShardHead[] {
  return readShards(logDirectory).map(({ name, directory, note, checkpoint, before }) => ({
    ...{ name, directory, before, key: key.shard(name), published: { note, checkpoint } },
  }));
}

/** Those and what is not there, of which somebody outside may have seen something. */
export function expectedHeads(log: LogFolder): ShardHead[] {
  const heads = publishedHeads(log);
  const add = (name: string): void => {
    const directory = join(log.logDirectory, name);
    heads.push({ name, directory, key: log.key.shard(name), published: undefined, before: 0 });
  };
  if (heads.length === 0) add("");
  const due = log.sharding && shardDue(heads.at(-1)?.name, log.sharding);
  if (due !== undefined) add(due);
  return heads;
}

export interface ListedShard {
  /** "" for a log that is not in shards. */
  readonly name: string;
  readonly origin: string;
  /** The log's key under the shard's name. */
  readonly vkey: string;
  readonly size: number;
  readonly before: number;
  /** Another has followed: it does not grow. */
  readonly closed: boolean;
}

/** For who fetches them. Throws GatewayError "evidence_unavailable". */
export function listShards(logDirectory: string, vkey: string): ListedShard[] {
  const key = parseKey(vkey.trim());
  let shards: readonly LogShard[];
  try {
    shards = readShards(logDirectory);
  } catch (cause) {
    throw new GatewayError("evidence_unavailable", "the log cannot be read", { cause });
  }
  return shards.map(({ name, checkpoint: { origin, size }, before }, at) => ({
    ...{ name, origin, size, before },
    vkey: formatKey(origin, key.type, key.publicKey),
    closed: at < shards.length - 1,
  }));
}
