// What was denied lately, or waits for people, by request id: the control side's memory of what a
// client was told, so that its chain can ask what stands in the way. The log has it for good; this is
// what an agent can ask for that may not read recordings. Nothing in here is a value or a text of SQL.
//
// Owns its entries: the newest of each session, of the sessions that were denied something last.

import type { ClassTouch, Denial, Effect, Requirement } from "../access/operation.ts";
import type { Clock } from "../base/clock.ts";
import type { Chain } from "../delegation/chain.ts";

export interface DeniedCommand {
  readonly requestId: string;
  readonly sessionId: string;
  readonly chain: Chain;
  readonly target: string;
  readonly account: string;
  readonly what: string;
  /** undefined: it waits for people. */
  readonly denial: Denial | undefined;
  readonly effects: readonly Effect[];
  readonly touches: readonly ClassTouch[];
  /** Of a command that waits or waited for people. */
  readonly requirements: readonly Requirement[];
}

export interface KeptDenial extends DeniedCommand {
  readonly atMs: number;
}

export interface RecentDenials {
  note(denied: DeniedCommand): void;
  find(requestId: string): KeptDenial | undefined;
}

const MAX_SESSIONS = 1000;
const MAX_PER_SESSION = 32;
const MAX_EFFECTS = 32;

export function createRecentDenials(clock: Clock): RecentDenials {
  const sessions = new Map<string, Map<string, KeptDenial>>();
  return {
    note(denied) {
      const { sessionId, requestId } = denied;
      const ofSession = sessions.get(sessionId) ?? new Map<string, KeptDenial>();
      // Last in, last to go.
      sessions.delete(sessionId);
      sessions.set(sessionId, ofSession);
      const kept = merged(ofSession.get(requestId), denied, clock.nowMs());
      ofSession.delete(requestId);
      ofSession.set(requestId, kept);
      dropOldest(ofSession, MAX_PER_SESSION);
      dropOldest(sessions, MAX_SESSIONS);
    },
    find(requestId) {
      const session = /^r-([0-9a-z]+)-\d+$/.exec(requestId)?.[1];
      return session === undefined ? undefined : sessions.get(`s-${session}`)?.get(requestId);
    },
  };
}

/** A command that waited and was then denied is one entry, with whom it waited for. */
function merged(before: KeptDenial | undefined, denied: DeniedCommand, atMs: number): KeptDenial {
  const waited = before !== undefined && before.denial === undefined;
  return {
    ...denied,
    ...(waited && { what: before.what, requirements: before.requirements }),
    effects: denied.effects.slice(0, MAX_EFFECTS),
    touches: denied.touches.slice(0, MAX_EFFECTS),
    atMs,
  };
}

function dropOldest(map: Map<string, unknown>, most: number): void {
  const oldest = map.keys().next();
  if (map.size > most && oldest.done !== true) map.delete(oldest.value);
}
