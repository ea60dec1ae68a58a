// Live sessions, indexed by every delegation of their chains, so that revoking or expiring one node
// finds all of them at once (I9).
//
// Owns the live state; rows of the store (session/store.ts) are history. An end asks the targets first, in
// one call, to stop what runs there; while they do, and in the same turn, every session is told and writes
// its client the reason; what is left to do for a session that ended comes after that.
//
// Expiry is looked at every SWEEP_MS: that is the bound we publish for it. Revocation waits for nothing.

import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { type Chain, expiryOf, leafOf } from "../delegation/chain.ts";
import type { ParticipantAct, SessionEnd, SessionEvents } from "./control.ts";

export interface LiveSession {
  readonly id: string;
  readonly chain: Chain;
  readonly target: string;
  readonly account: string;
  readonly database: string;
  readonly clientAddress: string;
  readonly openedAtMs: number;
  /** Later after a renewal. */
  readonly expiresAtMs: number;
  /** Set when it was told to end. */
  readonly ending: SessionEnd | undefined;
}

export interface RegistryLimits {
  readonly sessionsPerDelegation: number;
  readonly sessionMaxMs: number;
}

export interface RegistryDeps {
  readonly clock: Clock;
  readonly limits: RegistryLimits;
  /** Ends what still runs on the targets for these sessions; never rejects for one of many. */
  readonly endBackends: (sessionIds: readonly string[]) => Promise<void>;
  /** Until when the tree lets a delegation live; undefined when it is revoked. */
  readonly aliveUntil: (delegationId: string) => number | undefined;
  /** The chain of a delegation as the tree has it now; undefined when it is not alive. */
  readonly chain: (delegationId: string) => Chain | undefined;
  /** A fault of ours that no caller waits for. */
  readonly onFault: (thrown: unknown) => void;
}

export type NewSession = Omit<LiveSession, "expiresAtMs" | "ending" | "openedAtMs">;

export interface Registry extends Disposable {
  /** Throws GatewayError "limit". */
  add(session: NewSession, events: SessionEvents): LiveSession;
  get(sessionId: string): LiveSession | undefined;
  /** undefined also when the session was told to end. */
  chainOf(sessionId: string): Chain | undefined;
  remove(sessionId: string): void;
  /** At or below a delegation; undefined: all. */
  under(delegationId: string | undefined): readonly LiveSession[];
  countUnder(delegationId: string): number;
  /** How many were told to end by this call. */
  endUnder(delegationId: string | undefined, end: SessionEnd): number;
  /** false: there is no such session, or it is ending already. */
  end(sessionId: string, end: SessionEnd): boolean;
  /** false: there is no such session, it is ending, or nobody can take part in it. */
  act(sessionId: string, act: ParticipantAct): boolean;
  /** Reads again until when the sessions at or below a renewed delegation may live. */
  renewed(delegationId: string): void;
  /**
   * The same, and the chains themselves: a group taken away takes its rights from the next command on.
   */
  refreshed(delegationId: string): void;
  /** Warns and ends what is due. Runs by itself every second. */
  sweep(): void;
}

const SWEEP_MS = 1000;
const WARNINGS_MS = [5 * 60_000, 60_000] as const;

interface Entry extends LiveSession {
  chain: Chain;
  expiresAtMs: number;
  ending: SessionEnd | undefined;
  readonly events: SessionEvents;
  /** How many of WARNINGS_MS were given, or passed before the session began. */
  warned: number;
}

