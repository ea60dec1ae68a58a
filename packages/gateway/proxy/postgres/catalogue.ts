// A snapshot of one database's catalogue: everything the classifier needs to resolve names as the
// server would. Plain Maps, read in a handful of queries by the gateway's own standing login, replaced
// as a whole (classify.ts owns the current one).
//
// Definitions of views and generated columns come as text (pg_get_viewdef, pg_get_expr) under a
// search_path of pg_catalog only, so that every other name in them is qualified.

import { createHash } from "node:crypto";
import { BOUND_SETTINGS, type SettingBounds, settingBounds } from "./settings.ts";

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
  /** The expression of a generated column, as SQL. */
  readonly generated: string | undefined;
}

export interface RelationInfo {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: RelationKind;
  readonly owner: string;
  readonly isPartition: boolean;
  /** In order of `attribute`, without dropped ones. */
  readonly columns: readonly ColumnInfo[];
  /** OIDs of the tables this one inherits from or is a partition of. */
  readonly parents: readonly number[];
  /** OIDs of tables with a foreign key to this one: TRUNCATE … CASCADE reaches them. */
  readonly referencedBy: readonly number[];
  /** Tables whose rows go, or lose their reference, with a row of this one (ON DELETE …). */
  readonly deletesWith: readonly { readonly oid: number; readonly action: "delete" | "update" }[];
  /** SELECT text of a view or materialised view. */
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
}

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
  /** True when a row, not a single value, comes back. */
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
  readonly casts: readonly UserOperator[];
  /** What sessions begin with and may only tighten. */
  readonly settingBounds: SettingBounds;
  /** Changes whenever anything above does. */
  readonly fingerprint: string;
}

export type ReadRows = (sql: string) => Promise<Record<string, unknown>[]>;

/** Bounds a snapshot: a catalogue larger than this is refused rather than cut. */
const MAX_CATALOGUE_CHARACTERS = 256 * 1024 * 1024;

