// A snapshot of one database's catalogue: everything the classifier needs to resolve names as the
// server would. Plain Maps, read in one statement by the gateway's own standing login, replaced as a whole
// (classify.ts owns the current one); made of rows in catalogue-rows.ts.
//
// Definitions of views and generated columns come as text (pg_get_viewdef, pg_get_expr) under a
// search_path of pg_catalog only, so that every other name in them is qualified.

import { createHash } from "node:crypto";
import { GatewayError } from "../../base/errors.ts";
import { assemble, type Row, type SystemObjects, str, systemObjects } from "./catalogue-rows.ts";
import { catalogueSql, MARK } from "./catalogue-sql.ts";
import type { SettingBounds } from "./settings.ts";

export type RelationKind =
  | "table"
  | "partitioned"
  | "view"
  | "materialized"
  | "foreign"
  | "sequence"
  | "index"
  | "toast"
  | "composite"
  | "other";

export interface ColumnInfo {
  readonly attribute: number;
  readonly name: string;
  readonly typeOid: number;
  /** The expression of a generated column, as SQL; UNREADABLE while it could not be read. */
  readonly generated: string | undefined;
}

export interface RelationInfo {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: RelationKind;
  readonly owner: string;
  /** OID of the type of its rows; 0 for an index. */
  readonly rowType: number;
  readonly isPartition: boolean;
  /** In order of `attribute`, without dropped ones. */
  readonly columns: readonly ColumnInfo[];
  /** OIDs of the tables this one inherits from or is a partition of. */
  readonly parents: readonly number[];
  /** OIDs of tables with a foreign key to this one: TRUNCATE … CASCADE reaches them. */
  readonly referencedBy: readonly number[];
  /** Tables whose rows go, or lose their reference, with a row of this one (ON DELETE …). */
  readonly deletesWith: readonly { readonly oid: number; readonly action: "delete" | "update" }[];
  /** OIDs of tables whose rows change with the key they refer to (ON UPDATE …). */
  readonly updatesWith: readonly number[];
  /** SELECT text of a view or materialised view; UNREADABLE while it could not be read. */
  readonly definition: string | undefined;
  /** Of a view: another text whenever the view was replaced. */
  readonly definitionMark: string | undefined;
  /** Events (2 update, 3 insert, 4 delete, 1 select) with a rewrite rule other than a view's own. */
  readonly rules: readonly string[];
  /** Attributes each unique index or exclusion constraint looks at, expressions' and predicates' too. */
  readonly uniques: readonly (readonly number[])[];
  /** Attributes each check looks at; 0 stands for the whole row. */
  readonly checks: readonly (readonly number[])[];
  readonly foreignKeys: readonly ForeignKey[];
  readonly triggers: number;
  /** Functions somebody made run by themselves: in checks, defaults, indexes; under row security, at reads. */
  readonly runsCode: "never" | "writes" | "always";
  /** Attributes that say which partition a row is in; 0 stands for the whole row. */
  readonly partitionKey: readonly number[];
}

/** In place of a definition that is made of relations somebody has locked. Nothing is known of what it does. */
export const UNREADABLE = "";

/** `attributes` must be found in `referenced` of the other table, one by one. */
export interface ForeignKey {
  readonly attributes: readonly number[];
  readonly table: number;
  readonly referenced: readonly number[];
}

export interface FunctionInfo {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly language: string;
  readonly volatility: "immutable" | "stable" | "volatile";
  readonly kind: "function" | "procedure" | "aggregate" | "window";
  readonly securityDefiner: boolean;
  readonly inputCount: number;
  readonly defaultCount: number;
  readonly variadic: boolean;
  readonly returnsSet: boolean;
  /** True when a row, not a single value, may come back. */
  readonly returnsRow: boolean;
  /** Names of OUT and TABLE arguments, where the function has them. */
  readonly outNames: readonly string[];
  /** Names of the arguments a call gives; "" for one without. */
  readonly inputNames: readonly string[];
  /** Of a function in the language SQL that somebody made. */
  readonly body: FunctionBody | undefined;
  /** Of one that somebody made: another text whenever it was replaced. */
  readonly mark: string | undefined;
}

export interface FunctionBody {
  /** `text`: as it was written, its names not resolved. `parsed`: BEGIN ATOMIC … or RETURN …, qualified. */
  readonly form: "text" | "parsed";
  readonly sql: string;
  /** Expressions of the arguments that have a default, as a list; qualified. */
  readonly defaults: string | undefined;
  /** `name=value` of its SET clauses. */
  readonly settings: readonly string[];
}

export interface TypeInfo {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** b base, c composite, d domain, e enum, p pseudo, r range, m multirange. */
  readonly kind: string;
}

/** An operator or cast somebody made: its function runs when it is used. */
export interface UserOperator {
  readonly schema: string;
  readonly name: string;
  readonly functionSchema: string;
  readonly functionName: string;
}

export interface UserCast extends UserOperator {
  /** OID of the type it is from. */
  readonly source: number;
  /** True when it is applied where nobody names it. */
  readonly unasked: boolean;
  readonly functionOid: number;
}

