// CREATE, ALTER, DROP, GRANT, TRUNCATE, LOCK and maintenance. A definition that names a relation with
// classified columns in a way that could lose the class (renamed, moved, indexed, triggered) touches
// its classes; code in a definition (defaults, checks, policies) is judged as in a query.
//
// What changes the server outside the database (roles' settings, extensions, files, other servers) is
// unsafe_io on the database.

import type { Resource } from "../../access/operation.ts";
import type { RelationInfo } from "./catalogue.ts";
import { findRelation } from "./catalogue-resolve.ts";
import { isSystemSchema } from "./catalogue-system.ts";
import { definitionParts } from "./classify-definition-parts.ts";
import {
  judgeAlteredFunction,
  judgeNewBody,
  judgeNewName,
} from "./classify-function-definition.ts";
import {
  databaseResource,
  functionResource,
  type SqlAction,
  schemaResource,
  tableResource,
} from "./effects.ts";
import { addNamedFunctionEffect } from "./functions.ts";
import {
  addRelationEffect,
  type Context,
  createContext,
  touchEverything,
  touchRelation,
  touchRow,
} from "./lineage-context.ts";
import { evaluate } from "./lineage-expression.ts";
import { relationItem, resolveRelation } from "./lineage-from.ts";
import { relationRows } from "./lineage-view.ts";
import {
  child,
  flag,
  isTree,
  list,
  nameParts,
  type Tree,
  text,
  Unsupported,
  unwrap,
} from "./parse.ts";
import type { StatementKind } from "./plan.ts";

/** undefined: a definition, after which the catalogue is read again. */
type DefinitionHandler = (context: Context, body: Tree) => StatementKind | undefined;

const QUERY: StatementKind = { kind: "query" };

export const DEFINITIONS: ReadonlyMap<string, DefinitionHandler> = new Map<
  string,
  DefinitionHandler
>([
  ["CreateStmt", createTable],
  ["CreateSchemaStmt", createSchema],
  ["CreateSeqStmt", createSequence],
  ["IndexStmt", createIndex],
  ["CreateStatsStmt", createStatistics],
  ["CreateFunctionStmt", createFunction],
  ["CreateTrigStmt", createTrigger],
  ["CreatePolicyStmt", policy],
  ["AlterPolicyStmt", policy],
  ["CreateEnumStmt", (context, body) => createNamed(context, list(body, "typeName"))],
  ["CreateDomainStmt", createDomain],
  ["CompositeTypeStmt", createComposite],
  ["AlterTableStmt", alterTable],
  ["AlterSeqStmt", (context, body) => onRelation(context, "alter", child(body, "sequence"))],
  ["RenameStmt", alterObject],
  ["AlterObjectSchemaStmt", alterObject],
  ["AlterOwnerStmt", alterOwner],
  ["AlterEnumStmt", alterNamed],
  ["AlterDomainStmt", alterDomain],
  ["AlterTypeStmt", alterNamed],
  ["AlterFunctionStmt", alterFunction],
  ["AlterStatsStmt", (context) => onDatabase(context, "alter")],
  ["CommentStmt", comment],
  ["DropStmt", drop],
  ["TruncateStmt", truncate],
  ["GrantStmt", grant],
  ["GrantRoleStmt", (context) => onDatabase(context, "grant")],
  ["AlterDefaultPrivilegesStmt", (context) => onDatabase(context, "grant")],
  ["CreateRoleStmt", (context) => onDatabase(context, "grant")],
  ["AlterRoleStmt", (context) => onDatabase(context, "grant")],
  ["DropRoleStmt", (context) => onDatabase(context, "grant")],
  ["DropOwnedStmt", (context) => onDatabase(context, "grant")],
  ["ReassignOwnedStmt", (context) => onDatabase(context, "grant")],
  ["LockStmt", lockTables],
  ["VacuumStmt", vacuum],
  ["ClusterStmt", cluster],
  ["ReindexStmt", maintainOne],
  ["RefreshMatViewStmt", maintainOne],
  ["CheckPointStmt", (context) => onDatabase(context, "maintain", QUERY)],
  ["DoStmt", doBlock],
  ["CallStmt", callProcedure],
  ...UNSAFE_STATEMENTS().map(
    (type) => [type, (context: Context) => onDatabase(context, "unsafe_io")] as const,
  ),
]);

