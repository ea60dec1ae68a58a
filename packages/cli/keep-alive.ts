// The life of a delegation that a program of ours uses: renewed before it expires, as far as the one
// above it allows, and revoked when the program has ended. A handle stays the same when its delegation
// is renewed, so the files and sessions that use it go on.
//
// Owns one timer.

import type { DelegationView } from "@custody/contract/delegations.ts";

import type { Client } from "./client.ts";
import { toCliError } from "./faults.ts";

export interface KeepAliveOptions {
  readonly client: Client;
  readonly nowMs: () => number;
  readonly delegationId: string;
  /** How long it was given, and is given anew each time. */
  readonly lifeMs: number;
  readonly renews: boolean;
  /** What is above is carried on first, where that is ours to do: a person's sign-in. Never rejects. */
  readonly carryOnAbove: () => Promise<void>;
  readonly warn: (text: string) => void;
}

export interface KeptAlive extends AsyncDisposable {
  /** The program has ended by itself. */
  ended(): void;
}

/** Renewed when that much of its life is left. */
const RENEW_AT = 1 / 3;
const LEAST_WAIT_MS = 1000;
/** Timers hold no longer ones. */
const LONGEST_WAIT_MS = 12 * 3_600_000;

export function keepAlive(options: KeepAliveOptions): KeptAlive {
  const { client, delegationId, lifeMs, nowMs, warn } = options;
  let expiresAtMs = nowMs() + lifeMs;
  let timer: NodeJS.Timeout | undefined;
  let renewing: Promise<void> = Promise.resolve();
  let stopped = false;
  let reason = "what it was made for did not start";

  const schedule = () => {
    if (stopped) return;
    const leftMs = expiresAtMs - nowMs();
    // Past the time to renew, what is above may still be renewed itself: asked ever more often.
    const wait = Math.max(leftMs - lifeMs * RENEW_AT, leftMs / 4);
    timer = setTimeout(
      () => {
        renewing = renew();
      },
      Math.min(LONGEST_WAIT_MS, Math.max(LEAST_WAIT_MS, wait)),
    );
  };
  const renew = async () => {
    if (nowMs() >= expiresAtMs) return;
    await options.carryOnAbove();
    try {
      const wantedMs = Math.min(lifeMs, (await boundAbove(client)) - nowMs());
      const seconds = Math.floor(wantedMs / 1000);
      if (nowMs() + seconds * 1000 > expiresAtMs) {
        const { delegation } = await client.call("renewDelegation", {
          params: { id: delegationId },
          body: { expiresIn: seconds },
        });
        expiresAtMs = Date.parse(delegation.expiresAt);
      }
    } catch (thrown) {
      const { exit, message } = toCliError(thrown);
      // An outage may pass before it expires; a refusal is an answer.
      if (exit !== "unreachable") {
        warn(`${delegationId} is not renewed any more: ${message}`);
        return;
      }
    }
    schedule();
  };
  if (options.renews) schedule();

  return {
    ended() {
      reason = "the program it was made for has ended";
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      clearTimeout(timer);
      await renewing;
      try {
        await client.call("revokeDelegation", { params: { id: delegationId }, body: { reason } });
      } catch (thrown) {
        const until = new Date(expiresAtMs).toISOString();
        warn(`${delegationId} lives until ${until}: ${toCliError(thrown).message}`);
      }
    },
  };
}

/** Until when the delegation in use here lives. */
async function boundAbove(client: Client): Promise<number> {
  const { delegation }: { delegation: DelegationView } = await client.call("whoami");
  return Date.parse(delegation.expiresAt);
}
