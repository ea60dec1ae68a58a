// One statement to one plan: which handler, and what it does to the session. Definitions (CREATE,
// ALTER, DROP, GRANT, …) are in classify-definition.ts, session statements in classify-session.ts.
//
// An allow-list by statement type: what no table names is refused.

import type { Operation } from "../../access/operation.ts";
import { renamedInText } from "./application-name.ts";
import { type FunctionInfo, marksOf, type Snapshot, UNREADABLE } from "./catalogue.ts";
import { type Catalogue, isClassified, keyClasses } from "./catalogue-resolve.ts";
import { createdResource, DEFINITIONS } from "./classify-definition.ts";
import { SESSION_STATEMENTS } from "./classify-session.ts";
import { databaseResource, summarise } from "./effects.ts";
import { addCastEffects, addTypeEffects } from "./functions.ts";
import { analyse, giveOut, newContext, QUERY_TYPES } from "./lineage.ts";
import { constraintTouches, isNull } from "./lineage-constraint.ts";
import {
  addRelationEffect,
  type Context,
  type Rows,
  touchInner,
  touchRow,
} from "./lineage-context.ts";
import { evaluate } from "./lineage-expression.ts";
import { relationItem, resolveRelation } from "./lineage-from.ts";
import { requireSeen } from "./lineage-seen.ts";
import { columnNames } from "./lineage-write.ts";
import {
  child,
  constantText,
  flag,
  list,
  type Statement,
  type Tree,
  text,
  Unsupported,
  unwrap,
} from "./parse.ts";
import type {
  Definitions,
  OutputColumn,
  RenamedStatement,
  SessionNames,
  StatementKind,
  StatementPlan,
} from "./plan.ts";
import type { SettingBounds } from "./settings.ts";

export interface StatementInput {
  /** The whole text sent, where the statement is all there is in it. */
  readonly text?: string;
  readonly catalogue: Catalogue;
  readonly names: SessionNames;
  readonly bounds: SettingBounds;
  /** Filled with the session's names the statement depends on. */
  readonly refers: { readonly space: "prepared" | "cursor"; readonly name: string }[];
}

/** What a handler found out, beside what it put into the context. */
interface Draft {
  readonly kind: StatementKind;
  readonly columns: readonly OutputColumn[] | undefined;
  /** EXECUTE and FETCH: the statement they stand for. */
  readonly inner?: StatementPlan;
  /** EXPLAIN: what it explains, and may run. */
  readonly explained?: StatementPlan;
  readonly renamed?: RenamedStatement;
}

type Handler = (context: Context, input: StatementInput, body: Tree) => Draft;

const HANDLERS = new Map<string, Handler>([
  ["CopyStmt", copy],
  ["ExplainStmt", explain],
  ["PrepareStmt", prepare],
  ["ExecuteStmt", execute],
  ["DeclareCursorStmt", declare],
  ["FetchStmt", fetch],
  ["CreateTableAsStmt", createTableAs],
  ["ViewStmt", createView],
]);

/** Throws Unsupported. */
export function classifyStatement(input: StatementInput, statement: Statement): StatementPlan {
  const context = newContext(input.catalogue);
  if (input.text !== undefined && statement.type === "SelectStmt") context.ownNames = [];
  const { text: whole, ...inside } = input;
  const made = withOwnName(context, draft(context, inside, statement), whole);
  if (!SESSION_STATEMENTS.has(statement.type)) addCastEffects(context);
  context.runsCode ||= made.kind.kind === "definition" && input.catalogue.snapshot.hasEventTriggers;
  return finish(context, made);
}

/** set_config() and current_setting() of application_name are about the client's own: application-name.ts. */
function withOwnName({ ownNames = [] }: Context, made: Draft, whole = ""): Draft {
  if (ownNames.length === 0) return made;
  return { ...made, renamed: { text: renamedInText(whole, ownNames), reports: undefined } };
}

function draft(context: Context, input: StatementInput, { type, body }: Statement): Draft {
  if (type === "SelectStmt" && body.intoClause !== undefined) return selectInto(context, body);
  if (QUERY_TYPES.has(type)) return query(context, type, body);
  const handler = HANDLERS.get(type);
  if (handler !== undefined) return handler(context, input, body);
  const session = SESSION_STATEMENTS.get(type);
  if (session !== undefined) return session(context, input.bounds, body);
  const definition = DEFINITIONS.get(type);
  if (definition !== undefined) {
    context.volatile = true;
    return { kind: definition(context, body) ?? { kind: "definition" }, columns: undefined };
  }
  throw new Unsupported(`statements of kind ${type} are not supported through the gateway`);
}

