// FROM: tables, views, CTEs, subqueries, functions and joins as items of a name space
// (parse_clause.c, transformFromClauseItem).

import type { FunctionInfo, RelationInfo } from "./catalogue.ts";
import { findFunctions, findRelation } from "./catalogue-resolve.ts";
import { addOperatorEffects, addTypeEffects } from "./functions.ts";
import {
  addRelationEffect,
  type Column,
  type Context,
  computed,
  type Item,
  nested,
  type Rows,
  renamed,
  type Scope,
  spend,
  touchInner,
} from "./lineage-context.ts";
import { columnName, EQUALS, evaluate, isConstant } from "./lineage-expression.ts";
import { extend, findCte } from "./lineage-scope.ts";
import { relationRows } from "./lineage-view.ts";
import {
  child,
  flag,
  isTree,
  list,
  locationOf,
  nameParts,
  stringOf,
  type Tree,
  text,
  Unsupported,
  unwrap,
} from "./parse.ts";

/** The items of a FROM or USING list; each sees those before it where LATERAL allows. */
export function fromClause(context: Context, outer: Scope, nodes: readonly unknown[]): Item[] {
  const items: Item[] = [];
  for (const node of nodes) items.push(...fromItem(context, { outer, left: items }, node).items);
  return items;
}

/** Where in FROM an item stands. */
interface Place {
  /** What surrounds the whole query. */
  readonly outer: Scope;
  /** The items to its left, which functions and LATERAL subqueries see. */
  readonly left: readonly Item[];
}

function lateral(place: Place): Scope {
  return extend(place.outer, place.left);
}

interface FromItem extends Rows {
  readonly items: readonly Item[];
}

function fromItem(context: Context, place: Place, node: unknown): FromItem {
  const { type, body } = unwrap(node);
  context.seen.add(body);
  return nested(context, () => {
    switch (type) {
      case "RangeVar":
        return single(rangeVariable(context, place.outer, body));
      case "RangeSubselect":
        return single(subselect(context, place, body));
      case "RangeFunction":
        return single(rangeFunction(context, lateral(place), body));
      case "RangeTableSample":
        return single(tableSample(context, place.outer, body));
      case "RangeTableFunc":
        return single(xmlTable(context, lateral(place), body));
      case "JsonTable":
        return single(jsonTable(context, lateral(place), body));
      case "JoinExpr":
        return join(context, place, body);
      default:
        throw new Unsupported(
          `FROM items of kind ${type} are not supported`,
          "42501",
          locationOf(body),
        );
    }
  });
}

function single(item: Item): FromItem {
  return { items: [item], columns: item.columns, open: item.open };
}

/** A relation named where no CTE can be meant: the target of a write, DDL, COPY. */
export function resolveRelation(context: Context, body: Tree): RelationInfo {
  context.seen.add(body);
  const name = text(body, "relname") ?? "";
  const schema = text(body, "schemaname");
  const database = text(body, "catalogname");
  const full = [database, schema, name].filter((part) => part !== undefined).join(".");
  if (database !== undefined && database !== context.catalogue.place.database)
    throw new Unsupported(
      `cross-database references are not implemented: "${full}"`,
      "0A000",
      locationOf(body),
    );
  const relation = findRelation(context.catalogue.snapshot, context.searchPath, schema, name);
  if (relation === undefined)
    throw new Unsupported(`relation "${full}" does not exist`, "42P01", locationOf(body));
  return relation;
}

export function relationItem(context: Context, relation: RelationInfo, body: Tree): Item {
  const rows = relationRows(context, relation);
  const alias = child(body, "alias");
  return {
    ...applyAlias(rows, alias),
    name: aliasName(alias) ?? relation.name,
    relation,
    bySchema: alias === undefined,
    columnsVisible: true,
    nameVisible: true,
  };
}

function rangeVariable(context: Context, scope: Scope, body: Tree): Item {
  const name = text(body, "relname") ?? "";
  if (text(body, "schemaname") === undefined && text(body, "catalogname") === undefined) {
    const cte = findCte(scope.ctes, name);
    if (cte === "pending")
      throw new Unsupported(`WITH query "${name}" is used before it is defined`, "0A000");
    if (cte !== undefined) {
      const alias = child(body, "alias");
      return derived(applyAlias(cte, alias), aliasName(alias) ?? name);
    }
  }
  const relation = resolveRelation(context, body);
  if (relation.kind === "index" || relation.kind === "composite" || relation.kind === "other")
    throw new Unsupported(`cannot open relation "${name}"`, "42809", locationOf(body));
  addRelationEffect(context, "select", relation, !flag(body, "inh"));
  return relationItem(context, relation, body);
}

function subselect(context: Context, place: Place, body: Tree): Item {
  const { type, body: query } = unwrap(body.subquery);
  // Without LATERAL the items to the left are out of sight.
  const outer = flag(body, "lateral") ? lateral(place) : place.outer;
  const rows = context.query(context, type, query, outer, { defer: false });
  const alias = child(body, "alias");
  return derived(applyAlias(rows, alias), aliasName(alias));
}

