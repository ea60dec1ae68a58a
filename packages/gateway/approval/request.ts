// A request for approval as it is stored, and what approvals ask of a store.

import type { Requirement } from "../access/operation.ts";
import type { Chain } from "../delegation/chain.ts";

export type RequestState = "waiting" | "approved" | "spent" | "denied" | "expired" | "revoked";

/** What an approver is shown besides the command: what it would change, what a rehearsal of it gave. */
export interface PreviewPart {
  readonly title: string;
  /** Lines; a classified value never. */
  readonly text: string;
}

export interface Vote {
  readonly person: string;
  /** The account it was given with. */
  readonly entityId: string;
  /** The sign-in it was given with; undefined: from before that was kept, and it counts no more. */
  readonly delegationId: string | undefined;
  readonly vote: "approve" | "deny";
  /** Requirements, by policy id, that the voter was entitled to meet. */
  readonly policyIds: readonly string[];
  readonly reason: string | undefined;
  readonly atMs: number;
}

export interface ApprovalRequest {
  readonly id: string;
  readonly binding: string;
  /** The leaf of the chain that asks. */
  readonly delegationId: string;
  readonly chain: Chain;
  readonly sessionId: string;
  readonly requestId: string;
  readonly target: string;
  readonly account: string;
  readonly what: string;
  readonly command: string;
  readonly commandTruncated: boolean;
  readonly parameters: readonly (string | null)[];
  /** For who may vote, and nobody else. */
  readonly preview?: readonly PreviewPart[] | undefined;
  readonly requirements: readonly Requirement[];
  readonly justification: string | undefined;
  readonly state: RequestState;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly endedAtMs: number | undefined;
  readonly votes: readonly Vote[];
}

/** In the order of a list. */
export type RequestPlace = Pick<ApprovalRequest, "createdAtMs" | "id">;

/** All synchronous; each may throw GatewayError "dependency_unavailable" and has then changed nothing. */
export interface ApprovalStore {
  atomically<Result>(work: () => Result): Result;
  insert(request: ApprovalRequest): void;
  find(id: string): ApprovalRequest | undefined;
  /** Waiting or approved, of this binding and leaf delegation. */
  findLive(binding: string, delegationId: string): ApprovalRequest | undefined;
  countLive(delegationId: string): number;
  /** Newest first, from behind `after` on; at most `limit`. */
  list(
    state: RequestState | undefined,
    limit: number,
    after?: RequestPlace,
  ): readonly ApprovalRequest[];
  /** Waiting or approved past their time; at most `limit`. */
  overdue(nowMs: number, limit: number): readonly ApprovalRequest[];
  /** Waiting or approved, of a chain that holds this delegation; at most `limit`. */
  liveUnder(delegationId: string, limit: number): readonly ApprovalRequest[];
  /** false: this person has voted on it. */
  addVote(id: string, vote: Vote): boolean;
  /** Changes the state if it is `from` now; true when it did. */
  move(id: string, from: RequestState, to: RequestState, endedAtMs: number | undefined): boolean;
  /** Approved, of this binding and not past its time → spent; true once. */
  spend(id: string, binding: string, nowMs: number): boolean;
}
