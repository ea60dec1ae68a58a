// Shards of the log (evidence/core/log-shard.ts) as the gateway makes them: which one is due, and where each
// is. Their order is that of their names; time never leads back to one that was left.

import { join } from "node:path";
import type { ShardPeriod } from "../config/config.ts";

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