const SQL = {
  // A role's own settings are the gateway's: session roles have none but their role.
  bounds: `SELECT s.name, coalesce((SELECT substr(c, strpos(c, '=') + 1)
        FROM pg_catalog.pg_db_role_setting d JOIN pg_catalog.pg_database b ON b.oid = d.setdatabase
        CROSS JOIN LATERAL unnest(d.setconfig) AS c
        WHERE d.setrole = 0 AND b.datname = pg_catalog.current_database()
          AND split_part(c, '=', 1) = s.name), s.reset_val) AS value
    FROM pg_catalog.pg_settings s
    WHERE s.name IN (${BOUND_SETTINGS.map((name) => `'${name}'`).join(", ")}) ORDER BY 1`,
  settings: `SELECT current_setting('server_version_num')::int4 AS version, current_database()::text AS database`,
  schemas: `SELECT nspname::text AS name FROM pg_catalog.pg_namespace ORDER BY oid`,
  relations: `SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name,
      c.relkind::text AS kind, pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
      c.relispartition AS partition,
      CASE WHEN c.relkind IN ('v','m') AND n.nspname NOT IN ('pg_catalog','information_schema')
        THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition,
      CASE WHEN c.relkind IN ('v','m') AND c.oid >= 16384 THEN (SELECT string_agg(r.xmin::text, ',' ORDER BY r.oid)
        FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid) END AS mark,
      (SELECT count(*)::int4 FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS triggers
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind <> 't' ORDER BY c.oid`,
  columns: `SELECT a.attrelid::int8 AS relation, a.attnum::int4 AS attribute, a.attname::text AS name,
      a.atttypid::int8 AS type,
      CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS generated
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind NOT IN ('t','i','I')
    ORDER BY a.attrelid, a.attnum`,
  inheritance: `SELECT inhrelid::int8 AS child, inhparent::int8 AS parent
    FROM pg_catalog.pg_inherits ORDER BY inhrelid, inhseqno`,
  references: `SELECT confrelid::int8 AS referenced, conrelid::int8 AS referencing,
      confdeltype::text AS deleting, conkey AS attributes, confkey AS referenced_attributes
    FROM pg_catalog.pg_constraint WHERE contype = 'f' ORDER BY oid`,
  checks: `SELECT conrelid::int8 AS relation, conkey AS attributes
    FROM pg_catalog.pg_constraint WHERE contype = 'c' AND conrelid <> 0 AND conkey IS NOT NULL ORDER BY oid`,
  rules: `SELECT ev_class::int8 AS relation, ev_type::text AS event
    FROM pg_catalog.pg_rewrite WHERE NOT (rulename = '_RETURN' AND ev_type = '1') ORDER BY oid`,
  // What an index depends on (pg_depend) are the columns of its expressions and predicate.
  unique: `SELECT i.indrelid::int8 AS relation, i.indexrelid::int8 AS index, array_agg(DISTINCT u.attribute) AS attributes
    FROM pg_catalog.pg_index i CROSS JOIN LATERAL (
      SELECT k.attribute::int4 FROM unnest(i.indkey::int2[]) AS k(attribute) WHERE k.attribute <> 0
      UNION ALL SELECT d.refobjsubid::int4 FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
      -- A generated column is indexed instead of the columns it is made of.
      UNION ALL SELECT d.refobjsubid::int4 FROM unnest(i.indkey::int2[]) AS k(attribute)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attribute
          AND a.attgenerated <> ''
        JOIN pg_catalog.pg_attrdef g ON g.adrelid = a.attrelid AND g.adnum = a.attnum
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = g.oid
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
      UNION ALL SELECT d.refobjsubid::int4 FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_depend d
          ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
        WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
    ) u(attribute)
    WHERE (i.indisunique OR i.indisexclusion) AND i.indrelid >= 16384 GROUP BY 1, 2 ORDER BY 1, 2`,
  functions: `SELECT p.oid::int8 AS oid, n.nspname::text AS schema, p.proname::text AS name,
      coalesce(f.language, l.lanname)::text AS language, p.provolatile::text AS volatility, p.prokind::text AS kind,
      p.prosecdef AS definer, p.pronargs::int4 AS inputs, p.pronargdefaults::int4 AS defaults,
      p.provariadic <> 0 AS variadic, p.proretset AS set,
      (t.typtype = 'c' OR t.typname = 'record') AS row,
      pg_catalog.array_to_json(p.proargmodes)::text AS modes,
      pg_catalog.array_to_json(p.proargnames)::text AS names,
      CASE WHEN b.followed THEN coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) END AS body,
      CASE WHEN p.oid >= 16384 THEN p.xmin::text END AS mark,
      b.followed AND p.prosqlbody IS NOT NULL AS parsed,
      CASE WHEN b.followed THEN pg_catalog.pg_get_expr(p.proargdefaults, 0) END AS default_values,
      CASE WHEN b.followed THEN pg_catalog.array_to_json(p.proconfig)::text END AS config
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    JOIN pg_catalog.pg_type t ON t.oid = p.prorettype
    CROSS JOIN LATERAL (SELECT l.lanname = 'sql' AND p.prokind IN ('f', 'p') AND p.oid >= 16384 AS followed) b
    -- An aggregate is "internal" itself; what runs is its functions, of which one in another language.
    LEFT JOIN LATERAL (SELECT min(il.lanname::text) AS language FROM pg_catalog.pg_aggregate a
      JOIN pg_catalog.pg_proc i ON i.oid = ANY (ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
        a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::oid[])
      JOIN pg_catalog.pg_language il ON il.oid = i.prolang AND il.lanname NOT IN ('internal', 'c')
      WHERE a.aggfnoid = p.oid AND p.oid >= 16384) f ON p.prokind = 'a' ORDER BY p.oid`,
  types: `SELECT t.oid::int8 AS oid, n.nspname::text AS schema, t.typname::text AS name,
      t.typtype::text AS kind
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace ORDER BY t.oid`,
  // 16384 is FirstNormalObjectId: below it are the system's own objects.
  operators: `SELECT n.nspname::text AS schema, o.oprname::text AS name,
      pn.nspname::text AS function_schema, p.proname::text AS function_name
    FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
    JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace WHERE o.oid >= 16384 ORDER BY o.oid`,
  casts: `SELECT n.nspname::text AS schema, t.typname::text AS name,
      pn.nspname::text AS function_schema, p.proname::text AS function_name
    FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
    JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace WHERE c.oid >= 16384 ORDER BY c.oid`,
} as const;

/** Who wrote each row of the catalogue: a change of whatever kind gives another sum. */
const MARK = `SELECT concat_ws(' ', ${[
  ["pg_class", "oid", "oid >= 16384"],
  ["pg_attribute", "attrelid::int8 * 2048 + attnum", "attrelid >= 16384"],
  ["pg_attrdef", "oid", "true"],
  ["pg_rewrite", "oid", "oid >= 16384"],
  ["pg_proc", "oid", "oid >= 16384"],
  ["pg_aggregate", "aggfnoid::oid", "aggfnoid::oid >= 16384"],
  ["pg_type", "oid", "oid >= 16384"],
  ["pg_operator", "oid", "oid >= 16384"],
  ["pg_cast", "oid", "oid >= 16384"],
  ["pg_trigger", "oid", "true"],
  ["pg_index", "indexrelid", "indexrelid >= 16384"],
  ["pg_constraint", "oid", "oid >= 16384"],
  ["pg_inherits", "inhrelid", "true"],
  ["pg_namespace", "oid", "true"],
]
  .map(
    ([table, key, own]) =>
      `(SELECT sum(pg_catalog.hashint8extended(xmin::text::int8, (${key})::int8)) FROM pg_catalog.${table} WHERE ${own})`,
  )
  .join(", ")})::text AS mark`;

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

