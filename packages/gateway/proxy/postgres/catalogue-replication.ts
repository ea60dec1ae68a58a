// What the catalogue says about replication, looked up when it is asked for: slots and publications change without
// anything being defined that statements name. Over the gateway's own connection.

import type { ReadRows } from "./catalogue.ts";
import { num, str } from "./catalogue-rows.ts";

/** A publication's WHERE: which rows of this table, or of a table it is a part of, are sent. */
export interface RowFilter {
  readonly oid: number;
  readonly expression: string;
}

export interface FilteredBy {
  /** The table that is sent. */
  readonly oid: number;
  /** undefined: any there is. */
  readonly publications: readonly string[] | undefined;
  readonly serverVersion: number;
}

/** Publications have had filters since 15. */
export async function readRowFilters(
  read: ReadRows,
  { oid, publications, serverVersion }: FilteredBy,
): Promise<readonly RowFilter[]> {
  if (serverVersion < 150_000) return [];
  const table = Number(oid);
  // Nothing else has to be put into a statement: else every publication counts.
  const isPlain = publications?.every((name) => /^[A-Za-z0-9_ .$-]{1,63}$/.test(name)) === true;
  const names = isPlain ? publications?.map((name) => `'${name}'`).join(", ") : undefined;
  const of = names
    ? `AND prpubid IN (SELECT oid FROM pg_catalog.pg_publication WHERE pubname IN (${names}))`
    : "";
  const rows = await read(
    `SELECT prrelid::int8 AS oid, pg_catalog.pg_get_expr(prqual, prrelid) AS expression
      FROM pg_catalog.pg_publication_rel WHERE prqual IS NOT NULL ${of} AND (prrelid = ${table}
        OR prrelid IN (SELECT relid FROM pg_catalog.pg_partition_ancestors(${table})))`,
  );
  return rows.map((row) => ({ oid: num(row, "oid"), expression: str(row, "expression") }));
}

/** The database a slot is of, "" for one of the whole server; undefined: there is none of that name. */
export async function readSlotDatabase(read: ReadRows, name: string): Promise<string | undefined> {
  // What a slot may be called: nothing else has to be put into a statement.
  if (!/^[a-z0-9_]{1,63}$/.test(name)) return undefined;
  const [row] = await read(
    `SELECT coalesce(database, '')::text AS database
      FROM pg_catalog.pg_replication_slots WHERE slot_name = '${name}'`,
  );
  return row === undefined ? undefined : str(row, "database");
}