/** Change the server, other servers, or what text and operators mean for everybody. */
function UNSAFE_STATEMENTS(): string[] {
  return `AlterDatabaseSetStmt AlterDatabaseStmt AlterRoleSetStmt AlterSystemStmt
    AlterExtensionStmt AlterExtensionContentsStmt AlterFdwStmt AlterForeignServerStmt
    AlterOpFamilyStmt AlterOperatorStmt AlterPublicationStmt AlterSubscriptionStmt
    AlterTableSpaceOptionsStmt AlterTableMoveAllStmt AlterUserMappingStmt CreateAmStmt
    CreateCastStmt CreateConversionStmt CreateEventTrigStmt AlterEventTrigStmt CreateExtensionStmt
    CreateFdwStmt CreateForeignServerStmt CreateForeignTableStmt CreateOpClassStmt
    CreateOpFamilyStmt CreatePLangStmt CreatePublicationStmt CreateRangeStmt
    CreateSubscriptionStmt CreateTableSpaceStmt CreateTransformStmt CreateUserMappingStmt
    CreatedbStmt DefineStmt DropSubscriptionStmt DropTableSpaceStmt DropUserMappingStmt DropdbStmt
    ImportForeignSchemaStmt LoadStmt RuleStmt SecLabelStmt`.split(/\s+/);
}

/** The schema a new object without one goes to: the first of the search path that is there. */
function creationSchema(context: Context, schema: string | undefined): string {
  if (schema?.startsWith("pg_temp"))
    throw new Unsupported("temporary objects are not supported through the gateway");
  if (schema !== undefined) return schema;
  const { snapshot } = context.catalogue;
  for (const candidate of context.searchPath)
    if (!isSystemSchema(candidate) && snapshot.schemas.has(candidate)) return candidate;
  throw new Unsupported("no schema has been selected to create in", "3F000");
}

export function createdResource(
  context: Context,
  kind: string,
  schema: string | undefined,
  name: string,
): Resource {
  return tableResource(context.catalogue.place, kind, creationSchema(context, schema), name);
}

function onDatabase(
  context: Context,
  action: SqlAction,
  kind?: StatementKind,
): StatementKind | undefined {
  context.effects.add(action, databaseResource(context.catalogue.place));
  return kind;
}

function onRelation(context: Context, action: SqlAction, variable: Tree | undefined): undefined {
  const relation = resolveRelation(context, variable ?? {});
  addRelationEffect(context, action, relation);
  touchRelation(context, relation);
  if (relation.definition !== undefined) touchView(context, relation);
}

/** Under another name a statement that was judged before may read it, or another column of it. */
function touchView({ catalogue, query, touches }: Context, relation: RelationInfo): void {
  const own = createContext(catalogue, query);
  touchRow(own, relationRows(own, relation));
  for (const touch of own.touches.list()) touches.add("inner", touch);
}

/** Under another name all that is in it may stand for something else: what names it by its schema. */
function touchSchema(context: Context, schema = ""): void {
  const { snapshot } = context.catalogue;
  for (const oid of snapshot.relationNames.get(schema)?.values() ?? []) {
    const relation = snapshot.relations.get(oid);
    if (relation === undefined) continue;
    touchRelation(context, relation);
    if (relation.definition !== undefined) touchView(context, relation);
  }
  for (const name of snapshot.functions.get(schema)?.keys() ?? [])
    addNamedFunctionEffect(context, schema, name);
}

function createTable(context: Context, body: Tree): undefined {
  const relation = child(body, "relation") ?? {};
  if (text(relation, "relpersistence") === "t")
    throw new Unsupported("temporary tables are not supported through the gateway");
  const name = text(relation, "relname") ?? "";
  context.effects.add(
    "create",
    createdResource(context, "table", text(relation, "schemaname"), name),
  );
  for (const node of list(body, "inhRelations")) onRelation(context, "alter", unwrap(node).body);
  definitionParts(context, [body.tableElts, body.constraints, body.partspec, body.partbound], name);
}

