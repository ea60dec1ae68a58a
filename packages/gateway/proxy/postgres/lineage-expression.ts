// Expressions. Whatever classified column is used in one, other than as the bare column a query gives
// out, is an "inner" touch, except equality with a constant in WHERE, which is a "match".
//
// Every node type is listed with the fields that hold further expressions; an unlisted type is refused.

import {
  addAttributeEffects,
  addCallEffects,
  addOperatorEffects,
  addTypeEffects,
} from "./functions.ts";
import {
  type Column,
  type Context,
  nested,
  type Scope,
  touchInner,
  touchRow,
} from "./lineage-context.ts";
import { resolveReference } from "./lineage-scope.ts";
import {
  child,
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

/** Fields with one expression or a list of them; without further meaning of their own. */
const PLAIN = new Map<string, readonly string[]>([
  ["A_Const", []],
  ["ParamRef", []],
  ["SetToDefault", []],
  ["SQLValueFunction", []],
  ["MergeSupportFunc", []],
  ["List", ["items"]],
  ["BoolExpr", ["args"]],
  ["NullTest", ["arg"]],
  ["BooleanTest", ["arg"]],
  ["CaseExpr", ["arg", "args", "defresult"]],
  ["CaseWhen", ["expr", "result"]],
  ["CoalesceExpr", ["args"]],
  ["MinMaxExpr", ["args"]],
  ["RowExpr", ["args"]],
  ["A_ArrayExpr", ["elements"]],
  ["A_Indices", ["lidx", "uidx"]],
  ["A_Indirection", ["arg", "indirection"]],
  ["CollateClause", ["arg"]],
  ["NamedArgExpr", ["arg"]],
  ["GroupingFunc", ["args"]],
  ["GroupingSet", ["content"]],
  ["ResTarget", ["val", "indirection"]],
  ["MultiAssignRef", ["source"]],
  ["XmlExpr", ["named_args", "args"]],
  ["JsonObjectConstructor", ["exprs"]],
  ["JsonArrayConstructor", ["exprs"]],
  ["JsonKeyValue", ["key"]],
  ["JsonScalarExpr", ["expr"]],
  ["JsonIsPredicate", ["expr"]],
  ["JsonValueExpr", ["raw_expr"]],
  ["JsonArgument", []],
  ["JsonBehavior", ["expr"]],
  ["JsonFuncExpr", ["pathspec", "passing"]],
  ["JsonParseExpr", []],
  ["JsonSerializeExpr", []],
  ["JsonObjectAgg", []],
  ["JsonArrayAgg", []],
]);

/** Fields that hold another node without its wrapping key. */
const EMBEDDED = new Map<string, readonly (readonly [string, string])[]>([
  ["JsonKeyValue", [["value", "JsonValueExpr"]]],
  ["JsonParseExpr", [["expr", "JsonValueExpr"]]],
  ["JsonSerializeExpr", [["expr", "JsonValueExpr"]]],
  ["JsonArgument", [["val", "JsonValueExpr"]]],
  [
    "JsonFuncExpr",
    [
      ["context_item", "JsonValueExpr"],
      ["on_empty", "JsonBehavior"],
      ["on_error", "JsonBehavior"],
    ],
  ],
  ["JsonObjectAgg", [["arg", "JsonKeyValue"]]],
  ["JsonArrayAgg", [["arg", "JsonValueExpr"]]],
]);

/** The operator of comparisons that name none. */
export const EQUALS: readonly unknown[] = [{ String: { sval: "=" } }];

/** Uses the node's value; whatever classified value is in it is an inner touch. */
export function evaluate(context: Context, scope: Scope, node: unknown): void {
  if (node === undefined) return;
  if (Array.isArray(node)) {
    for (const one of node) evaluate(context, scope, one);
    return;
  }
  const { type, body } = unwrapOrEmpty(node);
  if (type !== "") nested(context, () => evaluateNode(context, scope, type, body));
}

function evaluateNode(context: Context, scope: Scope, type: string, body: Tree): void {
  context.seen.add(body);
  switch (type) {
    case "String":
    case "A_Star":
      break;
    case "ColumnRef":
      touchReference(context, scope, body);
      break;
    case "A_Expr":
      operator(context, scope, body);
      break;
    case "FuncCall":
      call(context, scope, body);
      break;
    case "SubLink":
      subquery(context, scope, body);
      break;
    case "TypeCast":
      addTypeEffects(context, child(body, "typeName") ?? {});
      evaluate(context, scope, body.arg);
      break;
    case "XmlSerialize":
      addTypeEffects(context, child(body, "typeName") ?? {});
      evaluate(context, scope, body.expr);
      break;
    case "A_Indirection":
      for (const name of list(body, "indirection").map(stringOf))
        if (name !== undefined) addAttributeEffects(context, name);
      plain(context, scope, type, body);
      break;
    case "SortBy":
      // ORDER BY … USING names an operator.
      if (list(body, "useOp").length > 0) addOperatorEffects(context, list(body, "useOp"));
      evaluate(context, scope, body.node);
      break;
    case "CaseExpr":
      // CASE x WHEN y compares.
      if (body.arg !== undefined) addOperatorEffects(context, EQUALS);
      plain(context, scope, type, body);
      break;
    case "WindowDef":
      window(context, scope, body);
      break;
    case "JsonArrayQueryConstructor":
      jsonOutput(context, body);
      touchRow(context, query(context, scope, body.query));
      break;
    default:
      plain(context, scope, type, body);
  }
}

function plain(context: Context, scope: Scope, type: string, body: Tree): void {
  const fields = PLAIN.get(type);
  if (fields === undefined)
    throw new Unsupported(
      `expressions of kind ${type} are not supported`,
      "42501",
      locationOf(body),
    );
  for (const field of fields) evaluate(context, scope, body[field]);
  for (const [field, embedded] of EMBEDDED.get(type) ?? []) {
    const inner = child(body, field);
    if (inner !== undefined) nested(context, () => evaluateNode(context, scope, embedded, inner));
  }
  if (type.startsWith("Json")) jsonOutput(context, body);
  const aggregate = child(body, "constructor");
  if (aggregate === undefined || !Object.hasOwn(body, "constructor")) return;
  jsonOutput(context, aggregate);
  evaluate(context, scope, aggregate.agg_filter);
  evaluate(context, scope, aggregate.agg_order);
  const over = child(aggregate, "over");
  if (over !== undefined) window(context, scope, over);
}

function jsonOutput(context: Context, body: Tree): void {
  const typeName = child(child(body, "output") ?? {}, "typeName");
  if (typeName !== undefined) addTypeEffects(context, typeName);
}

/**
 * WHERE: under AND and OR, a bare classified column that must equal a constant or parameter is a
 * match. Anything else is evaluated.
 */
export function predicate(context: Context, scope: Scope, node: unknown): void {
  if (node === undefined) return;
  const { type, body } = unwrap(node);
  if (type === "BoolExpr" && text(body, "boolop") !== "NOT_EXPR") {
    context.seen.add(body);
    nested(context, () => {
      for (const arg of list(body, "args")) predicate(context, scope, arg);
    });
    return;
  }
  const column = type === "A_Expr" ? matched(context, scope, body) : undefined;
  if (column === undefined) evaluate(context, scope, node);
}

/** The bare column a node stands for; undefined when it is an expression. Touches nothing. */
export function bareColumn(context: Context, scope: Scope, node: unknown): Column | undefined {
  if (!isTree(node)) return undefined;
  const reference = child(node, "ColumnRef");
  if (reference === undefined) return undefined;
  const fields = list(reference, "fields");
  if (stringOf(fields[fields.length - 1]) === undefined) return undefined;
  const resolved = resolveReference(context, scope, reference);
  return resolved.kind === "column" ? resolved.column : undefined;
}

/** A constant or parameter, as it stands or cast to a plain built-in type. */
export function isConstant(node: unknown): boolean {
  if (!isTree(node)) return false;
  if (child(node, "A_Const") !== undefined || child(node, "ParamRef") !== undefined) return true;
  const cast = child(node, "TypeCast");
  if (cast === undefined || !isConstant(cast.arg)) return false;
  const typeName = child(cast, "typeName") ?? {};
  const names = list(typeName, "names").map(stringOf);
  const last = names[names.length - 1] ?? "";
  const system = names.length === 1 || (names.length === 2 && names[0] === "pg_catalog");
  return system && list(typeName, "arrayBounds").length === 0 && PLAIN_TYPES.has(last);
}

const PLAIN_TYPES = new Set(
  "text varchar bpchar int2 int4 int8 numeric float4 float8 bool uuid date time timestamp timestamptz bytea".split(
    " ",
  ),
);

function matched(context: Context, scope: Scope, body: Tree): Column | undefined {
  if (text(body, "kind") !== "AEXPR_OP" || context.within !== "statement") return undefined;
  const names = list(body, "name");
  if (names.length !== 1 || stringOf(names[0]) !== "=") return undefined;
  const { lexpr, rexpr } = body;
  const [side, constant] = isConstant(rexpr) ? [lexpr, rexpr] : [rexpr, lexpr];
  if (!isConstant(constant)) return undefined;
  const column = bareColumn(context, scope, side);
  if (column === undefined || column.classes.length === 0 || column.derived.length > 0)
    return undefined;
  // Another "=" than the built-in one is somebody's function.
  if (context.catalogue.snapshot.operators.some((operator) => operator.name === "="))
    return undefined;
  // One value a statement: a list of guesses is a search.
  if (column.classes.some((classed) => context.touches.has("match", classed))) return undefined;
  context.seen.add(body);
  evaluate(context, scope, constant);
  for (const classed of column.classes) context.touches.add("match", classed);
  return column;
}

function touchReference(context: Context, scope: Scope, body: Tree): void {
  const resolved = resolveReference(context, scope, body);
  if (resolved.kind === "column") {
    touchInner(context, resolved.column);
    return;
  }
  touchRow(context, resolved.rows);
  if (resolved.rowType !== undefined) context.types.add(resolved.rowType);
}

/** How A_Expr is written when it is no plain operator; the operator's name is still in `name`. */
const OPERATOR_KINDS = new Set([
  "AEXPR_OP",
  "AEXPR_OP_ANY",
  "AEXPR_OP_ALL",
  "AEXPR_DISTINCT",
  "AEXPR_NOT_DISTINCT",
  "AEXPR_NULLIF",
  "AEXPR_IN",
  "AEXPR_LIKE",
  "AEXPR_ILIKE",
  "AEXPR_SIMILAR",
  "AEXPR_BETWEEN",
  "AEXPR_NOT_BETWEEN",
  "AEXPR_BETWEEN_SYM",
  "AEXPR_NOT_BETWEEN_SYM",
]);

function operator(context: Context, scope: Scope, body: Tree): void {
  const kind = text(body, "kind") ?? "";
  if (!OPERATOR_KINDS.has(kind))
    throw new Unsupported(
      `expressions of kind ${kind} are not supported`,
      "42501",
      locationOf(body),
    );
  if (kind.includes("BETWEEN")) {
    for (const name of ["<=", ">="]) addOperatorEffects(context, [{ String: { sval: name } }]);
  } else addOperatorEffects(context, list(body, "name"));
  evaluate(context, scope, body.lexpr);
  evaluate(context, scope, body.rexpr);
}

function call(context: Context, scope: Scope, body: Tree): void {
  addCallEffects(context, body);
  evaluate(context, scope, body.args);
  evaluate(context, scope, body.agg_order);
  evaluate(context, scope, body.agg_filter);
  const over = child(body, "over");
  if (over !== undefined) window(context, scope, over);
}

/** OVER (…) and the definitions of WINDOW. */
export function window(context: Context, scope: Scope, body: Tree): void {
  context.seen.add(body);
  evaluate(context, scope, body.partitionClause);
  evaluate(context, scope, body.orderClause);
  evaluate(context, scope, body.startOffset);
  evaluate(context, scope, body.endOffset);
}

function subquery(context: Context, scope: Scope, body: Tree): void {
  if (list(body, "operName").length > 0) addOperatorEffects(context, list(body, "operName"));
  // IN (SELECT …) is = ANY.
  else if (body.testexpr !== undefined) addOperatorEffects(context, EQUALS);
  evaluate(context, scope, body.testexpr);
  const rows = query(context, scope, body.subselect);
  // EXISTS looks at no column; every other form uses the values.
  if (text(body, "subLinkType") !== "EXISTS_SUBLINK") touchRow(context, rows);
}

function query(context: Context, scope: Scope, node: unknown) {
  const { type, body } = unwrap(node);
  return context.query(context, type, body, scope, { defer: false });
}

/** A list may hold empty nodes (`{}`): a column definition list that is not there, say. */
function unwrapOrEmpty(node: unknown): { type: string; body: Tree } {
  if (isTree(node) && Object.keys(node).length === 0) return { type: "", body: node };
  return unwrap(node);
}

/** The name PostgreSQL gives a result column without AS (FigureColname). */
export function columnName(node: unknown): string {
  return figure(node)?.name ?? "?column?";
}

interface Figured {
  readonly name: string;
  readonly strong: boolean;
}

function figure(node: unknown): Figured | undefined {
  if (!isTree(node) || Object.keys(node).length === 0) return undefined;
  const { type, body } = unwrap(node);
  switch (type) {
    case "ColumnRef":
      return strong(lastString(list(body, "fields")));
    case "A_Indirection":
      return strong(lastString(list(body, "indirection"))) ?? figure(body.arg);
    case "FuncCall":
      return strong(lastString(list(body, "funcname")));
    case "A_Expr":
      return text(body, "kind") === "AEXPR_NULLIF" ? strong("nullif") : undefined;
    case "TypeCast": {
      const inner = figure(body.arg);
      if (inner?.strong) return inner;
      const name = nameParts(list(child(body, "typeName") ?? {}, "names")).at(-1);
      return name === undefined ? inner : { name, strong: false };
    }
    case "CollateClause":
      return figure(body.arg);
    case "CaseExpr": {
      const inner = figure(body.defresult);
      return inner?.strong ? inner : { name: "case", strong: false };
    }
    case "SubLink":
      return figureSubLink(body);
    case "SQLValueFunction":
      return strong(
        (text(body, "op") ?? "").replace("SVFOP_", "").replace(/_N$/, "").toLowerCase(),
      );
    default:
      return strong(FIXED_NAMES.get(type)) ?? strong(figureByOperation(type, body));
  }
}

const FIXED_NAMES = new Map([
  ["GroupingFunc", "grouping"],
  ["MergeSupportFunc", "merge_action"],
  ["A_ArrayExpr", "array"],
  ["RowExpr", "row"],
  ["CoalesceExpr", "coalesce"],
  ["XmlSerialize", "xmlserialize"],
  ["JsonParseExpr", "json"],
  ["JsonScalarExpr", "json_scalar"],
  ["JsonSerializeExpr", "json_serialize"],
  ["JsonObjectConstructor", "json_object"],
  ["JsonArrayConstructor", "json_array"],
  ["JsonArrayQueryConstructor", "json_array"],
  ["JsonObjectAgg", "json_objectagg"],
  ["JsonArrayAgg", "json_arrayagg"],
]);

function figureByOperation(type: string, body: Tree): string | undefined {
  const op = text(body, "op") ?? "";
  if (type === "MinMaxExpr") return op === "IS_LEAST" ? "least" : "greatest";
  if (type === "XmlExpr" && op !== "IS_DOCUMENT") return op.replace("IS_", "").toLowerCase();
  if (type === "JsonFuncExpr") return op.replace("_OP", "").toLowerCase();
  return undefined;
}

function figureSubLink(body: Tree): Figured | undefined {
  switch (text(body, "subLinkType")) {
    case "EXISTS_SUBLINK":
      return strong("exists");
    case "ARRAY_SUBLINK":
      return strong("array");
    case "EXPR_SUBLINK": {
      const select = child(child(body, "subselect") ?? {}, "SelectStmt");
      const first = select === undefined ? undefined : list(select, "targetList")[0];
      const target = isTree(first) ? child(first, "ResTarget") : undefined;
      if (target === undefined) return undefined;
      return strong(text(target, "name")) ?? figure(target.val);
    }
    default:
      return undefined;
  }
}

function lastString(nodes: readonly unknown[]): string | undefined {
  for (let index = nodes.length - 1; index >= 0; index--) {
    const name = stringOf(nodes[index]);
    if (name !== undefined) return name;
  }
  return undefined;
}

function strong(name: string | undefined): Figured | undefined {
  return name === undefined ? undefined : { name, strong: true };
}