type Part = keyof typeof SQL;
type Row = Record<string, unknown>;

/**
 * `read` runs a text of two statements in one message, so that nothing of others comes between them,
 * and gives the rows of the last. One SELECT reads everything: one state of the catalogue.
 */
export async function readSnapshot(read: ReadRows): Promise<Snapshot> {
  const parts = Object.entries(SQL).map(
    ([part, sql]) => `'${part}', (SELECT json_agg(part) FROM (${sql}) part)`,
  );
  const [row] = await read(
    `SELECT pg_catalog.set_config('search_path', 'pg_catalog', true);
     SELECT json_build_object(${parts.join(",\n")})::text AS catalogue`,
  );
  const catalogue = str(row ?? {}, "catalogue");
  if (catalogue.length > MAX_CATALOGUE_CHARACTERS)
    throw new RangeError("the target's catalogue is too large");
  const rows = JSON.parse(catalogue) as Record<Part, Row[] | null>;
  const found = {} as Record<Part, Row[]>;
  for (const part of Object.keys(SQL) as Part[]) found[part] = rows[part] ?? [];
  return assemble(found, createHash("sha256").update(catalogue).digest("base64url"));
}

function assemble(rows: Record<Part, Row[]>, fingerprint: string): Snapshot {
  const relations = assembleRelations(rows);
  const relationNames = new Map<string, Map<string, number>>();
  for (const relation of relations.values())
    nested(relationNames, relation.schema).set(relation.name, relation.oid);
  const functions = new Map<string, Map<string, FunctionInfo[]>>();
  for (const row of rows.functions) {
    const info = functionInfo(row);
    const byName = nested(functions, info.schema);
    const overloads = byName.get(info.name);
    if (overloads === undefined) byName.set(info.name, [info]);
    else overloads.push(info);
  }
  const types = new Map<string, Map<string, TypeInfo>>();
  for (const row of rows.types) {
    const info = { oid: num(row, "oid"), schema: str(row, "schema"), name: str(row, "name") };
    nested(types, info.schema).set(info.name, { ...info, kind: str(row, "kind") });
  }
  return {
    serverVersion: num(rows.settings[0] ?? {}, "version"),
    database: str(rows.settings[0] ?? {}, "database"),
    relations,
    relationNames,
    functions,
    types,
    schemas: new Set(rows.schemas.map((row) => str(row, "name"))),
    operators: rows.operators.map(userOperator),
    casts: rows.casts.map(userOperator),
    settingBounds: settingBounds(
      rows.bounds.map((row) => [str(row, "name"), str(row, "value")] as const),
    ),
    fingerprint,
  };
}

function assembleRelations(rows: Record<Part, Row[]>): Map<number, RelationInfo> {
  const columns = new Map<number, ColumnInfo[]>();
  for (const row of rows.columns)
    append(columns, num(row, "relation"), {
      attribute: num(row, "attribute"),
      name: str(row, "name"),
      typeOid: num(row, "type"),
      generated: row.generated == null ? undefined : str(row, "generated"),
    });
  const parents = pairs(rows.inheritance, "child", "parent");
  const referencedBy = pairs(rows.references, "referenced", "referencing");
  const deletesWith = new Map<number, RelationInfo["deletesWith"][number][]>();
  for (const row of rows.references) {
    const action = DELETE_ACTIONS.get(str(row, "deleting"));
    if (action !== undefined)
      append(deletesWith, num(row, "referenced"), { oid: num(row, "referencing"), action });
  }
  const foreignKeys = new Map<number, ForeignKey[]>();
  for (const row of rows.references)
    append(foreignKeys, num(row, "referencing"), {
      attributes: numbers(row, "attributes"),
      table: num(row, "referenced"),
      referenced: numbers(row, "referenced_attributes"),
    });
  const uniques = lists(rows.unique);
  const checks = lists(rows.checks);
  const rules = new Map<number, string[]>();
  for (const row of rows.rules) append(rules, num(row, "relation"), str(row, "event"));
  const relations = new Map<number, RelationInfo>();
  for (const row of rows.relations) {
    const oid = num(row, "oid");
    relations.set(oid, {
      oid,
      schema: str(row, "schema"),
      name: str(row, "name"),
      kind: RELATION_KINDS.get(str(row, "kind")) ?? "other",
      owner: str(row, "owner"),
      isPartition: row.partition === true,
      columns: columns.get(oid) ?? [],
      parents: parents.get(oid) ?? [],
      referencedBy: referencedBy.get(oid) ?? [],
      deletesWith: deletesWith.get(oid) ?? [],
      definition: row.definition == null ? undefined : str(row, "definition"),
      definitionMark: row.mark == null ? undefined : str(row, "mark"),
      rules: rules.get(oid) ?? [],
      uniques: uniques.get(oid) ?? [],
      checks: checks.get(oid) ?? [],
      foreignKeys: foreignKeys.get(oid) ?? [],
      triggers: num(row, "triggers"),
    });
  }
  return relations;
}