function derived(rows: Rows, name: string | undefined): Item {
  return {
    columns: rows.columns,
    open: rows.open,
    name,
    relation: undefined,
    bySchema: false,
    columnsVisible: true,
    nameVisible: name !== undefined,
  };
}

function tableSample(context: Context, scope: Scope, body: Tree): Item {
  const method = nameParts(list(body, "method")).at(-1) ?? "";
  if (method !== "system" && method !== "bernoulli")
    throw new Unsupported(`tablesample method ${method} is not supported`);
  evaluate(context, scope, body.args);
  evaluate(context, scope, body.repeatable);
  const { body: relation } = unwrap(body.relation);
  context.seen.add(relation);
  return rangeVariable(context, scope, relation);
}

function rangeFunction(context: Context, scope: Scope, body: Tree): Item {
  const alias = child(body, "alias");
  const functions = list(body, "functions");
  const parts: Rows[] = functions.map((entry) => {
    const [call, definitions] = list(unwrap(entry).body, "items");
    context.seen.add(unwrap(entry).body);
    evaluate(context, scope, call);
    const own = isTree(definitions) ? child(definitions, "List") : undefined;
    if (own !== undefined) {
      context.seen.add(own);
      return definedColumns(context, list(own, "items"));
    }
    return functionColumns(context, call, functions.length === 1 ? aliasName(alias) : undefined);
  });
  let rows: Rows = {
    columns: parts.flatMap((part) => part.columns),
    open: parts.some((part) => part.open),
  };
  if (list(body, "coldeflist").length > 0) rows = definedColumns(context, list(body, "coldeflist"));
  if (flag(body, "ordinality"))
    rows = { columns: [...rows.columns, computed("ordinality")], open: rows.open };
  const named = applyAlias(rows, alias);
  return derived(named, aliasName(alias) ?? columnName(firstCall(functions)));
}

function firstCall(functions: readonly unknown[]): unknown {
  return list(unwrap(functions[0]).body, "items")[0];
}

/** `AS t(a int, b text)` */
function definedColumns(context: Context, definitions: readonly unknown[]): Rows {
  const columns = definitions.map((definition) => {
    const { body } = unwrap(definition);
    context.seen.add(body);
    addTypeEffects(context, child(body, "typeName") ?? {});
    return computed(text(body, "colname") ?? "");
  });
  return { columns, open: false };
}

function functionColumns(context: Context, call: unknown, alias: string | undefined): Rows {
  const body = isTree(call) ? child(call, "FuncCall") : undefined;
  const own = columnName(call);
  if (body === undefined) return { columns: [computed(alias ?? own)], open: false };
  const parts = nameParts(list(body, "funcname"));
  const name = parts.at(-1) ?? "";
  const schema = parts.length > 1 ? parts.at(-2) : undefined;
  const args = list(body, "args");
  if (name === "unnest") return unnest(args, alias ?? own);
  const found = findFunctions(context.catalogue.snapshot, context.searchPath, schema, name);
  const shapes = new Set(found.map(shapeOf));
  const first = found[0];
  if (shapes.size !== 1 || first === undefined)
    return { columns: [computed(alias ?? own)], open: true };
  if (first.outNames.length > 1)
    return { columns: first.outNames.map((column) => computed(column)), open: false };
  if (first.returnsRow) return { columns: [], open: true };
  return { columns: [computed(first.outNames[0] || alias || own)], open: false };
}

function shapeOf(candidate: FunctionInfo): string {
  return `${candidate.returnsRow}:${candidate.outNames.join(",")}`;
}

/** Several arrays give several columns; an array of rows gives the row's. */
function unnest(args: readonly unknown[], name: string): Rows {
  const columns = args.map(() => computed(args.length === 1 ? name : "unnest"));
  return { columns, open: !args.every(isScalarArray) };
}

/** A constant cast to an array of a system type, or a list of constants. */
function isScalarArray(node: unknown): boolean {
  if (!isTree(node)) return false;
  const array = child(node, "A_ArrayExpr");
  if (array !== undefined) return list(array, "elements").every(isConstant);
  const cast = child(node, "TypeCast");
  if (cast === undefined) return false;
  const typeName = child(cast, "typeName") ?? {};
  return isConstant({ TypeCast: { ...cast, typeName: { ...typeName, arrayBounds: [] } } });
}

function xmlTable(context: Context, scope: Scope, body: Tree): Item {
  evaluate(context, scope, body.docexpr);
  evaluate(context, scope, body.rowexpr);
  evaluate(context, scope, body.namespaces);
  const columns = list(body, "columns").map((node) => {
    const { body: column } = unwrap(node);
    context.seen.add(column);
    const typeName = child(column, "typeName");
    if (typeName !== undefined) addTypeEffects(context, typeName);
    evaluate(context, scope, column.colexpr);
    evaluate(context, scope, column.coldefexpr);
    return computed(text(column, "colname") ?? "");
  });
  const alias = child(body, "alias");
  return derived(applyAlias({ columns, open: false }, alias), aliasName(alias) ?? "xmltable");
}

