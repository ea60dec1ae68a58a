// INSERT, UPDATE, DELETE and MERGE. A constant or parameter stored in a classified column touches
// nothing, unless a constraint compares it with what is there (lineage-constraint.ts); any other value is
// evaluated, so what it is made of is an inner touch.

import type { ColumnInfo, RelationInfo } from "./catalogue.ts";
import { relativesOf } from "./catalogue-resolve.ts";
import type { SqlAction } from "./effects.ts";
import {
  constraintTouches,
  type Given,
  givenBy,
  isNull,
  writtenTable,
} from "./lineage-constraint.ts";
import {
  addRelationEffect,
  type Context,
  type Item,
  nested,
  noteCode,
  type Rows,
  type Scope,
  touchInner,
  touchRow,
} from "./lineage-context.ts";
import { evaluate, predicate } from "./lineage-expression.ts";
import { fromClause, relationItem, resolveRelation } from "./lineage-from.ts";
import { targetList, withClause } from "./lineage-query.ts";
import { extend } from "./lineage-scope.ts";
import { child, isTree, list, stringOf, type Tree, text, Unsupported, unwrap } from "./parse.ts";

const NO_ROWS: Rows = { columns: [], open: false };

/** Events of rewrite rules, as pg_rewrite.ev_type has them. */
const RULE_EVENTS = new Map<SqlAction, string>([
  ["update", "2"],
  ["insert", "3"],
  ["delete", "4"],
]);

export function insertRows(context: Context, body: Tree, outer: Scope): Rows {
  context.seen.add(body);
  return nested(context, () => {
    const scope = withClause(context, outer, child(body, "withClause"));
    const { relation, item } = target(context, scope, body);
    addWrite(context, "insert", relation);
    const names = insertColumns(context, scope, relation, list(body, "cols"));
    if (body.selectStmt !== undefined) {
      const { type, body: source } = unwrap(body.selectStmt);
      touchRow(context, context.query(context, type, source, scope, { defer: false }));
      const rows = list(source, "valuesLists").map((row) => list(unwrap(row).body, "items"));
      constraintTouches(context, relation, {
        how: "insert",
        values: inserted(relation, names, rows),
      });
    }
    const conflict = child(body, "onConflictClause");
    if (conflict !== undefined) onConflict(context, scope, relation, item, conflict);
    return returning(context, scope, relation, item, body);
  });
}

function insertColumns(
  context: Context,
  scope: Scope,
  relation: RelationInfo,
  nodes: readonly unknown[],
): readonly string[] {
  if (nodes.length === 0) return relation.columns.map(({ name }) => name);
  return nodes.map((node) => {
    const { body: column } = unwrap(node);
    context.seen.add(column);
    evaluate(context, scope, column.indirection);
    const name = text(column, "name") ?? "";
    checkColumn(relation, name);
    return name;
  });
}

/** `rows`: of VALUES; none for a query's, which are computed. */
function inserted(
  relation: RelationInfo,
  names: readonly string[],
  rows: readonly (readonly unknown[])[],
): Map<number, readonly Given[]> {
  const values = new Map<number, readonly Given[]>();
  for (const [index, name] of names.entries()) {
    const attribute = relation.columns.find((column) => column.name === name)?.attribute;
    if (attribute === undefined) continue;
    const given: Given[] =
      rows.length === 0 ? ["computed"] : rows.map((row) => givenBy(row[index]));
    values.set(attribute, given);
  }
  return values;
}

export function updateRows(context: Context, body: Tree, outer: Scope): Rows {
  context.seen.add(body);
  return nested(context, () => {
    const scope = withClause(context, outer, child(body, "withClause"));
    const { relation, item } = target(context, scope, body);
    addWrite(context, "update", relation);
    const inner = extend(scope, [item, ...fromClause(context, scope, list(body, "fromClause"))]);
    assignments(context, inner, relation, list(body, "targetList"));
    where(context, inner, relation, body.whereClause);
    return returning(context, inner, relation, item, body);
  });
}

export function deleteRows(context: Context, body: Tree, outer: Scope): Rows {
  context.seen.add(body);
  return nested(context, () => {
    const scope = withClause(context, outer, child(body, "withClause"));
    const { relation, item } = target(context, scope, body);
    addWrite(context, "delete", relation);
    const inner = extend(scope, [item, ...fromClause(context, scope, list(body, "usingClause"))]);
    where(context, inner, relation, body.whereClause);
    return returning(context, inner, relation, item, body);
  });
}

export function mergeRows(context: Context, body: Tree, outer: Scope): Rows {
  context.seen.add(body);
  return nested(context, () => {
    const scope = withClause(context, outer, child(body, "withClause"));
    const { relation, item } = target(context, scope, body);
    const source = fromClause(context, scope, [body.sourceRelation]);
    const inner = extend(scope, [item, ...source]);
    addRelationEffect(context, "select", relation);
    evaluate(context, inner, body.joinCondition);
    for (const node of list(body, "mergeWhenClauses")) {
      const { body: clause } = unwrap(node);
      context.seen.add(clause);
      mergeAction(context, inner, extend(scope, source), relation, clause);
    }
    // RETURNING * gives the source's columns first.
    return returning(context, extend(scope, [...source, item]), relation, item, body);
  });
}