function createSchema(context: Context, body: Tree): undefined {
  if (list(body, "schemaElts").length > 0)
    throw new Unsupported("CREATE SCHEMA with elements is not supported through the gateway");
  const name = text(body, "schemaname");
  if (name === undefined) throw new Unsupported("CREATE SCHEMA without a name is not supported");
  context.effects.add("create", schemaResource(context.catalogue.place, name));
}

function createSequence(context: Context, body: Tree): undefined {
  const sequence = child(body, "sequence") ?? {};
  if (text(sequence, "relpersistence") === "t")
    throw new Unsupported("temporary sequences are not supported through the gateway");
  const resource = createdResource(
    context,
    "sequence",
    text(sequence, "schemaname"),
    text(sequence, "relname") ?? "",
  );
  context.effects.add("create", resource);
}

/** A unique index tells whether a value is there; one on an expression evaluates it. */
function createIndex(context: Context, body: Tree): undefined {
  const variable = child(body, "relation") ?? {};
  const relation = resolveRelation(context, variable);
  addRelationEffect(context, "alter", relation);
  const item = relationItem(context, relation, {});
  const scope = { items: [item], parent: undefined, ctes: undefined };
  for (const field of ["indexParams", "indexIncludingParams"])
    for (const node of list(body, field)) {
      const { body: element } = unwrap(node);
      const name = text(element, "name");
      if (name !== undefined)
        evaluate(context, scope, { ColumnRef: { fields: [{ String: { sval: name } }] } });
      evaluate(context, scope, element.expr);
    }
  evaluate(context, scope, body.whereClause);
}

function createStatistics(context: Context, body: Tree): undefined {
  for (const node of list(body, "relations")) onRelation(context, "alter", unwrap(node).body);
  definitionParts(context, [body.exprs], undefined);
}

function createFunction(context: Context, body: Tree): undefined {
  const parts = nameParts(list(body, "funcname"));
  const schema = creationSchema(context, parts.length > 1 ? parts.at(-2) : undefined);
  const name = parts.at(-1) ?? "";
  context.effects.add("create", functionResource(context.catalogue.place, schema, name));
  judgeNewBody(context, name, body);
}

function alterFunction(context: Context, body: Tree): undefined {
  onDatabase(context, "alter");
  judgeAlteredFunction(context, body);
}

function createTrigger(context: Context, body: Tree): undefined {
  onRelation(context, "alter", child(body, "relation"));
  const parts = nameParts(list(body, "funcname"));
  const schema = parts.length > 1 ? parts.at(-2) : undefined;
  const name = parts.at(-1) ?? "";
  // Of one name the server takes the one without arguments, in whichever schema that is.
  for (const candidate of schema === undefined ? context.searchPath : [schema])
    if (context.catalogue.snapshot.functions.get(candidate)?.has(name))
      addNamedFunctionEffect(context, candidate, name);
  definitionParts(context, [body.whenClause], undefined);
}

function policy(context: Context, body: Tree): undefined {
  onRelation(context, "alter", child(body, "table"));
  definitionParts(context, [body.qual, body.with_check], undefined);
}

function createNamed(context: Context, names: readonly unknown[]): undefined {
  const parts = nameParts(names);
  const schema = parts.length > 1 ? parts.at(-2) : undefined;
  context.effects.add("create", createdResource(context, "type", schema, parts.at(-1) ?? ""));
}

function createDomain(context: Context, body: Tree): undefined {
  createNamed(context, list(body, "domainname"));
  definitionParts(context, [body.constraints], undefined);
}

function createComposite(context: Context, body: Tree): undefined {
  const variable = child(body, "typevar") ?? {};
  const name = text(variable, "relname") ?? "";
  context.effects.add(
    "create",
    createdResource(context, "type", text(variable, "schemaname"), name),
  );
  definitionParts(context, [body.coldeflist], undefined);
}

