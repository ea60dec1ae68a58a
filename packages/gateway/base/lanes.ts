// Work that takes a while: of each who asks for it one piece goes on at a time, the next waits for it, and of
// those that wait there are so many.
//
// Owns who waits.

import { GatewayError } from "./errors.ts";

export interface Lanes {
  /** Resolves when it is the turn of who asks, who disposes of it at the end. Throws GatewayError "limit". */
  enter(who: string): Promise<Disposable>;
}

interface Lane {
  last: Promise<void>;
  count: number;
}

/** `most`: of one who asks, at work and waiting. */
export function createLanes(most: number): Lanes {
  const lanes = new Map<string, Lane>();
  return {
    async enter(who) {
      const lane = lanes.get(who) ?? { last: Promise.resolve(), count: 0 };
      if (lane.count >= most)
        throw new GatewayError("limit", "too much that you asked for is still being worked on");
      lanes.set(who, lane);
      lane.count += 1;
      const before = lane.last;
      const { promise, resolve } = Promise.withResolvers<void>();
      lane.last = promise;
      await before;
      let hasLeft = false;
      return {
        [Symbol.dispose]() {
          if (hasLeft) return;
          hasLeft = true;
          lane.count -= 1;
          if (lane.count === 0) lanes.delete(who);
          resolve();
        },
      };
    },
  };
}
