// The store, opened: everything the control side keeps, behind the interfaces its domains declare.

import { join } from "node:path";
import type { ApprovalStore } from "../approval/request.ts";
import type { DelegationStore } from "../delegation/node.ts";
import type { ShownTokenStore, SignInStore } from "../identity/sign-ins.ts";
import type { ErasureStore } from "../recording/erasures.ts";
import type { SessionStore } from "../session/store.ts";
import { createApprovalStore } from "./approvals.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import { createDelegationStore } from "./delegations.ts";
import { createErasureStore } from "./erasures.ts";
import { migrate } from "./migrations.ts";
import { createSessionStore } from "./sessions.ts";
import { createShownTokenStore, createSignInStore, forgetSignIns } from "./sign-ins.ts";

export interface Store extends Disposable {
  readonly delegations: DelegationStore;
  readonly approvals: ApprovalStore;
  readonly sessions: SessionStore;
  readonly signIns: SignInStore;
  readonly shownTokens: ShownTokenStore;
  readonly erasures: ErasureStore;
  /** Throws GatewayError "dependency_unavailable" when the store cannot be read. For readiness. */
  check(): void;
  /**
   * Deletes what ended before `beforeMs`: trees whose root can live no more, with their requests and
   * votes, and sessions. The log keeps its record of them. Returns how many delegations went.
   */
  forget(beforeMs: number): number;
}

/** `<directory>/custody.db`, made when it is not there. */
export function openStore(
  directory: string,
  options: Pick<DatabaseOptions, "busyTimeoutMs"> = {},
): Store {
  const path = join(directory, "custody.db");
  const database = new Database(path, options);
  try {
    migrate(database);
    // Rows of sessions are told again by the journal, so opening one need not wait for the disk.
    const history = new Database(path, { ...options, durable: false });
    return {
      delegations: createDelegationStore(database),
      approvals: createApprovalStore(database),
      sessions: createSessionStore(history),
      signIns: createSignInStore(database),
      shownTokens: createShownTokenStore(database),
      erasures: createErasureStore(database),
      check: () => database.transaction(() => undefined),
      forget: (beforeMs) => forget(database, beforeMs),
      [Symbol.dispose]() {
        history[Symbol.dispose]();
        database[Symbol.dispose]();
      },
    };
  } catch (thrown) {
    database[Symbol.dispose]();
    throw thrown;
  }
}

const ENDED_TREES = `SELECT id FROM delegations WHERE root_id IN
  (SELECT id FROM delegations WHERE parent_id IS NULL AND renewable_until < $beforeMs)`;

function forget(database: Database, beforeMs: number): number {
  return database.transaction(() => {
    database.run(
      `DELETE FROM votes WHERE request_id IN
       (SELECT id FROM requests WHERE delegation_id IN (${ENDED_TREES}))`,
      { beforeMs },
    );
    database.run(`DELETE FROM requests WHERE delegation_id IN (${ENDED_TREES})`, { beforeMs });
    database.run("DELETE FROM sessions WHERE closed_at < $beforeMs", { beforeMs });
    forgetSignIns(database, beforeMs);
    // One statement for whole trees: references are checked at its end.
    return database.run(`DELETE FROM delegations WHERE id IN (${ENDED_TREES})`, { beforeMs });
  });
}
