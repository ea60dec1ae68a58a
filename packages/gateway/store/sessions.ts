// The history of sessions in SQLite (session/store.ts says what is asked of it).

import type { Chain } from "../delegation/chain.ts";
import type { SessionFilter, SessionRow, SessionStore } from "../session/store.ts";
import {
  type Database,
  numberOf,
  optionalNumber,
  optionalText,
  type Row,
  textOf,
} from "./database.ts";

const INSERT_SQL = `
  INSERT INTO sessions (id, delegation_id, protocol, target, account, database_name, client_address,
    chain_json, opened_at, expires_at)
  VALUES ($id, $delegation, $protocol, $target, $account, $database, $client,
    $chain, $opened, $expires)`;

const BELOW = `
  WITH RECURSIVE below (id) AS (
    SELECT id FROM delegations WHERE id = $under
    UNION
    SELECT child.id FROM delegations AS child JOIN below ON child.parent_id = below.id
  )`;

/** Each in words of its own, so that an index fits it. */
const OF_STATE = { live: "closed_at IS NULL", closed: "closed_at IS NOT NULL" } as const;

function listSql(what: string, { under, state }: Omit<SessionFilter, "limit">): string {
  const conditions = [
    ...(under === undefined ? [] : ["delegation_id IN (SELECT id FROM below)"]),
    ...(state === undefined ? [] : [OF_STATE[state]]),
  ];
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  const below = under === undefined ? "" : BELOW;
  return `${below} SELECT ${what} FROM sessions ${where} ORDER BY opened_at DESC, id LIMIT $limit`;
}

export function createSessionStore(database: Database): SessionStore {
  const ask = (what: string, filter: SessionFilter): readonly Row[] => {
    const { under, limit } = filter;
    return database.all(listSql(what, filter), under === undefined ? { limit } : { under, limit });
  };
  return {
    insert(row) {
      database.run(INSERT_SQL, {
        id: row.id,
        delegation: row.delegationId,
        protocol: row.protocol,
        target: row.target,
        account: row.account,
        database: row.database,
        client: row.clientAddress,
        chain: JSON.stringify(row.chain),
        opened: row.openedAtMs,
        expires: row.expiresAtMs,
      });
    },
    close(id, atMs, reason) {
      database.run(
        `UPDATE sessions SET closed_at = $atMs, close_reason = $reason
         WHERE id = $id AND closed_at IS NULL`,
        { id, atMs, reason },
      );
    },
    closeLeftovers: (atMs, reason) =>
      database.run(
        "UPDATE sessions SET closed_at = $atMs, close_reason = $reason WHERE closed_at IS NULL",
        { atMs, reason },
      ),
    find(id) {
      const row = database.get("SELECT * FROM sessions WHERE id = $id", { id });
      return row === undefined ? undefined : sessionOf(row);
    },
    list: (filter) => ask("*", filter).map(sessionOf),
    ids: (filter) => ask("id", filter).map((row) => textOf(row, "id")),
  };
}

function sessionOf(row: Row): SessionRow {
  return {
    id: textOf(row, "id"),
    protocol: textOf(row, "protocol") as SessionRow["protocol"],
    delegationId: textOf(row, "delegation_id"),
    chain: JSON.parse(textOf(row, "chain_json")) as Chain,
    target: textOf(row, "target"),
    account: textOf(row, "account"),
    database: textOf(row, "database_name"),
    clientAddress: textOf(row, "client_address"),
    openedAtMs: numberOf(row, "opened_at"),
    expiresAtMs: numberOf(row, "expires_at"),
    closedAtMs: optionalNumber(row, "closed_at"),
    closeReason: optionalText(row, "close_reason"),
  };
}
