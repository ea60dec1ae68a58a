// The gateway's data folder: what is made in it at the first start, and the store in it with what
// ended long ago forgotten.

import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { writeNewFile } from "../base/new-file.ts";
import { newInstance } from "../proxy/postgres/session-roles.ts";
import { openStore, type Store } from "../store/store.ts";

/** The folders, and the short name that tells this gateway's session roles from another's. */
export function prepareData(dataDirectory: string): { instance: string } {
  mkdirSync(join(dataDirectory, "keys"), { recursive: true, mode: 0o700 });
  const file = join(dataDirectory, "instance");
  if (!existsSync(file)) writeNewFile(file, `${newInstance(randomBytes)}\n`, 0o600);
  return { instance: readFileSync(file, "utf8").trim() };
}

/** The store, with the sessions of a gateway that did not end in order closed. */
export function openKeptStore(
  dataDirectory: string,
  clock: Clock,
  onFault: (thrown: unknown) => void,
  stack: AsyncDisposableStack,
): Store {
  const store = stack.use(openStore(dataDirectory));
  store.sessions.closeLeftovers(clock.nowMs(), "the gateway restarted");
  keepPruned(store, clock, onFault, stack);
  return store;
}

const DAY_MS = 86_400_000;
/** What ended so long ago is forgotten by the store; the log and the recordings keep it. */
const KEPT_MS = 30 * DAY_MS;

function keepPruned(
  store: Store,
  clock: Clock,
  onFault: (thrown: unknown) => void,
  stack: AsyncDisposableStack,
): void {
  const prune = () => {
    try {
      store.forget(clock.nowMs() - KEPT_MS);
    } catch (thrown) {
      onFault(thrown);
    }
  };
  prune();
  const timer = setInterval(prune, DAY_MS);
  timer.unref();
  stack.defer(() => clearInterval(timer));
}