function mergeAction(
  context: Context,
  both: Scope,
  source: Scope,
  relation: RelationInfo,
  clause: Tree,
): void {
  evaluate(context, both, clause.condition);
  switch (text(clause, "commandType")) {
    case "CMD_INSERT":
      addWrite(context, "insert", relation);
      evaluate(context, source, clause.values);
      constraintTouches(context, relation, {
        how: "insert",
        values: inserted(
          relation,
          insertColumns(context, source, relation, list(clause, "targetList")),
          clause.values === undefined ? [[]] : [list(clause, "values")],
        ),
      });
      break;
    case "CMD_UPDATE":
      addWrite(context, "update", relation);
      assignments(context, both, relation, list(clause, "targetList"));
      break;
    case "CMD_DELETE":
      addWrite(context, "delete", relation);
      break;
    case "CMD_NOTHING":
      break;
    default:
      throw new Unsupported("this action of MERGE is not supported");
  }
}

function target(
  context: Context,
  scope: Scope,
  body: Tree,
): { readonly relation: RelationInfo; readonly item: Item } {
  const variable = child(body, "relation") ?? {};
  if (text(variable, "relpersistence") === "t")
    throw new Unsupported("temporary tables are not supported through the gateway");
  const relation = resolveRelation(context, variable);
  const name = text(variable, "relname") ?? "";
  if (text(variable, "schemaname") === undefined && isCte(scope, name))
    throw new Unsupported(
      `relation "${name}" cannot be the target of a modifying statement`,
      "42809",
    );
  return { relation, item: relationItem(context, relation, variable) };
}

function isCte(scope: Scope, name: string): boolean {
  for (let at = scope.ctes; at !== undefined; at = at.parent) if (at.names.has(name)) return true;
  return false;
}

function addWrite(context: Context, action: SqlAction, relation: RelationInfo): void {
  const event = RULE_EVENTS.get(action);
  if (event !== undefined && relation.rules.includes(event))
    throw new Unsupported(
      `"${relation.name}" has rewrite rules, which are not supported through the gateway`,
    );
  context.volatile = true;
  addRelationEffect(context, action, relation);
  const written = tablesOf(context, relation);
  for (const one of written) {
    context.reached.add(one.oid);
    noteCode(context, one, true);
  }
  if (action !== "delete") return;
  const done = new Set(written.map(({ oid }) => oid));
  for (const one of written) addDeletes(context, one, done);
  constraintTouches(context, relation, { how: "delete", values: new Map() });
}

/** The table, a view's own, and its parts: whose rows it is about. */
function tablesOf(context: Context, relation: RelationInfo): RelationInfo[] {
  const table = writtenTable(context, relation);
  return [table, ...relativesOf(context.catalogue.snapshot, table).parts];
}

/** What the server deletes and changes along: nobody is asked for rights to that there. */
function addDeletes(context: Context, relation: RelationInfo, done: Set<number>): void {
  for (const { oid, action } of relation.deletesWith) {
    const other = context.catalogue.snapshot.relations.get(oid);
    if (other === undefined) continue;
    addRelationEffect(context, action, other);
    if (action === "update") addUpdate(context, relation, other, undefined, new Set());
    if (action !== "delete" || done.has(oid)) continue;
    done.add(oid);
    addDeletes(context, other, done);
  }
}

/** ON UPDATE …: rows that refer to what is changed are changed too, and so on. */
function addUpdates(
  context: Context,
  relation: RelationInfo,
  changed: ReadonlySet<number>,
  done: Set<number>,
): void {
  for (const oid of relation.updatesWith) {
    const other = context.catalogue.snapshot.relations.get(oid);
    if (other !== undefined) addUpdate(context, relation, other, changed, done);
  }
}

/** `changed`: attributes of `relation`; undefined: its rows go. */
function addUpdate(
  context: Context,
  relation: RelationInfo,
  other: RelationInfo,
  changed: ReadonlySet<number> | undefined,
  done: Set<number>,
): void {
  const along = new Set<number>();
  for (const { table, attributes, referenced } of other.foreignKeys)
    if (table === relation.oid && (!changed || referenced.some((one) => changed.has(one))))
      for (const attribute of attributes) along.add(attribute);
  if (along.size === 0 || done.has(other.oid)) return;
  done.add(other.oid);
  addRelationEffect(context, "update", other);
  const values = new Map([...along].map((attribute) => [attribute, ["computed"] as const]));
  constraintTouches(context, other, { how: "update", values });
  addUpdates(context, other, along, done);
}

