// From what the domains keep to what the contract shows. Nothing is shown that is not named here: no
// verifier, no binding.

import type { DelegationView, TargetView } from "@custody/contract/delegations.ts";
import type { ApprovalRequestView } from "@custody/contract/requests.ts";
import type { SessionView } from "@custody/contract/sessions.ts";
import type { AuthorizationDetails, HopView } from "@custody/contract/shapes.ts";
import { approvalsFor, forWhom } from "../approval/approvals.ts";
import type { Eligibility } from "../approval/eligibility.ts";
import type { ApprovalRequest } from "../approval/request.ts";
import type { Chain } from "../delegation/chain.ts";
import { type Grant, grantToDetails } from "../delegation/grant.ts";
import type { DelegationNode } from "../delegation/node.ts";
import type { NodeStatus } from "../delegation/tree.ts";
import type { LiveSession } from "../session/registry.ts";
import type { SessionRow } from "../session/store.ts";
import { classesOf, type Target } from "../target/target.ts";

export function chainView(chain: Chain): HopView[] {
  return chain.hops.map((hop) => ({
    delegationId: hop.delegationId,
    kind: hop.kind,
    id: hop.id,
    name: hop.name,
    subject: hop.subject,
    provenance: hop.provenance,
    expiresAt: iso(hop.expiresAtMs),
  }));
}

export function grantView(grant: Grant): AuthorizationDetails {
  return grantToDetails(grant).map((detail) => ({ ...detail, type: "custody" as const }));
}

export function delegationView(
  node: DelegationNode,
  status: NodeStatus,
  liveSessions: number,
): DelegationView {
  const { revocation } = node;
  return {
    id: node.id,
    parent: node.parentId ?? null,
    root: node.rootId,
    depth: node.depth,
    kind: node.kind,
    actor: node.entityId,
    name: node.name,
    subject: node.subject,
    groups: [...node.groups],
    groupsAt: iso(node.groupsAtMs),
    provenance: node.provenance,
    grant: node.grant === undefined ? null : grantView(node.grant),
    keyThumbprint: node.key?.jkt ?? null,
    offlineChildren: node.offlineChildren,
    status,
    createdAt: iso(node.createdAtMs),
    expiresAt: iso(node.expiresAtMs),
    renewableUntil: iso(node.renewableUntilMs),
    revokedAt: revocation === undefined ? null : iso(revocation.atMs),
    revokedBy: revocation?.by ?? null,
    revokeReason: revocation?.reason ?? null,
    liveSessions,
  };
}

export function targetView(target: Target): TargetView {
  const accounts = target.accounts.map(({ name }) => name);
  return {
    name: target.name,
    protocol: target.protocol,
    accounts,
    defaultAccount: accounts.length === 1 ? (accounts[0] ?? null) : null,
    databases:
      target.protocol === "postgres" && target.databases !== undefined
        ? [...target.databases]
        : null,
    classes: [...classesOf(target)],
    tags: { ...target.tags },
  };
}

export function requestView(request: ApprovalRequest, may: Eligibility): ApprovalRequestView {
  const isWaiting = request.state === "waiting";
  return {
    id: request.id,
    state: request.state,
    what: request.what,
    binding: request.binding,
    command: request.command,
    commandTruncated: request.commandTruncated,
    parameters: [...request.parameters],
    // Who asked may know less of the target than who approves.
    preview: may.ok ? (request.preview ?? []).map((part) => ({ ...part })) : [],
    target: request.target,
    account: request.account,
    sessionId: request.sessionId,
    requestId: request.requestId,
    chain: chainView(request.chain),
    justification: request.justification ?? null,
    requirements: request.requirements.map((requirement) => ({
      policyId: requirement.policyId,
      message: requirement.message ?? null,
      quorum: requirement.quorum,
      approvers: [...requirement.approvers],
      approvals: approvalsFor(request, requirement.policyId),
    })),
    forWhom: forWhom(request.requirements),
    votes: request.votes.map((vote) => ({
      by: vote.entityId,
      person: vote.person,
      vote: vote.vote,
      reason: vote.reason ?? null,
      at: iso(vote.atMs),
    })),
    createdAt: iso(request.createdAtMs),
    expiresAt: iso(request.expiresAtMs),
    endedAt: request.endedAtMs === undefined ? null : iso(request.endedAtMs),
    mayVote: isWaiting && may.ok,
    whyNot: may.ok ? (isWaiting ? null : `it is ${request.state}`) : may.why,
  };
}

/** `live`: what the registry knows, which may have been renewed since the row was written. */
export function sessionView(row: SessionRow, live: LiveSession | undefined): SessionView {
  return {
    id: row.id,
    state: row.closedAtMs === undefined ? "live" : "closed",
    protocol: row.protocol,
    target: row.target,
    account: row.account,
    database: row.database,
    clientAddress: row.clientAddress,
    delegationId: row.delegationId,
    chain: chainView(row.chain),
    openedAt: iso(row.openedAtMs),
    closedAt: row.closedAtMs === undefined ? null : iso(row.closedAtMs),
    closeReason: row.closeReason ?? null,
    expiresAt: iso(live?.expiresAtMs ?? row.expiresAtMs),
  };
}

function iso(atMs: number): string {
  return new Date(atMs).toISOString();
}