function finish(context: Context, made: Draft): StatementPlan {
  const effects = context.effects.list();
  const touches = context.touches.list();
  const { inner, kind, columns } = made;
  let reachesClassified = inner !== undefined && inner.reachesClassified !== false;
  reachesClassified ||= context.runsCode && context.catalogue.allClasses.length > 0;
  for (const oid of context.reached) {
    requireReadable(context, oid);
    reachesClassified ||= isClassified(context.catalogue, oid);
  }
  const own: Operation = { protocol: "postgres", effects, touches, summary: summarise(effects) };
  // The same operation object for every EXECUTE of a statement: a decision is found by it.
  const operation = inner === undefined ? own : joined(inner.operation, own);
  const reads = operation.effects.every((effect) => effect.action === "sql:select");
  return {
    kind,
    operation,
    columns,
    plainRead:
      reads && operation.touches.length === 0 && !context.volatile && inner?.plainRead !== false,
    reachesClassified: reachesClassified || operation.touches.length > 0,
    ...definitionsOf(context, inner ?? made.explained),
    nulls: [...context.nulls, ...(inner?.nulls ?? [])],
    changesSettings: context.changesSettings || inner?.changesSettings === true,
    ...(made.renamed === undefined ? {} : { renamed: made.renamed }),
  };
}

const LOCK_NOT_AVAILABLE = "55P03";

/** Its classes and effects are those of something unknown; the client may try again. */
function requireReadable({ catalogue }: Context, oid: number): void {
  const relation = catalogue.snapshot.relations.get(oid);
  if (relation?.definition !== UNREADABLE) return;
  throw new Unsupported(
    `view "${relation.name}" cannot be read while somebody has locked it, or what it is made of, alone`,
    LOCK_NOT_AVAILABLE,
  );
}

/** What it goes through is only of interest where something is classified. */
function definitionsOf(
  context: Context,
  inner: StatementPlan | undefined,
): Pick<StatementPlan, "definitions"> {
  const { allClasses, snapshot } = context.catalogue;
  if (allClasses.length === 0) return {};
  const views = [...context.reached];
  const functions = [...context.called].filter(({ mark }) => mark !== undefined);
  const own = definitions(snapshot, views, functions);
  if (inner?.definitions === undefined) return own === undefined ? {} : { definitions: own };
  if (own === undefined) return { definitions: inner.definitions };
  // Arguments of EXECUTE go through some too; its statement is of the same catalogue.
  const called = new Set(inner.definitions.functions);
  const all = [...snapshot.functions.values()].flatMap((names) => [...names.values()].flat());
  const both = definitions(
    snapshot,
    [...new Set([...views, ...inner.definitions.views])],
    [...new Set([...functions, ...all.filter(({ oid }) => called.has(oid))])],
  );
  return both === undefined ? {} : { definitions: both };
}

/** Of relations those that are views. */
function definitions(
  snapshot: Snapshot,
  relations: readonly number[],
  functions: readonly FunctionInfo[],
): Definitions | undefined {
  const views = relations
    .map((oid) => snapshot.relations.get(oid))
    .filter((one) => one !== undefined)
    .filter(({ definitionMark }) => definitionMark !== undefined);
  if (views.length === 0 && functions.length === 0) return undefined;
  return {
    views: views.map(({ oid }) => oid),
    functions: functions.map(({ oid }) => oid),
    marks: marksOf(snapshot, views, functions),
  };
}

function joined(inner: Operation, own: Operation): Operation {
  if (own.effects.length === 0 && own.touches.length === 0) return inner;
  const effects = [...inner.effects, ...own.effects];
  return {
    protocol: "postgres",
    effects,
    touches: [...inner.touches, ...own.touches],
    summary: summarise(effects),
  };
}

function query(context: Context, type: string, body: Tree): Draft {
  const rows = analyse(context, type, body);
  return { kind: { kind: "query" }, columns: result(context, type, body, rows) };
}

/** undefined for a write without RETURNING: it gives no rows. */
function result(
  context: Context,
  type: string,
  body: Tree,
  rows: Rows,
): readonly OutputColumn[] | undefined {
  if (type !== "SelectStmt" && child(body, "returningClause") === undefined) return undefined;
  return giveOut(context, rows);
}

