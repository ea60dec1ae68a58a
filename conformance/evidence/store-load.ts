// The store under load, to be starved of its disk and killed by faults.ts: delegations made, renewed and
// revoked, requests voted on and spent, tokens spent, a subject erased. Prints `ack …` for what the store has
// taken, `refused …: …` for what it has not, as the gateway tells who asked; `done` at the end.
//   store-load.ts <data folder> <prefix>

import { writeSync } from "node:fs";
import type { ApprovalRequest, Vote } from "@custody/gateway/approval/request.ts";
import type { Chain } from "@custody/gateway/delegation/chain.ts";
import type { DelegationNode } from "@custody/gateway/delegation/node.ts";
import { openStore } from "@custody/gateway/store/store.ts";

const TREES = 2;
/** Pages of its own. */
const LONG = "x".repeat(6_000);
const FAR_MS = 8_000_000_000_000;

const [, , directory = "", prefix = ""] = process.argv;

function node(id: string, parent: DelegationNode | undefined, subject: string): DelegationNode {
  return {
    id,
    parentId: parent?.id,
    rootId: parent?.rootId ?? id,
    depth: parent === undefined ? 0 : parent.depth + 1,
    kind: parent === undefined ? "user" : "agent",
    entityId: `corp/${id}`,
    name: id,
    subject,
    groups: [],
    groupsAtMs: 1,
    provenance: parent === undefined ? "attested" : "bearer",
    grant: parent === undefined ? undefined : [],
    createdAtMs: 1,
    expiresAtMs: FAR_MS,
    renewableUntilMs: FAR_MS,
    handleVerifier: undefined,
    proofKeys: undefined,
    key: undefined,
    statement: undefined,
    offlineChildren: false,
    revocation: undefined,
  };
}

function request(id: string, delegationId: string): ApprovalRequest {
  const chain = { hops: [] } as unknown as Chain;
  return {
    ...{ id, binding: `b-${id}`, delegationId, chain, sessionId: "s-1", requestId: `r-${id}` },
    ...{ target: "orders", account: "rw", what: "delete", command: LONG, commandTruncated: false },
    ...{ parameters: [], requirements: [], justification: undefined, state: "waiting" },
    ...{ createdAtMs: 1, expiresAtMs: FAR_MS, endedAtMs: undefined, votes: [] },
  };
}

const vote: Vote = {
  ...{ person: "ann", entityId: "corp/ann", delegationId: undefined, vote: "approve" },
  ...{ policyIds: [], reason: undefined, atMs: 1 },
};

using store = openStore(directory);

function attempt(what: string, work: () => unknown): void {
  try {
    work();
    writeSync(1, `ack ${what}\n`);
  } catch (error) {
    writeSync(1, `refused ${what}: ${error instanceof Error ? error.message : error}\n`);
  }
}

const { delegations, approvals, signIns, erasures } = store;
for (let tree = 0; tree < TREES; tree++) {
  const id = `${prefix}${tree}`;
  const root = node(`d-${id}`, undefined, `subject-${id}`);
  const child = node(`d-${id}c`, root, root.subject);
  attempt(`made:${root.id}`, () => delegations.insert(root));
  attempt(`made:${child.id}`, () => delegations.insert(child));
  attempt(`extended:${child.id}`, () => delegations.extend(child.id, FAR_MS - 1));
  attempt(`asked:h-${id}`, () => approvals.insert(request(`h-${id}`, child.id)));
  attempt(`voted:h-${id}`, () => approvals.addVote(`h-${id}`, vote));
  attempt(`spent:h-${id}`, () =>
    approvals.atomically(() => {
      approvals.move(`h-${id}`, "waiting", "approved", undefined);
      if (!approvals.spend(`h-${id}`, `b-h-${id}`, 2)) throw new Error("there is none to spend");
    }),
  );
  attempt(`token:${id}`, () => signIns.spend("corp", "sign-in", `token-${id}`, FAR_MS));
  const revocation = { atMs: 5, by: "corp/ann", reason: undefined };
  attempt(`revoked:${child.id}`, () => delegations.revokeSubtree(child.id, revocation));
}
attempt(`erased:subject-${prefix}0`, () => erasures.eraseSubject(`subject-${prefix}0`));
writeSync(1, "done\n");
