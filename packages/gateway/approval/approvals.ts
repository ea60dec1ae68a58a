// Requests for approval: opened by a session that has to wait, voted on by people, spent once.
//
// A request is bound to one exact operation (`binding`, made by the session that asks) of one leaf
// delegation; the same operation asked for again finds its request. Votes are kept by requirement: a
// request is approved when each requirement has its quorum of distinct persons.
//
// Owns who waits on the wire; everything else is the store's. Every change is written before anybody
// hears of it.

import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { readVoteStatement } from "@custody/evidence/node/vote-statement.ts";
import type { Requirement } from "../access/operation.ts";
import type { Journal } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { newId, type RandomBytes } from "../base/ids.ts";
import { type Chain, leafOf } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { People } from "../identity/people.ts";
import type { Hold, HoldRequest, HoldState } from "../session/control.ts";
import { type Eligibility, eligibility, type MayApprove } from "./eligibility.ts";
import type {
  ApprovalRequest,
  ApprovalStore,
  RequestPlace,
  RequestState,
  Vote,
} from "./request.ts";

export interface ApprovalDeps {
  readonly store: ApprovalStore;
  readonly chains: {
    /** Of a live session; undefined when there is no such session. */
    readonly ofSession: (sessionId: string) => Chain | undefined;
    /** Of a delegation, expired or not; undefined when it, or one above it, was revoked. */
    readonly unrevoked: (delegationId: string) => Chain | undefined;
  };
  /** A reload gives others. */
  readonly people: () => People;
  readonly mayApprove: MayApprove;
  readonly journal: Journal;
  readonly outside: {
    readonly clock: Clock;
    readonly random: RandomBytes;
    readonly holdsPerDelegation: number;
    /** A fault of ours that no caller waits for. */
    readonly onFault: (thrown: unknown) => void;
  };
}

type OnChange = (state: HoldState) => void;

/** What comes with a vote. */
export interface VoteGiven {
  readonly reason?: string | undefined;
  /** evidence/node/vote-statement.ts; required where the approver's delegation is bound to a key. */
  readonly statement?: string | undefined;
  /** Thumbprint of that key; undefined: it is bound to none. */
  readonly key?: string | undefined;
}

export interface Approvals extends Disposable {
  /** Throws GatewayError: not_found, invalid, limit, dependency_unavailable. */
  request(asked: HoldRequest, onChange: OnChange): Promise<Hold>;
  leave(holdId: string, sessionId: string): void;
  /** The session is gone: nobody of it waits for anything. */
  leaveAll(sessionId: string): void;
  spend(holdId: string, binding: string): Promise<boolean>;
  /**
   * Throws GatewayError: not_found, forbidden (and says why), invalid (it has ended),
   * dependency_unavailable.
   */
  vote(approver: Chain, holdId: string, vote: "approve" | "deny", said: VoteGiven): ApprovalRequest;
  eligibility(approver: Chain, request: ApprovalRequest): Eligibility;
  find(holdId: string): ApprovalRequest | undefined;
  /** Newest first, from behind `after` on. */
  list(
    state: RequestState | undefined,
    limit: number,
    after?: RequestPlace,
  ): readonly ApprovalRequest[];
  /** Ends what a revoked delegation, or one below it, waits for: many of them over several turns. */
  revoked(delegationId: string): void;
  /** Ends what is past its time, many over several turns. Runs by itself every second. */
  sweep(): void;
}

const ID_LENGTH = 10;
/** How far an approver's clock may be from ours. */
const STATEMENT_SKEW_MS = 5 * 60_000;
const SWEEP_MS = 1000;
/** Ended in one turn and one transaction. */
const ENDED_A_TURN = 50;
const MAX_COMMAND_LENGTH = 64 * 1024;
const MAX_PARAMETERS = 256;
const MAX_PREVIEW_PARTS = 4;
const MAX_PREVIEW_TITLE_LENGTH = 200;
const MAX_PREVIEW_LENGTH = 32 * 1024;
const MAX_PARAMETER_LENGTH = 1024;
const MAX_JUSTIFICATION_LENGTH = 1000;

interface Waiter {
  readonly sessionId: string;
  readonly onChange: OnChange;
}

interface State extends ApprovalDeps {
  readonly waiters: Map<string, Set<Waiter>>;
}