export function createRegistry(deps: RegistryDeps): Registry {
  const live = new Map<string, Entry>();
  const byDelegation = new Map<string, Set<Entry>>();
  const under = (delegationId: string | undefined): readonly Entry[] =>
    delegationId === undefined ? [...live.values()] : [...(byDelegation.get(delegationId) ?? [])];

  const endAll = (entries: readonly Entry[], end: SessionEnd): number => {
    const ended = entries.filter((entry) => entry.ending === undefined);
    for (const entry of ended) entry.ending = end;
    const ids = ended.map(({ id }) => id);
    if (ids.length > 0) guardedly(deps, () => void deps.endBackends(ids).catch(deps.onFault));
    for (const entry of ended) guardedly(deps, () => entry.events.onEnd(end));
    return ended.length;
  };
  const sweep = (): void => {
    const nowMs = deps.clock.nowMs();
    const due: Entry[] = [];
    for (const entry of live.values()) {
      if (entry.ending !== undefined) continue;
      if (entry.expiresAtMs <= nowMs) due.push(entry);
      else warn(deps, entry, nowMs);
    }
    if (due.length > 0) endAll(due, EXPIRED);
  };
  const timer = setInterval(() => guardedly(deps, sweep), SWEEP_MS);
  timer.unref();

  return {
    add(session, events) {
      const leaf = leafOf(session.chain).delegationId;
      const own = under(leaf).filter((entry) => leafOf(entry.chain).delegationId === leaf);
      if (own.length >= deps.limits.sessionsPerDelegation)
        throw new GatewayError(
          "limit",
          `${leaf} has ${own.length} sessions open, which is the limit of one delegation`,
        );
      const entry = entryOf(deps, session, events);
      live.set(entry.id, entry);
      link(byDelegation, entry);
      return entry;
    },
    get: (sessionId) => live.get(sessionId),
    chainOf(sessionId) {
      const entry = live.get(sessionId);
      return entry?.ending === undefined ? entry?.chain : undefined;
    },
    remove(sessionId) {
      const entry = live.get(sessionId);
      if (entry === undefined) return;
      live.delete(sessionId);
      unlink(byDelegation, entry);
    },
    under,
    countUnder: (delegationId) => byDelegation.get(delegationId)?.size ?? 0,
    endUnder: (delegationId, end) => endAll(under(delegationId), end),
    end(sessionId, end) {
      const entry = live.get(sessionId);
      return entry !== undefined && endAll([entry], end) === 1;
    },
    act(sessionId, act) {
      const entry = live.get(sessionId);
      const { onParticipant } = entry?.events ?? {};
      if (entry?.ending !== undefined || onParticipant === undefined) return false;
      guardedly(deps, () => onParticipant(act));
      return true;
    },
    renewed(delegationId) {
      for (const entry of under(delegationId)) prolong(deps, entry);
    },
    refreshed(delegationId) {
      for (const entry of under(delegationId)) {
        prolong(deps, entry);
        replaceChain(deps, entry, (end) => endAll([entry], end));
      }
    },
    sweep,
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

const EXPIRED: SessionEnd = {
  code: "revoked",
  message: "the delegation of this session has expired, or the session reached its longest life",
  hint: "a person: custody login; an agent: ask the parent to renew",
};

const OTHER_CHAIN: SessionEnd = {
  code: "revoked",
  message: "the groups of who asks were read again, and this session cannot take them over",
  hint: "connect again",
};

function link(byDelegation: Map<string, Set<Entry>>, entry: Entry): void {
  for (const { delegationId } of entry.chain.hops) {
    const known = byDelegation.get(delegationId);
    if (known === undefined) byDelegation.set(delegationId, new Set([entry]));
    else known.add(entry);
  }
}

function unlink(byDelegation: Map<string, Set<Entry>>, entry: Entry): void {
  for (const { delegationId } of entry.chain.hops) {
    const known = byDelegation.get(delegationId);
    known?.delete(entry);
    if (known?.size === 0) byDelegation.delete(delegationId);
  }
}

function entryOf(deps: RegistryDeps, session: NewSession, events: SessionEvents): Entry {
  const openedAtMs = deps.clock.nowMs();
  const expiresAtMs = lifeOf(deps, expiryOf(session.chain), openedAtMs);
  const warned = passedWarnings(expiresAtMs - openedAtMs);
  return { ...session, events, openedAtMs, expiresAtMs, ending: undefined, warned };
}

function passedWarnings(leftMs: number): number {
  return WARNINGS_MS.filter((beforeMs) => leftMs <= beforeMs).length;
}

function lifeOf(deps: RegistryDeps, chainExpiryMs: number, openedAtMs: number): number {
  return Math.min(chainExpiryMs, openedAtMs + deps.limits.sessionMaxMs);
}

function prolong(deps: RegistryDeps, entry: Entry): void {
  if (entry.ending !== undefined) return;
  const chainExpiryMs = deps.aliveUntil(leafOf(entry.chain).delegationId);
  if (chainExpiryMs === undefined) return;
  const expiresAtMs = lifeOf(deps, chainExpiryMs, entry.openedAtMs);
  if (expiresAtMs <= entry.expiresAtMs) return;
  entry.expiresAtMs = expiresAtMs;
  entry.warned = passedWarnings(expiresAtMs - deps.clock.nowMs());
}

// The hops are the same, so the index is: only what is known of them changed.
function replaceChain(deps: RegistryDeps, entry: Entry, end: (end: SessionEnd) => void): void {
  if (entry.ending !== undefined) return;
  const chain = deps.chain(leafOf(entry.chain).delegationId);
  if (chain === undefined) return;
  entry.chain = chain;
  const { onChain } = entry.events;
  if (onChain === undefined) end(OTHER_CHAIN);
  else guardedly(deps, () => onChain(chain));
}

function warn(deps: RegistryDeps, entry: Entry, nowMs: number): void {
  const leftMs = entry.expiresAtMs - nowMs;
  const reached = passedWarnings(leftMs);
  if (reached <= entry.warned) return;
  entry.warned = reached;
  const minutes = Math.max(1, Math.round(leftMs / 60_000));
  guardedly(deps, () =>
    entry.events.onWarning(
      `this session ends in ${minutes} minute${minutes === 1 ? "" : "s"}, when its delegation expires, unless it is renewed`,
    ),
  );
}

// One session's handler that throws must not keep the others alive.
function guardedly(deps: RegistryDeps, work: () => void): void {
  try {
    work();
  } catch (thrown) {
    deps.onFault(thrown);
  }
}
