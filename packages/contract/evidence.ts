// Evidence to take away: what is asked for, and the parts it comes in. A bundle's format is
// packages/evidence/core/bundle.ts.

import { z } from "zod";
import { sessionIdSchema, timeSchema } from "./shapes.ts";

export const evidenceScopeSchema = z.union([
  z.strictObject({ session: sessionIdSchema }),
  z.strictObject({ request: z.string().regex(/^r-[a-z0-9]{4,32}-[0-9]{1,12}$/) }),
  /** A root's stable subject, or the id of its delegation. */
  z.strictObject({ root: z.string().min(1).max(512) }),
  z.strictObject({ between: z.tuple([timeSchema, timeSchema]) }),
]);

const recordSchema = z.object({
  index: z.number().int().nonnegative(),
  leaf: z.string(),
  proof: z.array(z.string()),
});

export const evidencePartSchema = z.discriminatedUnion("part", [
  z.object({ part: z.literal("record"), record: recordSchema }),
  z.object({ part: z.literal("piece"), session: sessionIdSchema, bytes: z.string() }),
  z.object({ part: z.literal("key"), session: sessionIdSchema, key: z.string() }),
  z.object({
    part: z.literal("policies"),
    digest: z.string().regex(/^[0-9a-f]{64}$/),
    archived: z.object({ schema: z.string(), policies: z.array(z.string()) }),
  }),
  z.object({ part: z.literal("checkpoint"), text: z.string() }),
  z.object({
    part: z.literal("manifest"),
    manifest: z.object({
      format: z.literal("custody-evidence/1"),
      scope: z.looseObject({}),
      origin: z.string(),
      exported: recordSchema,
      seams: z.array(recordSchema).optional(),
      records: z.array(z.tuple([z.int(), z.int()])).optional(),
      withheld: z.record(z.string(), z.string()),
    }),
  }),
]);
export type EvidencePartView = z.infer<typeof evidencePartSchema>;

/** A log that is not in shards is one, named "". */
export const logShardSchema = z.object({
  name: z.string(),
  origin: z.string(),
  /** The log's key under the shard's name. */
  vkey: z.string(),
  size: z.number().int().nonnegative(),
  /** Records in the shards before it. */
  before: z.number().int().nonnegative(),
  /** Another has followed: it does not grow. */
  closed: z.boolean(),
});
export type LogShardView = z.infer<typeof logShardSchema>;
export const logShardsSchema = z.object({ shards: z.array(logShardSchema) });

/** One session, or all that one root has done, by its stable subject. */
export const erasureSchema = z.union([
  z.strictObject({ session: sessionIdSchema }),
  z.strictObject({ subject: z.string().min(1).max(512) }),
]);
export const erasedSchema = z.object({ sessions: z.number().int().nonnegative() });