export function createApprovals(deps: ApprovalDeps): Approvals {
  const state: State = { ...deps, waiters: new Map() };
  const { store, waiters } = state;
  const { clock, onFault } = deps.outside;
  const guarded = (work: () => void): void => {
    try {
      work();
    } catch (thrown) {
      // A locked store: a sweep finds the same requests later, and no vote counts past its time.
      onFault(thrown);
    }
  };
  const endSome = (some: () => readonly ApprovalRequest[], to: "expired" | "revoked"): void => {
    const ended = some();
    endAll(state, ended, to);
    if (ended.length === ENDED_A_TURN) setImmediate(() => guarded(() => endSome(some, to)));
  };
  const sweep = (): void => endSome(() => store.overdue(clock.nowMs(), ENDED_A_TURN), "expired");
  const timer = setInterval(() => guarded(sweep), SWEEP_MS);
  timer.unref();
  const leave = (holdId: string, sessionId: string): void => {
    const set = waiters.get(holdId);
    for (const waiter of set ?? []) if (waiter.sessionId === sessionId) set?.delete(waiter);
    if (set?.size === 0) waiters.delete(holdId);
  };
  return {
    request: async (asked, onChange) => open(state, asked, onChange),
    leave,
    leaveAll(sessionId) {
      for (const holdId of [...waiters.keys()]) leave(holdId, sessionId);
    },
    spend: async (holdId, binding) => spend(state, holdId, binding),
    vote: (approver, holdId, vote, said) => cast(state, approver, holdId, vote, said),
    eligibility: (approver, request) =>
      eligibility(approver, request, deps.people(), deps.mayApprove),
    find: (holdId) => store.find(holdId),
    list: (wanted, limit, after) => store.list(wanted, limit, after),
    revoked: (delegationId) =>
      endSome(() => store.liveUnder(delegationId, ENDED_A_TURN), "revoked"),
    sweep,
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

/** `a member of corp/dba`, `2 members of corp/dba`; several requirements are joined with "and". */
export function forWhom(requirements: readonly Requirement[]): string {
  const parts = requirements.map(({ quorum, approvers }) => {
    const groups = approvers.join(" or ");
    if (groups === "")
      return quorum === 1 ? "somebody who may approve" : `${quorum} who may approve`;
    return quorum === 1 ? `a member of ${groups}` : `${quorum} members of ${groups}`;
  });
  return [...new Set(parts)].join(" and ");
}

/** Distinct persons whose approval counts for one requirement. */
export function approvalsFor(request: ApprovalRequest, policyId: string): number {
  const persons = request.votes
    .filter(({ vote, policyIds }) => vote === "approve" && policyIds.includes(policyId))
    .map(({ person }) => person);
  return new Set(persons).size;
}

function holdStateOf(request: ApprovalRequest): HoldState {
  const denial = request.votes.find(({ vote }) => vote === "deny");
  switch (request.state) {
    case "waiting":
      return {
        state: "waiting",
        approvals: sum(request, ({ policyId, quorum }) =>
          Math.min(quorum, approvalsFor(request, policyId)),
        ),
        quorum: sum(request, ({ quorum }) => quorum),
        forWhom: forWhom(request.requirements),
      };
    case "approved":
      return {
        state: "approved",
        met: request.requirements.map(({ policyId }) => policyId),
        approvers: request.votes.map(({ entityId }) => entityId),
      };
    case "denied":
      return { state: "denied", by: denial?.entityId ?? "", reason: denial?.reason };
    default:
      return { state: "expired" };
  }
}

function open(state: State, asked: HoldRequest, onChange: OnChange): Hold {
  const { store } = state;
  const chain = state.chains.ofSession(asked.sessionId);
  if (chain === undefined)
    throw new GatewayError("not_found", `there is no live session ${asked.sessionId}`);
  const nowMs = state.outside.clock.nowMs();
  const overdue = store.findLive(asked.binding, leafOf(chain).delegationId);
  if (overdue !== undefined && overdue.expiresAtMs <= nowMs) end(state, overdue, "expired");
  const { request, isNew } = store.atomically(() => {
    const known = store.findLive(asked.binding, leafOf(chain).delegationId);
    if (known !== undefined) return { request: known, isNew: false };
    const made = makeRequest(state, asked, chain, nowMs);
    store.insert(made);
    return { request: made, isNew: true };
  });
  if (isNew) state.journal.append(leafOfRequest(request, "hold.requested"));
  const waiter: Waiter = { sessionId: asked.sessionId, onChange };
  const set = state.waiters.get(request.id);
  if (set === undefined) state.waiters.set(request.id, new Set([waiter]));
  else set.add(waiter);
  return { holdId: request.id, expiresAtMs: request.expiresAtMs, current: holdStateOf(request) };
}

function makeRequest(
  state: State,
  asked: HoldRequest,
  chain: Chain,
  nowMs: number,
): ApprovalRequest {
  const { outside, store } = state;
  const { justification } = asked;
  // One policy may hold several pairs of hop and effect: it asks for its quorum once.
  const byPolicy = new Map(asked.requirements.map((one) => [one.policyId, one]));
  const requirements = [...byPolicy.values()];
  if (requirements.length === 0)
    throw new GatewayError("internal", "a request without requirements cannot be approved");
  if (requirements.some((one) => one.justificationRequired) && !justification?.trim())
    throw new GatewayError("invalid", "this needs a justification before anybody can approve it", {
      hint: "SET custody.justification = '…', then run it again",
      requestId: asked.requestId,
    });
  const delegationId = leafOf(chain).delegationId;
  if (store.countLive(delegationId) >= outside.holdsPerDelegation)
    throw new GatewayError(
      "limit",
      `${outside.holdsPerDelegation} requests of this delegation wait already`,
      { requestId: asked.requestId },
    );
  return {
    id: newId("h", ID_LENGTH, outside.random),
    binding: asked.binding,
    delegationId,
    chain,
    sessionId: asked.sessionId,
    requestId: asked.requestId,
    target: asked.target,
    account: asked.account,
    what: asked.what,
    command: asked.command.slice(0, MAX_COMMAND_LENGTH),
    commandTruncated:
      asked.command.length > MAX_COMMAND_LENGTH || asked.parameters.length > MAX_PARAMETERS,
    parameters: asked.parameters.slice(0, MAX_PARAMETERS).map(shortened),
    preview: (asked.preview ?? []).slice(0, MAX_PREVIEW_PARTS).map(({ title, text }) => ({
      title: title.slice(0, MAX_PREVIEW_TITLE_LENGTH),
      text: text.slice(0, MAX_PREVIEW_LENGTH),
    })),
    requirements,
    justification: justification?.slice(0, MAX_JUSTIFICATION_LENGTH),
    state: "waiting",
    createdAtMs: nowMs,
    expiresAtMs: nowMs + Math.min(...requirements.map(({ ttlMs }) => ttlMs)),
    endedAtMs: undefined,
    votes: [],
  };
}

function cast(
  state: State,
  approver: Chain,
  holdId: string,
  vote: "approve" | "deny",
  said: VoteGiven,
): ApprovalRequest {
  const { store } = state;
  const request = store.find(holdId);
  if (request === undefined) throw new GatewayError("not_found", `there is no request ${holdId}`);
  const may = eligibility(approver, request, state.people(), state.mayApprove);
  if (!may.ok) {
    state.journal.append({
      ...leafOfRequest(request, "hold.vote_refused"),
      detail: { hold: request.id, vote, by: leafOf(approver).subject },
    });
    throw new GatewayError("forbidden", may.why, { requestId: request.requestId });
  }
  const nowMs = state.outside.clock.nowMs();
  const { reason, statement } = said;
  checkStatement(request, approver, vote, said, nowMs);
  if (request.expiresAtMs <= nowMs) end(state, request, "expired");
  // The vote and what it brings about are one transaction: no vote is lost between two processes.
  const changed = store.atomically(() => {
    const now = store.find(holdId) ?? request;
    if (now.state !== "waiting")
      throw new GatewayError("invalid", `${holdId} is ${now.state}; it takes no more votes`);
    const { person, policyIds } = may;
    const { id: entityId, delegationId } = may.approver;
    const given = { person, entityId, delegationId, vote, policyIds, reason, atMs: nowMs };
    if (!store.addVote(holdId, given))
      throw new GatewayError("invalid", `${person} has voted on ${holdId}; a person counts once`);
    const voted = store.find(holdId) ?? now;
    if (vote === "deny") store.move(holdId, "waiting", "denied", nowMs);
    else if (isMet(standing(state, voted))) store.move(holdId, "waiting", "approved", undefined);
    return store.find(holdId) ?? voted;
  });
  state.journal.append({
    ...leafOfRequest(changed, "hold.voted"),
    detail: {
      ...{ hold: holdId, vote, by: may.approver.subject, state: changed.state },
      ...{ binding: changed.binding, approver: may.approver.delegationId },
      ...(statement === undefined ? {} : { statement }),
    },
  });
  if (changed.state === "denied") state.journal.append(endedLeaf(changed));
  notify(state, changed);
  return changed;
}

/** Throws GatewayError "invalid" when what was signed is not this vote, or was to be signed and was not. */
function checkStatement(
  { id, binding, command }: ApprovalRequest,
  approver: Chain,
  vote: "approve" | "deny",
  { key, statement }: VoteGiven,
  nowMs: number,
): void {
  if (statement === undefined) {
    if (key === undefined) return;
    throw new GatewayError("invalid", "this sign-in is bound to a key: the vote has to be signed", {
      hint: "with CUSTODY_KEY: custody approve",
    });
  }
  const signed = readVoteStatement(statement);
  const isThis =
    signed !== undefined &&
    signed.jkt === key &&
    signed.hold === id &&
    signed.binding === binding &&
    signed.command === commandDigest(command) &&
    signed.vote === vote &&
    signed.delegation === leafOf(approver).delegationId &&
    Math.abs(signed.iat * 1000 - nowMs) <= STATEMENT_SKEW_MS;
  if (!isThis) throw new GatewayError("invalid", "what was signed is not this vote");
}

function isMet(request: ApprovalRequest): boolean {
  return request.requirements.every(
    ({ policyId, quorum }) => approvalsFor(request, policyId) >= quorum,
  );
}

/**
 * The request with the votes that count now: of approvers who were not revoked since, and who may still
 * approve it.
 */
function standing(state: State, request: ApprovalRequest): ApprovalRequest {
  const votes = request.votes.flatMap((vote): readonly Vote[] => {
    if (vote.vote !== "approve" || vote.delegationId === undefined) return [];
    const approver = state.chains.unrevoked(vote.delegationId);
    if (approver === undefined) return [];
    const may = eligibility(approver, request, state.people(), state.mayApprove);
    if (!may.ok || may.person !== vote.person) return [];
    return [{ ...vote, policyIds: vote.policyIds.filter((id) => may.policyIds.includes(id)) }];
  });
  return { ...request, votes };
}

function spend(state: State, holdId: string, binding: string): boolean {
  const approved = state.store.find(holdId);
  if (approved?.state === "approved" && !isMet(standing(state, approved))) {
    end(state, approved, "revoked");
    return false;
  }
  const spent = state.store.spend(holdId, binding, state.outside.clock.nowMs());
  if (!spent) return false;
  const request = state.store.find(holdId);
  if (request !== undefined) state.journal.append(endedLeaf(request));
  return true;
}

function end(state: State, request: ApprovalRequest, to: "expired" | "revoked"): void {
  endAll(state, [request], to);
}

/** Each is written before anybody hears of it. */
function endAll(
  state: State,
  requests: readonly ApprovalRequest[],
  to: "expired" | "revoked",
): void {
  const { journal, outside, store } = state;
  const ended = store.atomically(() =>
    requests.filter(({ id, state: from }) => store.move(id, from, to, outside.clock.nowMs())),
  );
  for (const request of ended) {
    const now: ApprovalRequest = { ...request, state: to };
    journal.append(endedLeaf(now));
    notify(state, now);
  }
}

function notify(state: State, request: ApprovalRequest): void {
  const current = holdStateOf(request);
  for (const { onChange } of state.waiters.get(request.id) ?? [])
    try {
      onChange(current);
    } catch (thrown) {
      state.outside.onFault(thrown);
    }
  if (request.state !== "waiting" && request.state !== "approved") state.waiters.delete(request.id);
}

function leafOfRequest(
  request: ApprovalRequest,
  event: "hold.requested" | "hold.voted" | "hold.vote_refused" | "hold.ended",
): Parameters<Journal["append"]>[0] {
  return {
    event,
    session: request.sessionId,
    request: request.requestId,
    target: request.target,
    account: request.account,
    chain: leafChain(request.chain),
    policies: request.requirements.map(({ policyId }) => policyId),
    detail: { hold: request.id, binding: request.binding, expires: request.expiresAtMs },
  };
}

function endedLeaf(request: ApprovalRequest): Parameters<Journal["append"]>[0] {
  return { ...leafOfRequest(request, "hold.ended"), outcome: request.state };
}

function sum(request: ApprovalRequest, of: (requirement: Requirement) => number): number {
  return request.requirements.reduce((total, requirement) => total + of(requirement), 0);
}

function shortened(parameter: string | null): string | null {
  if (parameter === null || parameter.length <= MAX_PARAMETER_LENGTH) return parameter;
  return `${parameter.slice(0, MAX_PARAMETER_LENGTH)}… (${parameter.length} characters)`;
}
