// Delegations as the API shows them: nodes of the tree, who one is, what can be reached.

import { z } from "zod";
import {
  authorizationDetailsSchema,
  delegationIdSchema,
  hopKindSchema,
  hopSchema,
  protocolSchema,
  provenanceSchema,
  reasonSchema,
  timeSchema,
} from "./shapes.ts";

export const delegationStatusSchema = z.enum(["active", "expired", "revoked"]);

export const delegationSchema = z.object({
  id: delegationIdSchema,
  /** null at the root. */
  parent: delegationIdSchema.nullable(),
  root: delegationIdSchema,
  depth: z.number().int().nonnegative(),
  kind: hopKindSchema,
  actor: z.string(),
  name: z.string(),
  subject: z.string(),
  groups: z.array(z.string()),
  /** When the provider vouched for these groups. */
  groupsAt: timeSchema,
  provenance: provenanceSchema,
  /** null at the root, which may ask for whatever policies permit it. */
  grant: authorizationDetailsSchema.nullable(),
  /** RFC 7638 thumbprint of the key it is bound to; null: to none. */
  keyThumbprint: z.string().nullable().default(null),
  /** At a root: holders of keys below it may sign children without asking first. */
  offlineChildren: z.boolean().default(false),
  status: delegationStatusSchema,
  createdAt: timeSchema,
  expiresAt: timeSchema,
  /** Renewal goes no further than this. */
  renewableUntil: timeSchema,
  revokedAt: timeSchema.nullable(),
  revokedBy: z.string().nullable(),
  revokeReason: z.string().nullable(),
  /** Live sessions at or below this node. */
  liveSessions: z.number().int().nonnegative(),
});

/** One delegation, with what can be checked about it by whoever holds its parent's public key. */
export const delegationDetailSchema = delegationSchema.extend({
  /** The public key that it is bound to, as a JWK; null: none. */
  key: z.record(z.string(), z.string()).nullable().default(null),
  /** What the parent signed about this hop (compact JWS); null: the parent has no key. */
  statement: z.string().nullable().default(null),
});
export type DelegationView = z.infer<typeof delegationSchema>;

/** Parents come before their children. */
export const delegationListSchema = z.object({
  delegations: z.array(delegationSchema),
  /** true when there are more than the gateway lists at once. */
  truncated: z.boolean(),
});

export const whoamiSchema = z.object({
  delegation: delegationSchema,
  /** Each hop with what it may do, for the chain it is of; null at the root. */
  chain: z
    .array(hopSchema.extend({ grant: authorizationDetailsSchema.nullable().default(null) }))
    .min(1),
  /** The person an operator linked this account to; null: not linked, so cannot approve. */
  person: z.string().nullable(),
  administrator: z.boolean(),
});
export type Whoami = z.infer<typeof whoamiSchema>;

export const revokeDelegationBodySchema = z.strictObject({ reason: reasonSchema.optional() });
export const revokeDelegationResponseSchema = z.object({
  delegation: delegationSchema,
  /** Delegations that this call revoked, the named one included. */
  revoked: z.number().int().nonnegative(),
  sessionsEnded: z.number().int().nonnegative(),
});

export const renewBodySchema = z.strictObject({
  /** Seconds from now; the default is the time the delegation was given first. */
  expiresIn: z.number().int().positive().max(999_999_999).optional(),
});
export const renewResponseSchema = z.object({
  delegation: delegationSchema,
  /** A fresh JWT, only for who renews itself with a JWT. Handles stay as they are. */
  accessToken: z.string().optional(),
});

export const targetSchema = z.object({
  name: z.string(),
  protocol: protocolSchema,
  accounts: z.array(z.string()).min(1),
  /** The account one gets without naming one; null: one has to be named. */
  defaultAccount: z.string().nullable(),
  /** null: whatever the target has. */
  databases: z.array(z.string()).nullable(),
  /** Classes of sensitive values that are known on it. */
  classes: z.array(z.string()),
  tags: z.record(z.string(), z.string()),
});
export type TargetView = z.infer<typeof targetSchema>;

const listenerSchema = z.object({ host: z.string(), port: z.number().int() });

export const targetListSchema = z.object({
  targets: z.array(targetSchema),
  /** Where clients connect, by protocol. */
  listeners: z.object({
    postgres: listenerSchema.optional(),
    ssh: listenerSchema.optional(),
    kubernetes: listenerSchema.optional(),
  }),
});
