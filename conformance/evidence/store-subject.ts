// The store for faults.ts: what is starved and killed, and what of it must be there afterwards. What it refused
// must not be: who asked was told that nothing was changed.

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import type { Vote } from "@custody/gateway/approval/request.ts";
import { openStore, type Store } from "@custody/gateway/store/store.ts";
import type { Subject } from "./injection.ts";

const LOAD = fileURLToPath(new URL("store-load.ts", import.meta.url));
/** Later than anything the load does. */
const LATE_MS = 1_000_000;

export async function storeSubject(): Promise<Subject> {
  return {
    name: "store",
    template: undefined,
    before: [],
    command: (folder) => [process.execPath, LOAD, folder, "a"],
    goOn,
    // SQLite tells who asked, and is asked again; what it brings home from its log it tries another time.
    mayGoOn: () => true,
  };
}

async function goOn(
  folder: string,
  acknowledged: readonly string[],
  refused: readonly string[],
): Promise<string[]> {
  const problems: string[] = [];
  {
    using store = openStore(folder);
    const all = new Set(acknowledged);
    for (const what of acknowledged) {
      const [kind = "", id = ""] = what.split(":");
      if (all.has("erased:subject-a0") && /\ba0/.test(id)) {
        if (kind === "made" && store.delegations.find(id) !== undefined)
          problems.push(`${what} is there after it was erased`);
      } else if (!holds(store, kind, id, all)) {
        problems.push(`${what} was acknowledged and is not so`);
      }
    }
    for (const what of refused)
      if (isThere(store, what)) problems.push(`${what} was refused and is there`);
    if (!store.signIns.spend("corp", "sign-in", "afterwards", Number.MAX_SAFE_INTEGER))
      problems.push("it does not take anything new");
  }
  const database = new DatabaseSync(join(folder, "custody.db"));
  for (const pragma of ["integrity_check", "foreign_key_check"]) {
    const rows = database.prepare(`PRAGMA ${pragma}`).all();
    if (rows.some((row) => Object.values(row).join() !== "ok"))
      problems.push(`${pragma}: ${JSON.stringify(rows)}`);
  }
  database.close();
  return problems;
}

/** Of what a later fault has left without what it is about there is nothing to say. */
function holds(store: Store, kind: string, id: string, all: ReadonlySet<string>): boolean {
  const { delegations, approvals, signIns } = store;
  // All of a subject is erased, or nothing: an erasure that was not acknowledged may have been done.
  const isErased = /\ba0/.test(id) && delegations.subtree("d-a0", 1).length === 0;
  if (isErased && kind !== "token") return delegations.find("d-a0c") === undefined;
  switch (kind) {
    case "made":
      return delegations.find(id) !== undefined;
    case "extended":
      return !all.has(`made:${id}`) || delegations.find(id)?.expiresAtMs === 7_999_999_999_999;
    case "revoked":
      return !all.has(`made:${id}`) || delegations.find(id)?.revocation !== undefined;
    case "asked":
      return approvals.find(id) !== undefined;
    case "voted":
      return (
        !all.has(`asked:${id}`) || (approvals.find(id)?.votes.length === 1 && !again(store, id))
      );
    case "spent":
      return approvals.find(id)?.state === "spent" && !approvals.spend(id, `b-${id}`, LATE_MS);
    case "token":
      return !signIns.spend("corp", "sign-in", `token-${id}`, Number.MAX_SAFE_INTEGER);
    default:
      return kind === "erased";
  }
}

function isThere({ delegations, approvals }: Store, what: string): boolean {
  const [kind = "", id = ""] = what.split(":");
  if (kind === "made") return delegations.find(id) !== undefined;
  if (kind === "revoked") return delegations.find(id)?.revocation !== undefined;
  if (kind === "spent") return approvals.find(id)?.state === "spent";
  return kind === "asked" && approvals.find(id) !== undefined;
}

/** Whether a person who has voted can vote again. */
function again({ approvals }: Store, id: string): boolean {
  const vote: Vote = {
    ...{ person: "ann", entityId: "corp/ann", delegationId: undefined, vote: "approve" },
    ...{ policyIds: [], reason: undefined, atMs: LATE_MS },
  };
  return approvals.addVote(id, vote);
}
