// Shapes that several endpoints of the control API share. Browser-safe: zod and nothing else.
// Responses are read with unknown keys allowed and dropped, so that an older client understands a
// newer gateway; requests are strict, so that a misspelt key is an error and never ignored.

import { z } from "zod";

/** ISO 8601, UTC. */
export const timeSchema = z.iso.datetime();

export const delegationIdSchema = z.string().regex(/^d-[0-9a-z]{4,32}$/);
export const sessionIdSchema = z.string().regex(/^s-[0-9a-z]{4,32}$/);
export const holdIdSchema = z.string().regex(/^h-[0-9a-z]{4,32}$/);

/** What people write when they approve, deny, revoke or end something. */
export const reasonSchema = z.string().trim().min(1).max(1000);

export const API_ERROR_CODES = [
  "protocol",
  "tls_required",
  "unauthenticated",
  "forbidden",
  "invalid",
  "not_found",
  "limit",
  "target_unavailable",
  "dependency_unavailable",
  "evidence_unavailable",
  "revoked",
  "shutdown",
  "idle",
  "configuration",
  "internal",
] as const;

/** Every error outside the OAuth endpoints. */
export const apiErrorSchema = z.object({
  error: z.object({
    code: z.enum(API_ERROR_CODES),
    message: z.string(),
    /** What to do next. */
    hint: z.string().optional(),
    requestId: z.string().optional(),
  }),
});
export type ApiError = z.infer<typeof apiErrorSchema>;

export const provenanceSchema = z.enum(["attested", "possession", "bearer", "asserted"]);
export const hopKindSchema = z.enum(["user", "workload", "agent"]);

/** One step of a chain, root first. */
export const hopSchema = z.object({
  delegationId: delegationIdSchema,
  kind: hopKindSchema,
  /** `corp/engineer@example.com`; agents: the delegation id. */
  id: z.string(),
  name: z.string(),
  subject: z.string(),
  provenance: provenanceSchema,
  expiresAt: timeSchema,
});
export type HopView = z.infer<typeof hopSchema>;

export const chainSchema = z.array(hopSchema).min(1);

/**
 * RFC 9396 authorization details of type "custody", as a grant is spelt on the wire. What the values
 * may be is checked by the gateway (delegation/grant.ts), which names the first thing that does not fit.
 */
export const authorizationDetailSchema = z.looseObject({ type: z.literal("custody") });
export const authorizationDetailsSchema = z.array(authorizationDetailSchema).max(32);
export type AuthorizationDetails = z.infer<typeof authorizationDetailsSchema>;

/** What a target speaks. */
export const protocolSchema = z.enum(["postgres", "ssh", "kubernetes"]);