/** SET a = …, (b, c) = …, d[1] = … */
function assignments(
  context: Context,
  scope: Scope,
  relation: RelationInfo,
  targets: readonly unknown[],
): void {
  const values = new Map<number, readonly Given[]>();
  for (const node of targets) {
    const { body } = unwrap(node);
    context.seen.add(body);
    const column = checkColumn(relation, text(body, "name") ?? "");
    values.set(column.attribute, [givenBy(body.val)]);
    noteNull(context, scope, column.name, body.val);
    // Setting a part of a value reads the rest of it.
    if (list(body, "indirection").length > 0) {
      evaluate(context, scope, body.indirection);
      for (const { classes, derived, name } of scope.items[0]?.columns ?? [])
        if (name === text(body, "name"))
          touchInner(context, { name, classes, derived, origin: undefined, typeOid: 0 });
    }
    evaluate(context, scope, body.val);
  }
  constraintTouches(context, relation, { how: "update", values });
  const names = new Set(
    relation.columns.filter(({ attribute }) => values.has(attribute)).map(({ name }) => name),
  );
  for (const one of tablesOf(context, relation)) {
    // A view may call its columns otherwise: then any may be meant.
    const isView = relation.kind === "view";
    const changed = one.columns.filter(({ name }) => isView || names.has(name));
    addUpdates(context, one, new Set(changed.map(({ attribute }) => attribute)), new Set());
  }
}

/** Over a masked value it would destroy that value: write-back.ts. */
function noteNull(context: Context, scope: Scope, name: string, value: unknown): void {
  const parameter = parameterOf(value);
  if (parameter === undefined && !isNull(value)) return;
  for (const column of scope.items[0]?.columns ?? [])
    if (column.name === name)
      for (const classed of column.classes) context.nulls.push({ class: classed.class, parameter });
}

function parameterOf(node: unknown): number | undefined {
  if (!isTree(node)) return undefined;
  const cast = child(node, "TypeCast");
  if (cast !== undefined) return parameterOf(cast.arg);
  const number = child(node, "ParamRef")?.number;
  return typeof number === "number" ? number : undefined;
}

function checkColumn(relation: RelationInfo, name: string): ColumnInfo {
  const column = relation.columns.find((one) => one.name === name);
  if (column !== undefined) return column;
  throw new Unsupported(`column "${name}" of relation "${relation.name}" does not exist`, "42703");
}

function where(context: Context, scope: Scope, relation: RelationInfo, clause: unknown): void {
  if (clause === undefined) return;
  // WHERE CURRENT OF names a row the session already has.
  const { type, body } = unwrap(clause);
  if (type === "CurrentOfExpr") {
    context.seen.add(body);
    return;
  }
  addRelationEffect(context, "select", relation);
  predicate(context, scope, clause);
}

function onConflict(
  context: Context,
  scope: Scope,
  relation: RelationInfo,
  item: Item,
  clause: Tree,
): void {
  const own = extend(scope, [item]);
  const infer = child(clause, "infer");
  if (infer !== undefined) {
    for (const node of list(infer, "indexElems")) {
      const { body: element } = unwrap(node);
      context.seen.add(element);
      const name = text(element, "name");
      if (name !== undefined) evaluate(context, own, columnReference(name));
      evaluate(context, own, element.expr);
    }
    evaluate(context, own, infer.whereClause);
  }
  if (text(clause, "action") !== "ONCONFLICT_UPDATE") return;
  addWrite(context, "update", relation);
  addRelationEffect(context, "select", relation);
  const excluded: Item = { ...item, name: "excluded", bySchema: false, columnsVisible: false };
  const both = extend(scope, [item, excluded]);
  assignments(context, both, relation, list(clause, "targetList"));
  evaluate(context, both, clause.whereClause);
}

function columnReference(name: string): Tree {
  return { ColumnRef: { fields: [{ String: { sval: name } }] } };
}

/** RETURNING gives bare columns out as a select list does; `old` and `new` name the row's versions. */
function returning(
  context: Context,
  scope: Scope,
  relation: RelationInfo,
  item: Item,
  body: Tree,
): Rows {
  const clause = child(body, "returningClause");
  if (clause === undefined) return NO_ROWS;
  addRelationEffect(context, "select", relation);
  const names = new Map([
    ["RETURNING_OPTION_OLD", "old"],
    ["RETURNING_OPTION_NEW", "new"],
  ]);
  for (const node of list(clause, "options")) {
    const { body: option } = unwrap(node);
    context.seen.add(option);
    names.set(text(option, "option") ?? "", text(option, "value") ?? "");
  }
  const versions = [...names.values()]
    .filter((name) => !scope.items.some((other) => other.name === name))
    .map((name) => ({ ...item, name, bySchema: false, columnsVisible: false }));
  // INSERT's own scope has no items yet.
  const items = scope.items.includes(item) ? scope.items : [item, ...scope.items];
  const own = extend(scope, [...items, ...versions]);
  return targetList(context, own, list(clause, "exprs"), { defer: false });
}

/** Column names of COPY and the like, as strings. */
export function columnNames(nodes: readonly unknown[]): string[] {
  return nodes.map(stringOf).filter((name) => name !== undefined);
}