export interface Snapshot {
  readonly serverVersion: number;
  readonly database: string;
  readonly relations: ReadonlyMap<number, RelationInfo>;
  /** schema → name → OID */
  readonly relationNames: ReadonlyMap<string, ReadonlyMap<string, number>>;
  /** schema → name → overloads */
  readonly functions: ReadonlyMap<string, ReadonlyMap<string, readonly FunctionInfo[]>>;
  readonly types: ReadonlyMap<string, ReadonlyMap<string, TypeInfo>>;
  readonly schemas: ReadonlySet<string>;
  readonly operators: readonly UserOperator[];
  /** Casts with a function that is not the system's; `name` is the target type's. */
  readonly casts: readonly UserCast[];
  /** OIDs of types whose values run code of somebody's when they are made: domains with such a check. */
  readonly codeTypes: ReadonlySet<number>;
  /** True when definitions set off functions of somebody's. */
  readonly hasEventTriggers: boolean;
  /** What sessions begin with and may only tighten. */
  readonly settingBounds: SettingBounds;
  /** Changes whenever anything above does. */
  readonly fingerprint: string;
}

export type ReadRows = (sql: string) => Promise<Record<string, unknown>[]>;

/** Bounds a snapshot: a catalogue larger than this is refused rather than cut. */
const MAX_CATALOGUE_CHARACTERS = 256 * 1024 * 1024;

/** Another text whenever somebody defined something; costs a fraction of a snapshot. */
export async function readMark(read: ReadRows): Promise<string> {
  const [row] = await read(MARK);
  return str(row ?? {}, "mark");
}

/** Views and functions a statement went through. */
export interface DefinitionIds {
  readonly views: readonly number[];
  readonly functions: readonly number[];
}

/** What `definitionMark` and `mark` of these are now, in one text: see `marksOf`. */
export async function readDefinitionMarks(
  read: ReadRows,
  { views, functions }: DefinitionIds,
): Promise<string> {
  const [row] = await read(
    `SELECT concat_ws(' ', (SELECT string_agg(format('v%s:%s', v.oid, v.mark), ' ' ORDER BY v.oid) FROM
        (SELECT ev_class AS oid, string_agg(xmin::text, ',' ORDER BY oid) AS mark
          FROM pg_catalog.pg_rewrite WHERE ev_class = ANY ('{${views.map(Number).join(",")}}'::oid[]) GROUP BY 1) v),
      (SELECT string_agg(format('f%s:%s', oid, xmin), ' ' ORDER BY oid)
        FROM pg_catalog.pg_proc WHERE oid = ANY ('{${functions.map(Number).join(",")}}'::oid[])))::text AS marks`,
  );
  return str(row ?? {}, "marks");
}

/** The same text of a snapshot's views and functions. */
export function marksOf(
  views: readonly RelationInfo[],
  functions: readonly FunctionInfo[],
): string {
  const ordered = <T extends { readonly oid: number }>(list: readonly T[]) =>
    list.toSorted((one, other) => one.oid - other.oid);
  return [
    ...ordered(views).map(({ oid, definitionMark }) => `v${oid}:${definitionMark}`),
    ...ordered(functions).map(({ oid, mark }) => `f${oid}:${mark}`),
  ].join(" ");
}

/**
 * Reads a snapshot. `read` runs a text of two statements in one message, so that nothing of others comes
 * between them, and gives the rows of the last. One SELECT reads everything: one state of the catalogue.
 */
export type SnapshotReader = (read: ReadRows) => Promise<Snapshot>;

/**
 * Keeps the system's own objects, which most rows of most catalogues are, while their mark stays what it was,
 * and gives the same snapshot again while nothing changed.
 */
export function snapshotReader(): SnapshotReader {
  let system: SystemObjects | undefined;
  let last: Snapshot | undefined;
  return async (read) => {
    let row = await readCatalogue(read, system === undefined);
    if (system === undefined || system.mark !== str(row, "mark")) {
      if (row.system == null) row = await readCatalogue(read, true);
      system = systemObjects(str(row, "mark"), str(row, "system"));
    }
    const text = str(row, "catalogue");
    if (text.length > MAX_CATALOGUE_CHARACTERS)
      throw new RangeError("the target's catalogue is too large");
    const fingerprint = createHash("sha256").update(system.fingerprint).update(text).digest("hex");
    if (last?.fingerprint !== fingerprint) last = assemble(text, system, fingerprint);
    return last;
  };
}

/** By a reader that is used once. */
export function readSnapshot(read: ReadRows): Promise<Snapshot> {
  return snapshotReader()(read);
}

async function readCatalogue(read: ReadRows, withSystem: boolean): Promise<Row> {
  for (let attempt = 1; ; attempt++)
    try {
      const [row] = await read(
        `SELECT pg_catalog.set_config('search_path', 'pg_catalog', true),
           pg_catalog.set_config('lock_timeout', '${LOCK_TIMEOUT_MS}', true);
         ${catalogueSql(withSystem, attempt > MAX_WITH_DEFINITIONS)}`,
      );
      return row ?? {};
    } catch (thrown) {
      if (attempt === MAX_ATTEMPTS || !isOvertaken(thrown)) throw thrown;
    }
}

const LOCK_TIMEOUT_MS = 200;
/** After these no definition of a view is read: whatever others do meanwhile, it ends. */
const MAX_WITH_DEFINITIONS = 3;
const MAX_ATTEMPTS = 6;

/**
 * What others did after the reading began came in its way, and the next attempt knows it: a lock (55P03); a drop,
 * since definitions are put in words by the catalogue of that moment, not by the one that is read ("could not
 * open relation with OID", "cache lookup failed": XX000; and the codes of what does not exist).
 */
const OVERTAKEN = new Set(["55P03", "XX000", "42P01", "42703", "42704", "42883", "3F000"]);

function isOvertaken(thrown: unknown): boolean {
  const cause = thrown instanceof GatewayError ? thrown.cause : thrown;
  return cause instanceof Error && "code" in cause && OVERTAKEN.has(String(cause.code));
}
