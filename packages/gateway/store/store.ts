// The store, opened: everything the control side keeps, behind the interfaces its domains declare.

import { join } from "node:path";
import type { ApprovalStore } from "../approval/request.ts";
import type { DelegationStore } from "../delegation/node.ts";
import type { SessionStore } from "../session/store.ts";
import { createApprovalStore } from "./approvals.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import { createDelegationStore } from "./delegations.ts";
import { migrate } from "./migrations.ts";
import { createSessionStore } from "./sessions.ts";

export interface Store extends Disposable {
  readonly delegations: DelegationStore;
  readonly approvals: ApprovalStore;
  readonly sessions: SessionStore;
  /** Throws GatewayError "dependency_unavailable" when the store cannot be read. For readiness. */
  check(): void;
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
      check: () => database.transaction(() => undefined),
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