function alterTable(context: Context, body: Tree): undefined {
  const variable = child(body, "relation") ?? {};
  if (flag(body, "missing_ok") && lookup(context, variable) === undefined)
    return void schemaEffect(context, "alter", text(variable, "schemaname"));
  onRelation(context, "alter", variable);
  // Of a type: columns of it, wherever they are, are converted.
  context.runsCode ||= text(body, "objtype") === "OBJECT_TYPE";
  for (const node of list(body, "cmds")) {
    const { body: command } = unwrap(node);
    if (text(command, "subtype") === "AT_ChangeOwner") onRelation(context, "grant", variable);
  }
  definitionParts(context, [body.cmds], undefined);
}

function alterObject(context: Context, body: Tree): undefined {
  const variable = child(body, "relation");
  judgeNewName(context, body);
  if (text(body, "renameType") === "OBJECT_SCHEMA") touchSchema(context, text(body, "subname"));
  if (variable === undefined) return void onDatabase(context, "alter");
  if (flag(body, "missing_ok") && lookup(context, variable) === undefined)
    return void schemaEffect(context, "alter", text(variable, "schemaname"));
  onRelation(context, "alter", variable);
}

function alterOwner(context: Context, body: Tree): undefined {
  alterObject(context, body);
  onDatabase(context, "grant");
}

function alterNamed(context: Context, body: Tree): undefined {
  const parts = nameParts(list(body, "typeName"));
  schemaEffect(context, "alter", parts.length > 1 ? parts.at(-2) : undefined);
}

/** A constraint is tried on every column of the domain: that it holds tells of them. */
function alterDomain(context: Context, body: Tree): undefined {
  alterNamed(context, body);
  touchEverything(context);
  definitionParts(context, [body.def], undefined);
}

function comment(context: Context, body: Tree): undefined {
  const type = text(body, "objtype") ?? "";
  const object = body.object;
  const parts = isTree(object) && child(object, "List") ? stringsOf(object) : undefined;
  if (parts === undefined || !RELATION_OBJECTS.has(type)) {
    if (type !== "OBJECT_COLUMN" || parts === undefined) return void onDatabase(context, "alter");
    return void dropOrAlter(context, "alter", parts.slice(0, -1), false);
  }
  dropOrAlter(context, "alter", parts, false);
}

const RELATION_OBJECTS = new Set([
  "OBJECT_TABLE",
  "OBJECT_VIEW",
  "OBJECT_MATVIEW",
  "OBJECT_SEQUENCE",
  "OBJECT_FOREIGN_TABLE",
  "OBJECT_INDEX",
]);

/** Their names are a relation's, then their own. */
const PARTS_OF_RELATION = new Set(["OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"]);

function drop(context: Context, body: Tree): undefined {
  const type = text(body, "removeType") ?? "";
  const missingOk = flag(body, "missing_ok");
  for (const node of list(body, "objects")) {
    const parts = stringsOf(node);
    if (RELATION_OBJECTS.has(type) && parts !== undefined)
      dropOrAlter(context, "drop", parts, missingOk);
    else if (PARTS_OF_RELATION.has(type) && parts !== undefined)
      dropOrAlter(context, "alter", parts.slice(0, -1), missingOk, true);
    else if (type === "OBJECT_SCHEMA" && parts !== undefined)
      dropSchema(context, parts[0] ?? "", text(body, "behavior") === "DROP_CASCADE");
    else onDatabase(context, "drop");
  }
}

/** With CASCADE everything in it goes too. */
function dropSchema(context: Context, schema: string, cascade: boolean): void {
  context.effects.add("drop", schemaResource(context.catalogue.place, schema));
  if (!cascade) return;
  const { snapshot } = context.catalogue;
  for (const oid of snapshot.relationNames.get(schema)?.values() ?? []) {
    const relation = snapshot.relations.get(oid);
    if (relation !== undefined && relation.kind !== "index")
      addRelationEffect(context, "drop", relation);
  }
}

function dropOrAlter(
  context: Context,
  action: SqlAction,
  parts: readonly string[],
  missingOk: boolean,
  loosens = false,
): void {
  const schema = parts.length > 1 ? parts.at(-2) : undefined;
  const name = parts.at(-1) ?? "";
  const { snapshot } = context.catalogue;
  const relation = findRelation(snapshot, context.searchPath, schema, name);
  if (relation !== undefined) {
    addRelationEffect(context, action, relation);
    if (loosens) touchRelation(context, relation);
  } else if (missingOk) schemaEffect(context, action, schema);
  else throw new Unsupported(`relation "${parts.join(".")}" does not exist`, "42P01");
}