const RELATION_KINDS = new Map<string, RelationKind>([
  ["r", "table"],
  ["p", "partitioned"],
  ["v", "view"],
  ["m", "materialized"],
  ["f", "foreign"],
  ["S", "sequence"],
  ["i", "index"],
  ["I", "index"],
  ["t", "toast"],
  ["c", "composite"],
]);

/** CASCADE; SET NULL and SET DEFAULT. */
const DELETE_ACTIONS = new Map<string, "delete" | "update">([
  ["c", "delete"],
  ["n", "update"],
  ["d", "update"],
]);

const VOLATILITIES = new Map<string, FunctionInfo["volatility"]>([
  ["i", "immutable"],
  ["s", "stable"],
]);

const FUNCTION_KINDS = new Map<string, FunctionInfo["kind"]>([
  ["p", "procedure"],
  ["a", "aggregate"],
  ["w", "window"],
]);

function functionInfo(row: Row): FunctionInfo {
  const modes = strings(row, "modes");
  const names = strings(row, "names");
  const outNames: string[] = [];
  const inputNames: string[] = [];
  const inputCount = num(row, "inputs");
  for (let index = 0; index < (modes.length || inputCount); index++) {
    const name = String(names[index] ?? "");
    const mode = modes[index] ?? "i";
    // i IN, o OUT, b INOUT, v VARIADIC, t TABLE
    if (mode === "o" || mode === "b" || mode === "t") outNames.push(name);
    if (mode === "i" || mode === "b" || mode === "v") inputNames.push(name);
  }
  return {
    oid: num(row, "oid"),
    schema: str(row, "schema"),
    name: str(row, "name"),
    language: str(row, "language"),
    volatility: VOLATILITIES.get(str(row, "volatility")) ?? "volatile",
    kind: FUNCTION_KINDS.get(str(row, "kind")) ?? "function",
    securityDefiner: row.definer === true,
    inputCount,
    defaultCount: num(row, "defaults"),
    variadic: row.variadic === true,
    returnsSet: row.set === true,
    returnsRow: row.row === true,
    outNames,
    inputNames,
    mark: row.mark == null ? undefined : str(row, "mark"),
    body:
      row.body == null
        ? undefined
        : {
            form: row.parsed === true ? "parsed" : "text",
            sql: str(row, "body"),
            defaults: row.default_values == null ? undefined : str(row, "default_values"),
            settings: strings(row, "config"),
          },
  };
}

/** A text[] that came as JSON. */
function strings(row: Row, field: string): readonly string[] {
  const parsed: unknown = JSON.parse(row[field] == null ? "[]" : str(row, field));
  if (!Array.isArray(parsed)) throw new TypeError(`catalogue field ${field} is no array`);
  return parsed.map((one) => String(one ?? ""));
}

function userOperator(row: Row): UserOperator {
  return {
    schema: str(row, "schema"),
    name: str(row, "name"),
    functionSchema: str(row, "function_schema"),
    functionName: str(row, "function_name"),
  };
}

function lists(rows: readonly Row[]): Map<number, (readonly number[])[]> {
  const map = new Map<number, (readonly number[])[]>();
  for (const row of rows) append(map, num(row, "relation"), numbers(row, "attributes"));
  return map;
}

function numbers(row: Row, field: string): readonly number[] {
  const value = row[field];
  if (!Array.isArray(value)) throw new TypeError(`catalogue field ${field} is no array`);
  return value.map(Number);
}

function pairs(rows: readonly Row[], key: string, value: string): Map<number, number[]> {
  const map = new Map<number, number[]>();
  for (const row of rows) append(map, num(row, key), num(row, value));
  return map;
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}

function nested<V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let inner = map.get(key);
  if (inner === undefined) {
    inner = new Map();
    map.set(key, inner);
  }
  return inner;
}

function num(row: Row, field: string): number {
  const value = Number(row[field]);
  if (!Number.isSafeInteger(value)) throw new TypeError(`catalogue field ${field} is no integer`);
  return value;
}

function str(row: Row, field: string): string {
  const value = row[field];
  if (typeof value !== "string") throw new TypeError(`catalogue field ${field} is no text`);
  return value;
}
