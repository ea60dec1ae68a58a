// SELECT: its FROM, its predicates, what it gives out; set operations, VALUES and WITH.

import { addOperatorEffects } from "./functions.ts";
import {
  addRelationEffect,
  type Column,
  type Context,
  type CteScope,
  computed,
  nested,
  type QueryOptions,
  type Rows,
  renamed,
  requireRoom,
  type Scope,
  spend,
  TouchList,
  touchInner,
  touchRow,
  united,
} from "./lineage-context.ts";
import { bareColumn, columnName, evaluate, predicate, window } from "./lineage-expression.ts";
import { applyAlias, fromClause } from "./lineage-from.ts";
import { extend, resolveReference } from "./lineage-scope.ts";
import {
  child,
  flag,
  isTree,
  list,
  stringOf,
  type Tree,
  text,
  Unsupported,
  unwrap,
} from "./parse.ts";

export function selectRows(
  context: Context,
  body: Tree,
  outer: Scope,
  options: QueryOptions,
): Rows {
  context.seen.add(body);
  return nested(context, () => {
    const scope = withClause(context, outer, child(body, "withClause"));
    const operation = text(body, "op") ?? "SETOP_NONE";
    let rows: Rows;
    if (operation !== "SETOP_NONE") rows = setOperation(context, body, scope, options);
    else if (list(body, "valuesLists").length > 0) rows = values(context, body, scope);
    else rows = plainSelect(context, body, scope, options);
    // LIMIT and OFFSET see no columns of this query; outer ones they may.
    evaluate(context, scope, body.limitCount);
    evaluate(context, scope, body.limitOffset);
    if (list(body, "lockingClause").length > 0) locks(context, body);
    return rows;
  });
}

function plainSelect(context: Context, body: Tree, outer: Scope, options: QueryOptions): Rows {
  const scope = extend(outer, fromClause(context, outer, list(body, "fromClause")));
  predicate(context, scope, body.whereClause);
  const targets = list(body, "targetList");
  const rows = targetList(context, scope, targets, options);
  for (const node of list(body, "groupClause")) byName(context, scope, node, rows, "input");
  evaluate(context, scope, body.havingClause);
  for (const node of list(body, "windowClause")) window(context, scope, unwrap(node).body);
  for (const node of list(body, "sortClause")) sortBy(context, scope, node, rows);
  const distinct = list(body, "distinctClause");
  // `DISTINCT` alone is a list of one empty node.
  for (const node of distinct) {
    if (isTree(node) && Object.keys(node).length > 0) byName(context, scope, node, rows, "output");
    else touchRow(context, rows);
  }
  return rows;
}

/** The select or RETURNING list: bare columns stay what they are, anything else is evaluated. */
export function targetList(
  context: Context,
  scope: Scope,
  targets: readonly unknown[],
  options: QueryOptions,
): Rows {
  const columns: Column[] = [];
  let open = false;
  for (const node of targets) {
    const { body: target } = unwrap(node);
    context.seen.add(target);
    const value = target.val;
    const star = starRows(context, scope, value);
    if (star !== undefined) {
      for (const column of star.columns) columns.push(column);
      requireRoom(columns.length);
      open ||= star.open;
      continue;
    }
    open ||= isRowExpansion(value);
    const name = text(target, "name") ?? columnName(value);
    const bare = bareColumn(context, scope, value);
    if (bare !== undefined) columns.push(settle(context, renamed(bare, name), options));
    else columns.push(expression(context, scope, value, name, options));
  }
  const rows = { columns: columns.map((column) => settle(context, column, options)), open };
  // With columns whose place is not known no mask could be put on the others.
  if (open) touchRow(context, rows);
  return rows;
}

/** `(expression).*`: as many columns as the row type has. */
function isRowExpansion(value: unknown): boolean {
  const indirection = isTree(value) ? child(value, "A_Indirection") : undefined;
  const last = indirection === undefined ? undefined : list(indirection, "indirection").at(-1);
  return isTree(last) && child(last, "A_Star") !== undefined;
}

function starRows(context: Context, scope: Scope, value: unknown): Rows | undefined {
  const reference = isTree(value) ? child(value, "ColumnRef") : undefined;
  if (reference === undefined) return undefined;
  const fields = list(reference, "fields");
  if (stringOf(fields[fields.length - 1]) !== undefined) return undefined;
  const resolved = resolveReference(context, scope, reference);
  if (resolved.kind !== "star") throw new Unsupported("a column reference has an unexpected shape");
  return resolved.rows;
}

