// A snapshot of one database's catalogue: everything the classifier needs to resolve names as the
// server would. Plain Maps, read in one statement by the gateway's own standing login, replaced as a whole
// (classify.ts owns the current one).
//
// Definitions of views and generated columns come as text (pg_get_viewdef, pg_get_expr) under a
// search_path of pg_catalog only, so that every other name in them is qualified.

import { createHash } from "node:crypto";
import {
  append,
  lists,
  nested,
  num,
  numbers,
  pairs,
  type Row,
  str,
  strings,
} from "./catalogue-rows.ts";
import { type HalvedPart, MARK, type Part, readCatalogue, viewMark } from "./catalogue-sql.ts";
import { type SettingBounds, settingBounds } from "./settings.ts";

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
  /** Of a view: another text whenever the view was replaced, or it or a column of it renamed. */
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
  /** The database's own, as the server calls it: `UTF8`. */
  readonly encoding: string;
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
        (SELECT c.oid, ${viewMark("c")} AS mark FROM pg_catalog.pg_class c
          WHERE c.oid = ANY ('{${views.map(Number).join(",")}}'::oid[])) v),
      (SELECT string_agg(format('f%s:%s', p.oid, p.xmin), ' ' ORDER BY p.oid) FROM pg_catalog.pg_proc p
        WHERE p.oid >= 16384 AND p.proname IN (SELECT proname FROM pg_catalog.pg_proc
          WHERE oid = ANY ('{${functions.map(Number).join(",")}}'::oid[]))))::text AS marks`,
  );
  return str(row ?? {}, "marks");
}

/** The same text of a snapshot's views and functions: of all of a name, since the server picks among them. */
export function marksOf(
  snapshot: Snapshot,
  views: readonly RelationInfo[],
  functions: readonly FunctionInfo[],
): string {
  const ordered = <T extends { readonly oid: number }>(list: Iterable<T>) =>
    [...list].sort((one, other) => one.oid - other.oid);
  const overloads = new Set<FunctionInfo>();
  for (const name of new Set(functions.map((one) => one.name)))
    for (const byName of snapshot.functions.values())
      for (const one of byName.get(name) ?? []) if (one.mark !== undefined) overloads.add(one);
  return [
    ...ordered(views).map(({ oid, definitionMark }) => `v${oid}:${definitionMark}`),
    ...ordered(overloads).map(({ oid, mark }) => `f${oid}:${mark}`),
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

/** What is kept of the system's own objects: their rows in the parts that are read in halves. */
interface SystemObjects {
  /** Another text whenever one of them changed. */
  readonly mark: string;
  readonly fingerprint: string;
  /** What is said of relations in other parts may change. */
  readonly relations: readonly Row[];
  readonly columns: ReadonlyMap<number, readonly ColumnInfo[]>;
  readonly functions: readonly FunctionInfo[];
  readonly types: readonly TypeInfo[];
}

function systemObjects(mark: string, text: string): SystemObjects {
  const rows = JSON.parse(text) as Record<HalvedPart, Row[] | null>;
  return {
    mark,
    fingerprint: createHash("sha256").update(mark).update(text).digest("hex"),
    relations: rows.relations ?? [],
    columns: columnsByRelation(rows.columns ?? []),
    functions: (rows.functions ?? []).map(functionInfo),
    types: (rows.types ?? []).map(typeInfo),
  };
}

/** `text`: the parts as they are now, in halves only those that somebody made. */
function assemble(text: string, system: SystemObjects, fingerprint: string): Snapshot {
  const parts = JSON.parse(text) as Record<Part, Row[] | null>;
  const rows = Object.fromEntries(
    Object.entries(parts).map(([part, list]) => [part, list ?? []]),
  ) as Record<Part, Row[]>;
  const relations = assembleRelations(rows, system);
  const relationNames = new Map<string, Map<string, number>>();
  for (const relation of relations.values())
    nested(relationNames, relation.schema).set(relation.name, relation.oid);
  const functions = new Map<string, Map<string, FunctionInfo[]>>();
  for (const info of [...system.functions, ...rows.functions.map(functionInfo)])
    append(nested(functions, info.schema), info.name, info);
  const types = new Map<string, Map<string, TypeInfo>>();
  for (const info of [...system.types, ...rows.types.map(typeInfo)])
    nested(types, info.schema).set(info.name, info);
  return {
    serverVersion: num(rows.settings[0] ?? {}, "version"),
    database: str(rows.settings[0] ?? {}, "database"),
    encoding: str(rows.settings[0] ?? {}, "encoding"),
    relations,
    relationNames,
    functions,
    types,
    schemas: new Set(rows.schemas.map((row) => str(row, "name"))),
    operators: rows.operators.map(userOperator),
    casts: rows.casts.map((row) => ({
      ...userOperator(row),
      source: num(row, "source"),
      unasked: row.unasked === true,
      functionOid: num(row, "function"),
    })),
    codeTypes: new Set(rows.codeTypes.map((row) => num(row, "type"))),
    hasEventTriggers: rows.eventTriggers.length > 0,
    settingBounds: settingBounds(
      rows.bounds.map((row) => [str(row, "name"), str(row, "value")] as const),
    ),
    fingerprint,
  };
}

function assembleRelations(
  rows: Record<Part, Row[]>,
  system: SystemObjects,
): Map<number, RelationInfo> {
  const columns = new Map([...system.columns, ...columnsByRelation(rows.columns)]);
  const parents = pairs(rows.inheritance, "child", "parent");
  const referencedBy = pairs(rows.references, "referenced", "referencing");
  const deletesWith = new Map<number, RelationInfo["deletesWith"][number][]>();
  for (const row of rows.references) {
    const action = DELETE_ACTIONS.get(str(row, "deleting"));
    if (action !== undefined)
      append(deletesWith, num(row, "referenced"), { oid: num(row, "referencing"), action });
  }
  const updatesWith = new Map<number, number[]>();
  for (const row of rows.references)
    if (DELETE_ACTIONS.has(str(row, "updating")))
      append(updatesWith, num(row, "referenced"), num(row, "referencing"));
  const foreignKeys = new Map<number, ForeignKey[]>();
  for (const row of rows.references)
    append(foreignKeys, num(row, "referencing"), {
      attributes: numbers(row, "attributes"),
      table: num(row, "referenced"),
      referenced: numbers(row, "referenced_attributes"),
    });
  const uniques = lists(rows.unique);
  const checks = lists(rows.checks);
  const runsCode = codeByRelation(rows, columns);
  const partitionKeys = new Map(
    rows.partitionKeys.map((row) => [num(row, "relation"), numbers(row, "attributes")]),
  );
  const rules = new Map<number, string[]>();
  for (const row of rows.rules) append(rules, num(row, "relation"), str(row, "event"));
  const relations = new Map<number, RelationInfo>();
  for (const row of [...system.relations, ...rows.relations]) {
    const oid = num(row, "oid");
    relations.set(oid, {
      oid,
      schema: str(row, "schema"),
      name: str(row, "name"),
      kind: RELATION_KINDS.get(str(row, "kind")) ?? "other",
      owner: str(row, "owner"),
      rowType: num(row, "row_type"),
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
      updatesWith: updatesWith.get(oid) ?? [],
      runsCode: runsCode.get(oid) ?? "never",
      partitionKey: partitionKeys.get(oid) ?? [],
    });
  }
  return relations;
}

function columnsByRelation(rows: readonly Row[]): Map<number, ColumnInfo[]> {
  const columns = new Map<number, ColumnInfo[]>();
  for (const row of rows)
    append(columns, num(row, "relation"), {
      attribute: num(row, "attribute"),
      name: str(row, "name"),
      typeOid: num(row, "type"),
      generated: row.generated == null ? undefined : str(row, "generated"),
    });
  return columns;
}

function codeByRelation(
  rows: Record<Part, Row[]>,
  columns: ReadonlyMap<number, readonly ColumnInfo[]>,
): Map<number, RelationInfo["runsCode"]> {
  const found = new Map<number, RelationInfo["runsCode"]>();
  const types = new Set(rows.codeTypes.map((row) => num(row, "type")));
  for (const [oid, list] of types.size === 0 ? [] : columns)
    if (list.some(({ typeOid }) => types.has(typeOid))) found.set(oid, "always");
  for (const row of rows.attached) {
    const oid = num(row, "relation");
    if (row.reads === true) found.set(oid, "always");
    else if (!found.has(oid)) found.set(oid, "writes");
  }
  return found;
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

/** ON DELETE, ON UPDATE: CASCADE; SET NULL and SET DEFAULT. */
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

function typeInfo(row: Row): TypeInfo {
  return {
    oid: num(row, "oid"),
    schema: str(row, "schema"),
    name: str(row, "name"),
    kind: str(row, "kind"),
  };
}

function userOperator(row: Row): UserOperator {
  return {
    schema: str(row, "schema"),
    name: str(row, "name"),
    functionSchema: str(row, "function_schema"),
    functionName: str(row, "function_name"),
  };
}
