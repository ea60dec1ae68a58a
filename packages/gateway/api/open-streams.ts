// Answers that go on: events as they come, shells that are watched, recordings, evidence. A person has so many
// at once and all people together so many, so that connections are left for everybody else; and each ends with
// the delegation it was asked for with, however long its reader goes on reading (I9).
//
// Owns the list of those that are open, and the timer.

import type { ServerResponse } from "node:http";
import { GatewayError } from "../base/errors.ts";
import { type Chain, leafOf, rootOf } from "../delegation/chain.ts";

export interface OpenStreams extends Disposable {
  /**
   * Until the answer is over. `onEnd`: the delegation is not alive any more; what is still to be said is said
   * now, and soon the answer is broken off. Throws GatewayError "limit".
   */
  open(chain: Chain, answer: ServerResponse, onEnd: () => void): void;
  /** Ends those that are to end. Runs by itself every second. */
  sweep(): void;
}

export interface StreamLimits {
  readonly each: number;
  readonly all: number;
}

export const STREAM_LIMITS: StreamLimits = { each: 32, all: 500 };

const SWEEP_MS = 1000;
/** For the last words to be read. */
const LINGER_MS = 2000;

interface Open {
  readonly delegationId: string;
  readonly person: string;
  readonly answer: ServerResponse;
  readonly onEnd: () => void;
}

export function createOpenStreams(
  isAlive: (delegationId: string) => boolean,
  onFault: (thrown: unknown) => void,
  limits: StreamLimits = STREAM_LIMITS,
): OpenStreams {
  const all = new Set<Open>();
  const sweep = (): void => {
    const alive = new Map<string, boolean>();
    for (const one of [...all]) {
      const { answer, delegationId, onEnd } = one;
      const still = alive.get(delegationId) ?? isAlive(delegationId);
      alive.set(delegationId, still);
      if (still) continue;
      all.delete(one);
      onEnd();
      setTimeout(() => answer.destroy(), LINGER_MS).unref();
    }
  };
  const timer = setInterval(() => {
    try {
      sweep();
    } catch (thrown) {
      // A locked store: the next time it is asked again.
      onFault(thrown);
    }
  }, SWEEP_MS);
  timer.unref();
  return {
    open(chain, answer, onEnd) {
      const person = rootOf(chain).subject;
      const own = [...all].filter((one) => one.person === person).length;
      if (own >= limits.each || all.size >= limits.all)
        throw new GatewayError("limit", "too many answers that go on are open; end others first");
      const one: Open = { delegationId: leafOf(chain).delegationId, person, answer, onEnd };
      all.add(one);
      answer.once("close", () => all.delete(one));
    },
    sweep,
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