/** What a column was computed from counts as used as soon as somebody's query gives it out. */
function settle(context: Context, column: Column, options: QueryOptions): Column {
  if (options.defer || column.derived.length === 0) return column;
  touchInner(context, column);
  return { ...column, classes: [], derived: [] };
}

function expression(
  context: Context,
  scope: Scope,
  value: unknown,
  name: string,
  options: QueryOptions,
): Column {
  if (!options.defer) {
    evaluate(context, scope, value);
    return computed(name);
  }
  const outerTouches = context.touches;
  context.touches = new TouchList();
  try {
    evaluate(context, scope, value);
    const derived = context.touches.list().map((t) => ({ class: t.class, column: t.column }));
    return { ...computed(name), derived };
  } finally {
    context.touches = outerTouches;
  }
}

/** ORDER BY: a bare name is an output column's before an input column's (SQL92); a number, its place. */
function sortBy(context: Context, scope: Scope, node: unknown, rows: Rows): void {
  const { type, body } = unwrap(node);
  context.seen.add(body);
  if (type !== "SortBy") throw new Unsupported("ORDER BY has an unexpected shape");
  const operator = list(body, "useOp");
  if (operator.length > 0) addOperatorEffects(context, operator);
  byName(context, scope, body.node, rows, "output");
}

/** GROUP BY, DISTINCT ON and ORDER BY: by place, by name or by expression. `first`: whose name wins. */
function byName(
  context: Context,
  scope: Scope,
  node: unknown,
  rows: Rows,
  first: "input" | "output",
): void {
  const { type, body } = unwrap(node);
  if (type === "GroupingSet") {
    context.seen.add(body);
    for (const inner of list(body, "content")) byName(context, scope, inner, rows, first);
    return;
  }
  if (type === "RowExpr" && first === "input") {
    context.seen.add(body);
    for (const inner of list(body, "args")) byName(context, scope, inner, rows, first);
    return;
  }
  const place = type === "A_Const" ? child(body, "ival") : undefined;
  if (place !== undefined) {
    context.seen.add(body);
    const column = rows.columns[Number(place.ival ?? 0) - 1];
    if (column !== undefined) touchInner(context, column);
    if (rows.open) touchRow(context, rows);
    return;
  }
  const name =
    type === "ColumnRef" && list(body, "fields").length === 1
      ? stringOf(list(body, "fields")[0])
      : undefined;
  spend(context, rows.columns.length);
  const outputs = name === undefined ? [] : rows.columns.filter((column) => column.name === name);
  if (outputs.length === 0) {
    evaluate(context, scope, node);
    return;
  }
  for (const column of outputs) touchInner(context, column);
  context.seen.add(body);
  if (first === "output") return;
  try {
    evaluate(context, scope, node);
  } catch (thrown) {
    // No input column of that name: then it is the output column, which was used above.
    if (!(thrown instanceof Unsupported && thrown.sqlState === "42703")) throw thrown;
  }
}

function values(context: Context, body: Tree, scope: Scope): Rows {
  let width = 0;
  for (const row of list(body, "valuesLists")) {
    const { body: items } = unwrap(row);
    context.seen.add(items);
    width = Math.max(width, list(items, "items").length);
    evaluate(context, scope, items.items);
  }
  const columns = Array.from({ length: width }, (_, index) => computed(`column${index + 1}`));
  const rows = { columns, open: false };
  for (const node of list(body, "sortClause")) sortBy(context, scope, node, rows);
  return rows;
}

function setOperation(context: Context, body: Tree, scope: Scope, options: QueryOptions): Rows {
  const left = selectRows(context, child(body, "larg") ?? {}, scope, options);
  const right = selectRows(context, child(body, "rarg") ?? {}, scope, options);
  const concatenates = text(body, "op") === "SETOP_UNION" && flag(body, "all");
  if (!concatenates || left.open || right.open) {
    touchRow(context, left);
    touchRow(context, right);
    const columns = left.columns.map((column) => computed(column.name));
    return sorted(context, body, { columns, open: left.open || right.open });
  }
  const columns = left.columns.map((column, index) => {
    const other = right.columns[index];
    return other === undefined ? column : concatenated(context, column, other);
  });
  return sorted(context, body, { columns, open: false });
}

