// What stands in the way of a command, or would: of one that was refused, and of one that is only asked
// about. No text of SQL and no value is in it.

import { z } from "zod";
import { delegationIdSchema, sessionIdSchema, timeSchema } from "./shapes.ts";

export const adviceSchema = z.object({
  text: z.string(),
  /** What somebody could type; who, is in the text. */
  command: z.string().nullable(),
});

const refusal = {
  /** `delete on table public.orders` */
  what: z.string(),
  /** What the client was told; null when it waits for people. */
  message: z.string().nullable(),
  policyId: z.string().nullable(),
  /** `depth 2, agent reviewer`: where it failed. */
  hop: z.string().nullable(),
  requirements: z.array(
    z.object({
      policyId: z.string(),
      message: z.string().nullable(),
      quorum: z.number().int().positive(),
      approvers: z.array(z.string()),
    }),
  ),
  advice: z.array(adviceSchema),
};

export const denialSchema = z.object({
  requestId: z.string(),
  sessionId: sessionIdSchema,
  at: timeSchema,
  target: z.string(),
  account: z.string(),
  state: z.enum(["denied", "held"]),
  ...refusal,
});
export type DenialView = z.infer<typeof denialSchema>;

export const explainBodySchema = z.strictObject({
  /** Of a database: with `database`, and without `command`. */
  sql: z.string().min(1).max(65_536).optional(),
  database: z.string().min(1).max(63).optional(),
  /** Of a host: a line as a client of SSH would send it. */
  command: z.string().min(1).max(65_536).optional(),
  /** The default is the target's only account. */
  account: z.string().max(63).optional(),
  justification: z.string().max(1000).optional(),
  /** Of a delegation at or below the caller's, or any for who administers; default: the caller's own. */
  delegation: delegationIdSchema.optional(),
});

export type ExplainBody = z.infer<typeof explainBodySchema>;

export const explanationSchema = z.object({
  verdict: z.enum(["permit", "deny", "hold"]),
  /** `select table public.orders`, one for each thing it does; empty when it was not understood. */
  effects: z.array(z.string()),
  /** Classes of which it would return values, masked. */
  masked: z.array(z.string()),
  ...refusal,
});
export type Explanation = z.infer<typeof explanationSchema>;
