// The delegation tree in SQLite (delegation/node.ts says what is asked of it).

import type { HopKind, Provenance } from "../delegation/chain.ts";
import type { Grant } from "../delegation/grant.ts";
import type { PublicKey } from "../delegation/key.ts";
import type { DelegationNode, DelegationStore } from "../delegation/node.ts";
import {
  type Database,
  numberOf,
  optionalBytes,
  optionalNumber,
  optionalText,
  type Parameters,
  type Row,
  textOf,
} from "./database.ts";

// Depth is bounded by the tree; the bound here only stops a damaged store from looping.
const PATH_SQL = `
  WITH RECURSIVE path (id, parent_id, steps) AS (
    SELECT id, parent_id, 0 FROM delegations WHERE id = $id
    UNION ALL
    SELECT up.id, up.parent_id, path.steps + 1
    FROM delegations AS up JOIN path ON up.id = path.parent_id WHERE path.steps < 1000
  )
  SELECT delegations.* FROM path JOIN delegations USING (id) ORDER BY depth`;

const SUBTREE_CTE = `
  WITH RECURSIVE below (id) AS (
    SELECT id FROM delegations WHERE id = $id
    UNION
    SELECT child.id FROM delegations AS child JOIN below ON child.parent_id = below.id
  )`;

/** No more of the tree is gone through than is given. */
const NEAREST_SQL = `
  WITH RECURSIVE below (id, depth, created_at) AS (
    SELECT id, depth, created_at FROM delegations WHERE id = $id
    UNION ALL
    SELECT child.id, child.depth, child.created_at
    FROM delegations AS child JOIN below ON child.parent_id = below.id
    ORDER BY 2, 3 LIMIT $limit
  )
  SELECT delegations.* FROM below JOIN delegations USING (id)
  ORDER BY delegations.depth, delegations.created_at`;

const INSERT_SQL = `
  INSERT INTO delegations (id, parent_id, root_id, depth, kind, entity_id, name, subject, groups_json,
    groups_at, provenance, grant_json, created_at, expires_at, renewable_until, handle_verifier,
    key_json, statement, offline_children, proof_keys)
  VALUES ($id, $parent, $root, $depth, $kind, $entity, $name, $subject, $groups,
    $groupsAt, $provenance, $grant, $created, $expires, $renewable, $verifier,
    $key, $statement, $offline, $proofKeys)`;

export function createDelegationStore(database: Database): DelegationStore {
  return {
    atomically: (work) => database.transaction(work),
    insert(node) {
      database.run(INSERT_SQL, parametersOf(node));
    },
    find(id) {
      const row = database.get("SELECT * FROM delegations WHERE id = $id", { id });
      return row === undefined ? undefined : nodeOf(row);
    },
    path: (id) => database.all(PATH_SQL, { id }).map(nodeOf),
    countLiveChildren: (parentId, nowMs) =>
      count(
        database,
        `SELECT count(*) AS n FROM delegations
         WHERE parent_id = $parentId AND revoked_at IS NULL AND expires_at > $nowMs`,
        { parentId, nowMs },
      ),
    countLiveRoots: (subject, nowMs) =>
      count(
        database,
        `SELECT count(*) AS n FROM delegations WHERE subject = $subject AND parent_id IS NULL
         AND revoked_at IS NULL AND expires_at > $nowMs`,
        { subject, nowMs },
      ),
    subtree(id, limit) {
      const rows =
        id === undefined
          ? database.all("SELECT * FROM delegations ORDER BY depth, created_at LIMIT $limit", {
              limit,
            })
          : database.all(NEAREST_SQL, { id, limit });
      return rows.map(nodeOf);
    },
    revokeSubtree(id, revocation) {
      const rows = database.all(
        `${SUBTREE_CTE} UPDATE delegations
         SET revoked_at = $at, revoked_by = $by, revoke_reason = $reason
         WHERE id IN (SELECT id FROM below) AND revoked_at IS NULL RETURNING id`,
        { id, at: revocation.atMs, by: revocation.by, reason: revocation.reason ?? null },
      );
      return rows.map((row) => textOf(row, "id"));
    },
    refreshRoot(id, next) {
      database.run(
        // What a parent signed about its child stays the bound of it.
        `UPDATE delegations SET renewable_until = max(renewable_until, $renewable)
         WHERE root_id = $id AND statement IS NULL`,
        { id, renewable: next.renewableUntilMs },
      );
      database.run(
        `UPDATE delegations SET groups_json = $groups, groups_at = $at, expires_at = $expires
         WHERE id = $id`,
        {
          id,
          groups: JSON.stringify(next.groups),
          at: next.groupsAtMs,
          expires: next.expiresAtMs,
        },
      );
    },
    extend(id, expiresAtMs) {
      database.run("UPDATE delegations SET expires_at = $expiresAtMs WHERE id = $id", {
        id,
        expiresAtMs,
      });
    },
  };
}

function parametersOf(node: DelegationNode): Parameters {
  return {
    id: node.id,
    parent: node.parentId ?? null,
    root: node.rootId,
    depth: node.depth,
    kind: node.kind,
    entity: node.entityId,
    name: node.name,
    subject: node.subject,
    groups: JSON.stringify(node.groups),
    groupsAt: node.groupsAtMs,
    provenance: node.provenance,
    grant: node.grant === undefined ? null : JSON.stringify(node.grant),
    created: node.createdAtMs,
    expires: node.expiresAtMs,
    renewable: node.renewableUntilMs,
    verifier: node.handleVerifier ?? null,
    proofKeys: node.proofKeys ?? null,
    key: node.key === undefined ? null : JSON.stringify(node.key),
    statement: node.statement ?? null,
    offline: Number(node.offlineChildren),
  };
}

function count(
  database: Database,
  sql: string,
  parameters: Readonly<Record<string, string | number>>,
): number {
  return numberOf(database.get(sql, parameters) ?? {}, "n");
}

// The JSON columns and the closed words are written by `insert` above and by nothing else.
function nodeOf(row: Row): DelegationNode {
  const grant = optionalText(row, "grant_json");
  const key = optionalText(row, "key_json");
  const revokedAtMs = optionalNumber(row, "revoked_at");
  return {
    id: textOf(row, "id"),
    parentId: optionalText(row, "parent_id"),
    rootId: textOf(row, "root_id"),
    depth: numberOf(row, "depth"),
    kind: textOf(row, "kind") as HopKind,
    entityId: textOf(row, "entity_id"),
    name: textOf(row, "name"),
    subject: textOf(row, "subject"),
    groups: JSON.parse(textOf(row, "groups_json")) as string[],
    groupsAtMs: numberOf(row, "groups_at"),
    provenance: textOf(row, "provenance") as Provenance,
    grant: grant === undefined ? undefined : (JSON.parse(grant) as Grant),
    createdAtMs: numberOf(row, "created_at"),
    expiresAtMs: numberOf(row, "expires_at"),
    renewableUntilMs: numberOf(row, "renewable_until"),
    handleVerifier: optionalBytes(row, "handle_verifier"),
    proofKeys: optionalBytes(row, "proof_keys"),
    key: key === undefined ? undefined : (JSON.parse(key) as PublicKey),
    statement: optionalText(row, "statement"),
    offlineChildren: numberOf(row, "offline_children") === 1,
    revocation:
      revokedAtMs === undefined
        ? undefined
        : {
            atMs: revokedAtMs,
            by: textOf(row, "revoked_by"),
            reason: optionalText(row, "revoke_reason"),
          },
  };
}