/** One column of UNION ALL: masked when one side is classified, as long as one mask will do. */
function concatenated(context: Context, left: Column, right: Column): Column {
  const classes = united(context, left.classes, right.classes);
  const derived = united(context, left.derived, right.derived);
  if (new Set(classes.map((classed) => classed.class)).size <= 1)
    return { ...computed(left.name), classes, derived };
  touchInner(context, left);
  touchInner(context, right);
  return computed(left.name);
}

/** ORDER BY of a set operation may only name output columns. */
function sorted(context: Context, body: Tree, rows: Rows): Rows {
  const none: Scope = { items: [], parent: undefined, ctes: undefined };
  for (const node of list(body, "sortClause")) sortBy(context, none, node, rows);
  return rows;
}

/** FOR UPDATE and its kin lock rows of what this query reads. */
function locks(context: Context, body: Tree): void {
  for (const node of list(body, "lockingClause")) {
    const { body: clause } = unwrap(node);
    context.seen.add(clause);
    for (const relation of list(clause, "lockedRels")) context.seen.add(unwrap(relation).body);
  }
  context.volatile = true;
  for (const oid of [...context.reached]) {
    const relation = context.catalogue.snapshot.relations.get(oid);
    if (relation !== undefined) addRelationEffect(context, "lock", relation);
  }
}

/** WITH: each query is analysed once, where it stands; later ones see it by name. */
export function withClause(context: Context, outer: Scope, clause: Tree | undefined): Scope {
  if (clause === undefined) return outer;
  const ctes: CteScope = { names: new Map(), parent: outer.ctes };
  const scope: Scope = { items: [], parent: outer, ctes };
  const queries = list(clause, "ctes").map((node) => unwrap(node).body);
  const recursive = flag(clause, "recursive");
  // WITH RECURSIVE makes every name visible to every query of the list.
  if (recursive)
    for (const query of queries) ctes.names.set(text(query, "ctename") ?? "", "pending");
  for (const query of queries) {
    context.seen.add(query);
    const name = text(query, "ctename") ?? "";
    const columns = recursive
      ? recursiveQuery(context, scope, ctes, name, query)
      : commonQuery(context, scope, query);
    ctes.names.set(name, extraColumns(context, scope, query, columns));
  }
  return scope;
}

function commonQuery(context: Context, scope: Scope, query: Tree): Rows {
  const { type, body } = unwrap(query.ctequery);
  const rows = context.query(context, type, body, scope, { defer: false });
  return applyAlias(rows, { colnames: query.aliascolnames });
}

/** What goes round in a recursion is no bare column any more: classified values in it are used. */
function recursiveQuery(
  context: Context,
  scope: Scope,
  ctes: CteScope,
  name: string,
  query: Tree,
): Rows {
  const { type, body } = unwrap(query.ctequery);
  const plain = type !== "SelectStmt" || text(body, "op") !== "SETOP_UNION";
  if (plain || list(body, "sortClause").length > 0) return commonQuery(context, scope, query);
  context.seen.add(body);
  const inner = withClause(context, scope, child(body, "withClause"));
  const options = { defer: false };
  const first = selectRows(context, child(body, "larg") ?? {}, inner, options);
  touchRow(context, first);
  const rows = applyAlias(
    { columns: first.columns.map((column) => computed(column.name)), open: first.open },
    { colnames: query.aliascolnames },
  );
  ctes.names.set(name, rows);
  touchRow(context, selectRows(context, child(body, "rarg") ?? {}, inner, options));
  evaluate(context, inner, body.limitCount);
  evaluate(context, inner, body.limitOffset);
  if (list(body, "lockingClause").length > 0)
    throw new Unsupported("FOR UPDATE in a recursive query is not implemented", "0A000");
  return rows;
}

/** SEARCH and CYCLE order and compare whole rows, and add columns that are made of them. */
function extraColumns(context: Context, scope: Scope, query: Tree, rows: Rows): Rows {
  const search = child(query, "search_clause");
  const cycle = child(query, "cycle_clause");
  if (search === undefined && cycle === undefined) return rows;
  touchRow(context, rows);
  const names = [
    search && text(search, "search_seq_column"),
    cycle && text(cycle, "cycle_mark_column"),
    cycle && text(cycle, "cycle_path_column"),
  ].filter((name) => name !== undefined);
  evaluate(context, scope, cycle?.cycle_mark_value);
  evaluate(context, scope, cycle?.cycle_mark_default);
  return { columns: [...rows.columns, ...names.map((name) => computed(name))], open: rows.open };
}