function prepare(context: Context, input: StatementInput, body: Tree): Draft {
  const { type, body: statement } = unwrap(body.query);
  if (!QUERY_TYPES.has(type) || statement.intoClause !== undefined)
    throw new Unsupported(`PREPARE of ${type} is not supported through the gateway`);
  for (const node of list(body, "argtypes")) addTypeEffects(context, unwrap(node).body);
  const inner = classifyStatement(input, { type, body: statement });
  // Denied early when it is to be denied; it is decided again when it runs.
  context.effects.addAll(inner.operation.effects);
  context.touches.addAll(inner.operation.touches);
  context.volatile = true;
  return { kind: { kind: "prepare", name: text(body, "name") ?? "", inner }, columns: undefined };
}

function execute(context: Context, input: StatementInput, body: Tree): Draft {
  const name = text(body, "name") ?? "";
  input.refers.push({ space: "prepared", name });
  const inner = input.names.prepared(name);
  if (inner === undefined)
    throw new Unsupported(`prepared statement "${name}" does not exist`, "26000");
  evaluate(context, { items: [], parent: undefined, ctes: undefined }, list(body, "params"));
  requireSeen(context, { params: body.params });
  // Its parameters are given here, not by message.
  const given = list(body, "params");
  const nulls = (inner.nulls ?? []).flatMap((one) =>
    one.parameter === undefined || isNull(given[one.parameter - 1])
      ? [{ class: one.class, parameter: undefined }]
      : [],
  );
  return { kind: { kind: "execute", name }, columns: inner.columns, inner: { ...inner, nulls } };
}

function declare(context: Context, input: StatementInput, body: Tree): Draft {
  const { type, body: statement } = unwrap(body.query);
  const inner = classifyStatement(input, { type, body: statement });
  context.effects.addAll(inner.operation.effects);
  context.touches.addAll(inner.operation.touches);
  context.volatile ||= !inner.plainRead;
  const name = text(body, "portalname") ?? "";
  return { kind: { kind: "declare", name, inner }, columns: undefined, inner };
}

function fetch(_context: Context, input: StatementInput, body: Tree): Draft {
  const name = text(body, "portalname") ?? "";
  input.refers.push({ space: "cursor", name });
  const inner = input.names.cursor(name);
  if (inner === undefined) throw new Unsupported(`cursor "${name}" does not exist`, "34000");
  const columns = flag(body, "ismove") ? undefined : inner.columns;
  return { kind: { kind: "fetch", name }, columns, inner };
}

/** A plan tells estimates of what the query would look at, so every use counts as inner. */
function explain(context: Context, input: StatementInput, body: Tree): Draft {
  const { type, body: statement } = unwrap(body.query);
  let inner: StatementPlan | undefined;
  if (type === "ExecuteStmt" || HANDLERS.has(type)) {
    inner = classifyStatement(input, { type, body: statement });
    context.effects.addAll(inner.operation.effects);
  } else if (QUERY_TYPES.has(type)) {
    const own = newContext(input.catalogue);
    touchRow(own, analyse(own, type, statement));
    for (const oid of own.reached) {
      const relation = input.catalogue.snapshot.relations.get(oid);
      // It shows how many rows are in each partition.
      for (const classed of relation ? keyClasses(input.catalogue, relation) : [])
        own.touches.add("inner", classed);
    }
    inner = finish(own, { kind: { kind: "query" }, columns: undefined });
    context.effects.addAll(inner.operation.effects);
  } else throw new Unsupported(`EXPLAIN of ${type} is not supported through the gateway`);
  for (const touch of inner.operation.touches) context.touches.add("inner", touch);
  context.volatile ||= !inner.plainRead;
  // ANALYZE runs it, and its errors are this statement's.
  context.runsCode ||= inner.reachesClassified !== false;
  for (const option of list(body, "options"))
    if (!EXPLAIN_OPTIONS.has(text(unwrap(option).body, "defname") ?? ""))
      throw new Unsupported("this option of EXPLAIN is not supported");
  const columns = [{ origin: undefined, class: undefined }];
  return { kind: { kind: "query" }, columns, explained: inner };
}

const EXPLAIN_OPTIONS = new Set(
  "analyze verbose costs settings generic_plan buffers serialize wal timing summary memory format".split(
    " ",
  ),
);