function schemaEffect(context: Context, action: SqlAction, schema: string | undefined): void {
  const resource = schemaResource(context.catalogue.place, creationSchema(context, schema));
  context.effects.add(action, resource);
}

function lookup(context: Context, variable: Tree): RelationInfo | undefined {
  const name = text(variable, "relname") ?? "";
  const schema = text(variable, "schemaname");
  return findRelation(context.catalogue.snapshot, context.searchPath, schema, name);
}

function truncate(context: Context, body: Tree): StatementKind {
  const waiting = list(body, "relations").map((node) =>
    resolveRelation(context, unwrap(node).body),
  );
  const done = new Set<RelationInfo>();
  for (const relation of waiting) {
    if (done.has(relation)) continue;
    done.add(relation);
    addRelationEffect(context, "truncate", relation);
    if (text(body, "behavior") !== "DROP_CASCADE") continue;
    for (const oid of relation.referencedBy) {
      const other = context.catalogue.snapshot.relations.get(oid);
      if (other !== undefined) waiting.push(other);
    }
  }
  return QUERY;
}

function grant(context: Context, body: Tree): undefined {
  const type = text(body, "objtype") ?? "";
  const whole = text(body, "targtype") !== "ACL_TARGET_OBJECT";
  for (const node of list(body, "objects")) {
    const { type: kind, body: object } = unwrap(node);
    if (kind === "RangeVar") addRelationEffect(context, "grant", resolveRelation(context, object));
    else if ((whole || type === "OBJECT_SCHEMA") && kind === "String")
      schemaEffect(context, "grant", text(object, "sval") ?? "");
    else onDatabase(context, "grant");
  }
  if (list(body, "objects").length === 0) onDatabase(context, "grant");
}

function lockTables(context: Context, body: Tree): StatementKind {
  for (const node of list(body, "relations"))
    addRelationEffect(context, "lock", resolveRelation(context, unwrap(node).body));
  return QUERY;
}

/** Rows in the order of an index come out in it: that is sorting by its columns. */
function cluster(context: Context, body: Tree): StatementKind {
  const variable = child(body, "relation");
  if (variable === undefined) touchEverything(context);
  else touchRelation(context, resolveRelation(context, variable));
  return maintainOne(context, body);
}

function vacuum(context: Context, body: Tree): StatementKind {
  context.runsCode = true;
  const relations = list(body, "rels");
  if (relations.length === 0) onDatabase(context, "maintain");
  for (const node of relations) {
    const variable = child(unwrap(node).body, "relation") ?? {};
    addRelationEffect(context, "maintain", resolveRelation(context, variable));
  }
  return QUERY;
}

/** Indexes' and views' own code runs, and what fails tells of rows. */
function maintainOne(context: Context, body: Tree): StatementKind {
  context.runsCode = true;
  const variable = child(body, "relation");
  if (variable === undefined) onDatabase(context, "maintain");
  else addRelationEffect(context, "maintain", resolveRelation(context, variable));
  return QUERY;
}

/** A body in another language: nothing can be said about what it does. */
function doBlock(context: Context): StatementKind {
  context.effects.add("execute", databaseResource(context.catalogue.place));
  context.effects.add("unknown", databaseResource(context.catalogue.place));
  for (const classed of context.catalogue.allClasses) context.touches.add("inner", classed);
  return QUERY;
}

/** The arguments are expressions of this statement; the procedure is judged as a function is. */
function callProcedure(context: Context, body: Tree): StatementKind {
  const call = child(body, "funccall") ?? {};
  evaluate(context, { items: [], parent: undefined, ctes: undefined }, { FuncCall: call });
  return QUERY;
}

function stringsOf(node: unknown): string[] | undefined {
  const { type, body } = unwrap(node);
  if (type === "String") return [text(body, "sval") ?? ""];
  if (type !== "List") return undefined;
  const items = list(body, "items");
  return items.every((item) => isTree(item) && child(item, "String") !== undefined)
    ? nameParts(items)
    : undefined;
}
