// Rows of the catalogue (catalogue-sql.ts) as the objects of a snapshot.

import { createHash } from "node:crypto";
import type {
  ColumnInfo,
  ForeignKey,
  FunctionInfo,
  RelationInfo,
  RelationKind,
  Snapshot,
  TypeInfo,
  UserOperator,
} from "./catalogue.ts";
import type { HalvedPart, Part } from "./catalogue-sql.ts";
import { settingBounds } from "./settings.ts";

export type Row = Record<string, unknown>;

/** What is kept of the system's own objects: their rows in the parts that are read in halves. */
export interface SystemObjects {
  /** Another text whenever one of them changed. */
  readonly mark: string;
  readonly fingerprint: string;
  /** What is said of relations in other parts may change. */
  readonly relations: readonly Row[];
  readonly columns: ReadonlyMap<number, readonly ColumnInfo[]>;
  readonly functions: readonly FunctionInfo[];
  readonly types: readonly TypeInfo[];
}

export function systemObjects(mark: string, text: string): SystemObjects {
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
export function assemble(text: string, system: SystemObjects, fingerprint: string): Snapshot {
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

export function str(row: Row, field: string): string {
  const value = row[field];
  if (typeof value !== "string") throw new TypeError(`catalogue field ${field} is no text`);
  return value;
}