/** COPY has no RowDescription and its rows cannot be masked: what it gives out is used. */
function copy(context: Context, _input: StatementInput, body: Tree): Draft {
  copyOptions(body);
  context.volatile = true;
  const incoming = flag(body, "is_from");
  const kind: StatementKind = { kind: "copy", direction: incoming ? "in" : "out" };
  const outside = flag(body, "is_program") || body.filename !== undefined;
  if (body.query !== undefined) {
    const { type, body: inner } = unwrap(body.query);
    touchRow(context, analyse(context, type, inner));
    for (const { action, resource } of context.effects.list())
      if (action === "sql:select" && !resource.implied) context.effects.add("copy_out", resource);
    if (outside) addServerFile(context);
    return { kind, columns: undefined };
  }
  const relation = resolveRelation(context, child(body, "relation") ?? {});
  const item = relationItem(context, relation, {});
  const names = columnNames(list(body, "attlist"));
  for (const name of names)
    if (!item.columns.some((column) => column.name === name))
      throw new Unsupported(
        `column "${name}" of relation "${relation.name}" does not exist`,
        "42703",
      );
  if (outside) addServerFile(context);
  if (incoming) {
    if (relation.rules.length > 0)
      throw new Unsupported(`"${relation.name}" has rewrite rules, which are not supported`);
    addRelationEffect(context, "insert", relation);
    addRelationEffect(context, "copy_in", relation);
    const stored = relation.columns.filter(
      (column) => names.length === 0 || names.includes(column.name),
    );
    const values = new Map(stored.map(({ attribute }) => [attribute, ["computed"] as const]));
    constraintTouches(context, relation, { how: "insert", values });
    const scope = { items: [item], parent: undefined, ctes: undefined };
    evaluate(context, scope, body.whereClause);
    requireSeen(context, { where: body.whereClause });
    return { kind, columns: undefined };
  }
  addRelationEffect(context, "select", relation);
  addRelationEffect(context, "copy_out", relation);
  for (const column of item.columns)
    if (names.length === 0 || names.includes(column.name)) touchInner(context, column);
  return { kind, columns: undefined };
}

/** A file or program of the server's own machine. */
function addServerFile(context: Context): void {
  context.effects.add("unsafe_io", databaseResource(context.catalogue.place));
}

const COPY_OPTIONS = new Set(
  `format delimiter null header quote escape force_quote force_not_null force_null freeze default
  on_error log_verbosity reject_limit encoding`.split(/\s+/),
);

function copyOptions(body: Tree): void {
  for (const node of list(body, "options")) {
    const { body: option } = unwrap(node);
    const name = text(option, "defname") ?? "";
    const value = constantText(option.arg)?.toLowerCase().replace("-", "");
    if (!COPY_OPTIONS.has(name) || (name === "encoding" && value !== "utf8"))
      throw new Unsupported(`option "${name}" of COPY is not supported through the gateway`);
  }
}

function selectInto(context: Context, body: Tree): Draft {
  const { intoClause, ...select } = body;
  return store(context, intoClause as Tree, "SelectStmt", select);
}

function createTableAs(context: Context, _input: StatementInput, body: Tree): Draft {
  const { type, body: select } = unwrap(body.query);
  return store(context, child(body, "into") ?? {}, type, select);
}

/** What a query gives is written to a new table: a write source, so every class in it is used. */
function store(context: Context, into: Tree, type: string, select: Tree): Draft {
  const relation = child(into, "rel") ?? {};
  refuseTemporary(relation);
  context.volatile = true;
  touchRow(context, analyse(context, type, select));
  const schema = text(relation, "schemaname");
  const name = text(relation, "relname") ?? "";
  context.effects.add("create", createdResource(context, "table", schema, name));
  return { kind: { kind: "definition" }, columns: undefined };
}

function createView(context: Context, _input: StatementInput, body: Tree): Draft {
  const view = child(body, "view") ?? {};
  refuseTemporary(view);
  context.volatile = true;
  const { type, body: select } = unwrap(body.query);
  touchRow(context, analyse(context, type, select));
  const name = text(view, "relname") ?? "";
  context.effects.add("create", createdResource(context, "view", text(view, "schemaname"), name));
  return { kind: { kind: "definition" }, columns: undefined };
}

/** A temporary relation comes before all others of its name. */
function refuseTemporary(relation: Tree): void {
  if (text(relation, "relpersistence") === "t" || text(relation, "schemaname") === "pg_temp")
    throw new Unsupported("temporary tables are not supported through the gateway");
}
