// Requests for approval: one exact operation of one chain that waits for people.

import { z } from "zod";
import { chainSchema, holdIdSchema, reasonSchema, sessionIdSchema, timeSchema } from "./shapes.ts";

export const requestStateSchema = z.enum([
  "waiting",
  /** Approved and not used yet. */
  "approved",
  /** Approved and used: it ran, or was let go to run. */
  "spent",
  "denied",
  "expired",
  /** The chain that asked was revoked. */
  "revoked",
]);
export type RequestState = z.infer<typeof requestStateSchema>;

export const requirementSchema = z.object({
  policyId: z.string(),
  message: z.string().nullable(),
  quorum: z.number().int().positive(),
  /** Groups of which an approver must be a member of one; empty: whoever may approve. */
  approvers: z.array(z.string()),
  /** Persons whose approval counts for this requirement. */
  approvals: z.number().int().nonnegative(),
});

export const voteSchema = z.object({
  /** The approver's entity id, `corp/dba1@example.com`. */
  by: z.string(),
  person: z.string(),
  vote: z.enum(["approve", "deny"]),
  reason: z.string().nullable(),
  at: timeSchema,
});

export const approvalRequestSchema = z.object({
  id: holdIdSchema,
  state: requestStateSchema,
  /** `delete on table public.orders` */
  what: z.string(),
  /** The exact command, for who may approve it and for the chain that asked. */
  command: z.string(),
  /** true: the command is longer than what is shown. */
  commandTruncated: z.boolean(),
  parameters: z.array(z.string().nullable()),
  /** What it would change, a rehearsal of it: for who may vote, classified values masked. */
  preview: z.array(z.object({ title: z.string(), text: z.string() })).default([]),
  target: z.string(),
  account: z.string(),
  sessionId: sessionIdSchema,
  /** `r-…`: the command that opened it. */
  requestId: z.string(),
  chain: chainSchema,
  justification: z.string().nullable(),
  requirements: z.array(requirementSchema),
  /** `a member of corp/dba` */
  forWhom: z.string(),
  votes: z.array(voteSchema),
  createdAt: timeSchema,
  /** An approval is honoured until then. */
  expiresAt: timeSchema,
  endedAt: timeSchema.nullable(),
  /** What an approval is bound to, for who signs their vote. */
  binding: z.string(),
  /** Whether the caller may vote on it now; when not, why. */
  mayVote: z.boolean(),
  whyNot: z.string().nullable(),
});
export type ApprovalRequestView = z.infer<typeof approvalRequestSchema>;

export const requestListQuerySchema = z.strictObject({ state: requestStateSchema.optional() });
export const requestListSchema = z.object({
  /** Each with the beginning of its command. */
  requests: z.array(approvalRequestSchema),
  /** So many more there are: of a root that has a hundred here, or of all when five hundred are here. */
  left: z.number().int().optional(),
});
export const voteBodySchema = z.strictObject({
  reason: reasonSchema.optional(),
  /** `custody-vote+jwt`, for who holds a key; required where the sign-in is bound to one. */
  statement: z.string().max(4096).optional(),
});