function jsonTable(context: Context, scope: Scope, body: Tree): Item {
  const item = child(body, "context_item");
  if (item !== undefined) evaluate(context, scope, { JsonValueExpr: item });
  evaluate(context, scope, body.passing);
  jsonTablePath(context, scope, child(body, "pathspec"));
  const columns = jsonTableColumns(context, scope, list(body, "columns"));
  const alias = child(body, "alias");
  return derived(applyAlias({ columns, open: false }, alias), aliasName(alias) ?? "json_table");
}

function jsonTableColumns(context: Context, scope: Scope, nodes: readonly unknown[]): Column[] {
  return nodes.flatMap((node) => {
    const { body } = unwrap(node);
    context.seen.add(body);
    jsonTablePath(context, scope, child(body, "pathspec"));
    for (const field of ["on_empty", "on_error"]) {
      const behaviour = child(body, field);
      if (behaviour !== undefined) evaluate(context, scope, { JsonBehavior: behaviour });
    }
    if (text(body, "coltype") === "JTC_NESTED")
      return nested(context, () => jsonTableColumns(context, scope, list(body, "columns")));
    const typeName = child(body, "typeName");
    if (typeName !== undefined) addTypeEffects(context, typeName);
    return [computed(text(body, "name") ?? "")];
  });
}

function jsonTablePath(context: Context, scope: Scope, path: Tree | undefined): void {
  if (path !== undefined) evaluate(context, scope, path.string);
}

function join(context: Context, place: Place, body: Tree): FromItem {
  const left = fromItem(context, place, body.larg);
  const seen = [...place.left, ...left.items];
  const right = fromItem(context, { outer: place.outer, left: seen }, body.rarg);
  const names = joinNames(left, right, body);
  const kind = text(body, "jointype") ?? "";
  spend(context, (left.columns.length + right.columns.length) * (names.length + 1));
  const merged = names.map((name) => mergeColumn(context, left, right, name, kind));
  const rest = (rows: Rows) => rows.columns.filter((column) => !names.includes(column.name));
  const rows: Rows = {
    columns: [...merged, ...rest(left), ...rest(right)],
    open: left.open || right.open,
  };
  const both = [...left.items, ...right.items];
  if (body.quals !== undefined) evaluate(context, extend(place.outer, both), body.quals);
  const alias = child(body, "alias");
  const usingAlias = child(body, "join_using_alias");
  const items: Item[] = [];
  if (usingAlias !== undefined) {
    const item = derived({ columns: merged, open: false }, aliasName(usingAlias));
    items.push({ ...item, columnsVisible: false });
  }
  if (alias !== undefined) {
    const item = derived(applyAlias(rows, alias), aliasName(alias));
    return { items: [item, ...items], columns: item.columns, open: item.open };
  }
  items.push(...both.map((item) => ({ ...item, columnsVisible: false })), derived(rows, undefined));
  return { items, columns: rows.columns, open: rows.open };
}

function joinNames(left: Rows, right: Rows, body: Tree): string[] {
  if (!flag(body, "isNatural")) return nameParts(list(body, "usingClause"));
  if (left.open || right.open)
    throw new Unsupported("NATURAL JOIN over a function whose columns are not known");
  const there = new Set(right.columns.map((column) => column.name));
  return left.columns.map((column) => column.name).filter((name) => there.has(name));
}

/** The one column USING makes of two (buildMergedJoinVar). Comparing them uses both. */
function mergeColumn(
  context: Context,
  left: Rows,
  right: Rows,
  name: string,
  kind: string,
): Column {
  const one = left.columns.find((column) => column.name === name);
  const other = right.columns.find((column) => column.name === name);
  if (one === undefined || other === undefined) {
    if (left.open || right.open) throw new Unsupported("USING over columns that are not known");
    const side = one === undefined ? "left" : "right";
    throw new Unsupported(
      `column "${name}" specified in USING clause does not exist in ${side} table`,
      "42703",
    );
  }
  addOperatorEffects(context, EQUALS);
  touchInner(context, one);
  touchInner(context, other);
  const base = kind === "JOIN_RIGHT" ? other : one;
  // A coercion or COALESCE makes it computed; the server then names no table, or either.
  if (kind === "JOIN_FULL" || one.typeOid === 0 || one.typeOid !== other.typeOid)
    return computed(name);
  return { ...base, name, classes: [], derived: [] };
}

function aliasName(alias: Tree | undefined): string | undefined {
  return alias === undefined ? undefined : text(alias, "aliasname");
}

/** `AS t(a, b)` renames the first columns. */
export function applyAlias(rows: Rows, alias: Tree | undefined): Rows {
  const names = alias === undefined ? [] : list(alias, "colnames").map(stringOf);
  if (names.length === 0) return rows;
  const columns = rows.columns.map((column, index) => renamed(column, names[index] ?? column.name));
  if (!rows.open) return { columns, open: false };
  // Which of the unknown columns get the rest of the names is not known either; a name given
  // to a column of its own is at least never another's.
  const extra = names.slice(rows.columns.length).map((name) => computed(name ?? ""));
  return { columns: [...columns, ...extra], open: true };
}
