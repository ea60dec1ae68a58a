// What calling a function means. Functions of pg_catalog on the allow-list are safe; the others of
// pg_catalog are refused as input/output of the server's; everybody else's need a permit to execute, but
// for those in SQL, whose bodies are followed (lineage-function.ts).
//
// A function in a language we do not see into may read any table: it counts as touching every class.

import { APPLICATION_NAME } from "./application-name.ts";
import type { FunctionInfo, Snapshot, UserCast } from "./catalogue.ts";
import { type Catalogue, findFunctions, findRelation, findType } from "./catalogue-resolve.ts";
import { COUNTING_FUNCTIONS } from "./catalogue-system.ts";
import { databaseResource, functionResource } from "./effects.ts";
import { PURE_FUNCTIONS, SESSION_FUNCTIONS, VOLATILE_FUNCTIONS } from "./functions-builtin.ts";
import {
  addRelationEffect,
  type Context,
  touchCounts,
  touchEverything,
} from "./lineage-context.ts";
import { followFunction } from "./lineage-function.ts";
import {
  child,
  constantText,
  flag,
  isTree,
  list,
  locationOf,
  nameParts,
  type Tree,
  Unsupported,
  unwrap,
} from "./parse.ts";
import { judgeSetting, mayShow } from "./settings.ts";

/** Extensions' functions that reach files, networks or run text as SQL, whatever their schema. */
const UNSAFE_ANYWHERE =
  /^(dblink|lo_|lowrite$|loread$|pg_file_|pg_read_|pg_ls_|postgres_fdw_|crosstab|connectby|query_to_|cursor_to_xml|table_to_xml|schema_to_xml|database_to_xml|xpath_table|get_raw_page|heap_page|tuple_data_split|bt_page|pg_get_wal_|pg_walinspect|ts_stat|ts_rewrite|http_|http$|pg_logdir|_?pgr_|pg_background_|run_command_on_|master_run_on_|aws_)/;
/** Extensions that keep theirs, by names that say little, in a schema of their own. */
const UNSAFE_SCHEMAS = new Set(["cron", "net", "pglogical", "spock", "aws_s3", "aws_lambda"]);

/** FirstNormalObjectId: below it are the server's own objects. */
const FIRST_NORMAL_OID = 16_384;

/** Languages whose functions are built in or compiled into extensions: they compute, as a rule. */
const COMPILED = new Set(["internal", "c"]);

/** Adds what the call does to the context. Arguments are the caller's to evaluate. */
export function addCallEffects(context: Context, call: Tree): void {
  const parts = nameParts(list(call, "funcname"));
  const location = locationOf(call);
  const name = parts[parts.length - 1] ?? "";
  const schema = parts.length > 1 ? parts[parts.length - 2] : undefined;
  if (parts.length > 3 || (parts.length === 3 && parts[0] !== context.catalogue.place.database))
    throw new Unsupported("cross-database references are not implemented", "0A000", location);
  const { snapshot } = context.catalogue;
  const args = list(call, "args");
  const found = findFunctions(snapshot, context.searchPath, schema, name).filter((candidate) =>
    accepts(candidate, args.length, flag(call, "agg_within_group"), flag(call, "func_variadic")),
  );
  if (found.length === 0) {
    // `mytype(x)` is a cast.
    const type = args.length === 1 && findType(snapshot, context.searchPath, schema, name);
    if (type && type.schema === "pg_catalog") return;
    throw new Unsupported(`function ${parts.join(".")} does not exist`, "42883", location);
  }
  if (found.some((candidate) => candidate.schema === "pg_catalog")) builtin(context, name, call);
  for (const candidate of found)
    if (candidate.schema !== "pg_catalog") addExecuteEffect(context, candidate);
}

/**
 * `(value).name` calls a function of one argument when the value's type has no such field, whatever the
 * type is (ParseFuncOrColumn). Types are not known here, so each function of that name may be meant.
 */
export function addAttributeEffects(context: Context, name: string): void {
  const { snapshot } = context.catalogue;
  const found = findFunctions(snapshot, context.searchPath, undefined, name).filter((candidate) =>
    accepts(candidate, 1, false, false),
  );
  if (found.some((candidate) => candidate.schema === "pg_catalog")) builtin(context, name, {});
  for (const candidate of found)
    if (candidate.schema !== "pg_catalog") addExecuteEffect(context, candidate);
}

/** A function by name, of which nothing else is known: an operator's, a trigger's. */
export function addNamedFunctionEffect(context: Context, schema: string, name: string): void {
  const found = context.catalogue.snapshot.functions.get(schema)?.get(name) ?? [];
  if (schema === "pg_catalog" && (PURE_FUNCTIONS.has(name) || SESSION_FUNCTIONS.has(name))) return;
  for (const candidate of found) addExecuteEffect(context, candidate);
  if (found.length === 0)
    context.effects.add("execute", functionResource(context.catalogue.place, schema, name));
}

function addExecuteEffect(context: Context, candidate: FunctionInfo): void {
  // The standard's views are made of these: SQL over the catalogue, the server's own.
  if (candidate.schema === "information_schema" && candidate.oid < FIRST_NORMAL_OID) return;
  if (!context.touches.isFirst(`execute ${candidate.oid}`)) return;
  context.called.add(candidate);
  // Of what types its arguments are is not known here.
  context.runsCode ||= context.catalogue.snapshot.codeTypes.size > 0;
  const resource = functionResource(context.catalogue.place, candidate.schema, candidate.name);
  const followed = followFunction(context, candidate);
  if (followed !== undefined) {
    addFollowed(context, candidate, followed);
    return;
  }
  context.volatile = true;
  context.effects.add("execute", resource);
  if (UNSAFE_ANYWHERE.test(candidate.name) || UNSAFE_SCHEMAS.has(candidate.schema))
    context.effects.add("unsafe_io", resource);
  if (COMPILED.has(candidate.language)) return;
  touchEverything(context);
  context.changesSettings = true;
}

/** What its body does is judged; the function itself only where something forbids it. */
function addFollowed(context: Context, info: FunctionInfo, body: Context): void {
  const resource = functionResource(context.catalogue.place, info.schema, info.name);
  context.touches.addAll(body.touches.list());
  for (const oid of body.reached) context.reached.add(oid);
  for (const one of body.called) context.called.add(one);
  context.volatile ||= body.volatile;
  context.changesSettings ||= body.changesSettings;
  context.runsCode ||= body.runsCode;
  if (info.securityDefiner) {
    // It acts with its owner's rights: a right of its own, which only a permit for it gives.
    context.volatile = true;
    context.effects.add("execute", resource);
    return;
  }
  context.effects.addByWay("execute", resource);
  context.effects.addAll(body.effects.list());
}

function accepts(
  candidate: FunctionInfo,
  count: number,
  withinGroup: boolean,
  variadicCall: boolean,
): boolean {
  if (withinGroup || variadicCall || candidate.variadic) return true;
  // In FROM, several arrays are unnested beside each other (transformRangeFunction).
  if (candidate.name === "unnest" && candidate.schema === "pg_catalog") return count >= 1;
  return count <= candidate.inputCount && count >= candidate.inputCount - candidate.defaultCount;
}

function builtin(context: Context, name: string, call: Tree): void {
  if (VOLATILE_FUNCTIONS.has(name)) context.volatile = true;
  // Makes a value of a type that is named by a text.
  if (name.startsWith("pg_input_")) context.runsCode = true;
  if (COUNTING_FUNCTIONS.has(name)) touchCounts(context);
  if (PURE_FUNCTIONS.has(name) || SESSION_FUNCTIONS.has(name)) return;
  const special = SPECIAL.get(name);
  if (special?.(context, list(call, "args")) === true) return;
  context.volatile = true;
  const resource = functionResource(context.catalogue.place, "pg_catalog", name);
  context.effects.add("unsafe_io", resource);
}

type Special = (context: Context, args: readonly unknown[]) => boolean;

const SPECIAL = new Map<string, Special>([
  ["nextval", sequenceChange],
  ["setval", sequenceChange],
  ["pg_notify", notify],
  ["set_config", setConfig],
  ["current_setting", currentSetting],
]);

function sequenceChange(context: Context, args: readonly unknown[]): boolean {
  const name = constantText(args[0]);
  const parts = name === undefined ? undefined : splitName(name);
  if (parts === undefined) return false;
  const [schema, relation] = parts.length === 2 ? parts : [undefined, parts[0]];
  if (relation === undefined) return false;
  const info = findRelation(context.catalogue.snapshot, context.searchPath, schema, relation);
  if (info?.kind !== "sequence") return false;
  context.volatile = true;
  addRelationEffect(context, "update", info);
  return true;
}

function notify(context: Context): boolean {
  context.volatile = true;
  context.effects.add("notify", databaseResource(context.catalogue.place));
  return true;
}

function setConfig(context: Context, args: readonly unknown[]): boolean {
  const name = constantText(args[0]);
  if (name === undefined) return false;
  if (noteOwnName(context, name, args[0], true)) {
    context.volatile = true;
    return true;
  }
  const judged = judgeSetting(name, constantText(args[1]) ?? "");
  // Time-outs are judged where the session's bounds are known: SET.
  if (!judged.ok || (judged.kind !== "free" && judged.kind !== "noop"))
    throw new Unsupported(judged.ok ? `use SET for parameter "${name}"` : judged.reason);
  context.volatile = true;
  context.changesSettings = true;
  return true;
}

function currentSetting(context: Context, args: readonly unknown[]): boolean {
  const name = constantText(args[0]);
  if (name === undefined || !mayShow(name)) return false;
  noteOwnName(context, name, args[0], false);
  return true;
}

function noteOwnName(context: Context, name: string, node: unknown, sets: boolean): boolean {
  if (name.toLowerCase() !== APPLICATION_NAME || context.ownNames === undefined) return false;
  context.ownNames.push({ location: locationOf(unwrap(node).body) ?? 0, sets });
  return true;
}

/** `a.b`, `"A".b`: as regclass reads it; undefined for anything less plain. */
function splitName(name: string): string[] | undefined {
  const match = /^(?:("(?:[^"]|"")+"|[a-zA-Z_][\w$]*)\.)?("(?:[^"]|"")+"|[a-zA-Z_][\w$]*)$/.exec(
    name,
  );
  if (match === null) return undefined;
  return match
    .slice(1)
    .filter((part) => part !== undefined)
    .map((part) =>
      part.startsWith('"') ? part.slice(1, -1).replaceAll('""', '"') : part.toLowerCase(),
    );
}

/** An operator somebody made runs a function of theirs. True when one of that name is in reach. */
export function addOperatorEffects(context: Context, names: readonly unknown[]): boolean {
  const parts = nameParts(names);
  const name = parts[parts.length - 1] ?? "";
  const schema = parts.length > 1 ? parts[0] : undefined;
  let found = false;
  for (const operator of context.catalogue.snapshot.operators) {
    if (operator.name !== name) continue;
    if (
      schema === undefined
        ? !context.searchPath.includes(operator.schema)
        : schema !== operator.schema
    )
      continue;
    addNamedFunctionEffect(context, operator.functionSchema, operator.functionName);
    found = true;
  }
  return found;
}

/** A cast somebody made to the type named, and the existence of the type. */
export function addTypeEffects(context: Context, typeName: Tree): void {
  context.seen.add(typeName);
  if (flag(typeName, "pct_type")) throw new Unsupported("%TYPE is not supported");
  const parts = nameParts(list(typeName, "names"));
  const name = parts[parts.length - 1] ?? "";
  const schema = parts.length > 1 ? parts[parts.length - 2] : undefined;
  const type = findType(context.catalogue.snapshot, context.searchPath, schema, name);
  if (type === undefined)
    throw new Unsupported(
      `type "${parts.join(".")}" does not exist`,
      "42704",
      locationOf(typeName),
    );
  const { casts, codeTypes } = context.catalogue.snapshot;
  context.types.add(type.oid);
  context.runsCode ||= codeTypes.has(type.oid);
  for (const cast of casts)
    if (cast.schema === type.schema && cast.name === type.name)
      addNamedFunctionEffect(context, cast.functionSchema, cast.functionName);
  for (const modifier of list(typeName, "typmods"))
    if (constantText(modifier) === undefined && !isColumnName(modifier))
      throw new Unsupported("a type modifier has an unexpected shape");
}

/**
 * A cast that nobody needs to name runs wherever a value of its type meets another type. Types are not
 * known here: it counts when a value of the type may be in the statement.
 */
export function addCastEffects(context: Context): void {
  const { snapshot } = context.catalogue;
  for (const cast of snapshot.casts) {
    if (!cast.unasked || !mayMeet(context, cast.source)) continue;
    const info = writtenCast(snapshot, cast);
    if (info === undefined) continue;
    context.runsCode = true;
    // Of a conversion that says of itself that it only computes, that is believed.
    if (info.volatility === "immutable" && info.body === undefined) continue;
    addExecuteEffect(context, info);
  }
}

/** Its function, unless that is compiled: such compute, as a rule. */
function writtenCast(
  { functions }: Snapshot,
  { functionSchema, functionName, functionOid }: UserCast,
): FunctionInfo | undefined {
  const overloads = functions.get(functionSchema)?.get(functionName) ?? [];
  const info = overloads.find(({ oid }) => oid === functionOid);
  return info === undefined || COMPILED.has(info.language) ? undefined : info;
}

/** Types somebody made of which such a cast is: a parameter of one could be anywhere. */
export function unaskedSources({ snapshot }: Catalogue): number[] {
  return snapshot.casts
    .filter((cast) => cast.unasked && cast.source >= FIRST_NORMAL_OID)
    .filter((cast) => writtenCast(snapshot, cast) !== undefined)
    .map(({ source }) => source);
}

function mayMeet({ catalogue, types, called, reached }: Context, source: number): boolean {
  // The server's own types are everywhere; others come from somewhere.
  if (source < FIRST_NORMAL_OID || types.has(source) || called.size > 0) return true;
  for (const oid of reached) {
    const relation = catalogue.snapshot.relations.get(oid);
    if (relation?.columns.some(({ typeOid }) => typeOid === source)) return true;
  }
  return false;
}

/** `interval day to second` and the like come as constants; `numeric(foo)` as a column name. */
function isColumnName(node: unknown): boolean {
  return isTree(node) && child(node, "ColumnRef") !== undefined;
}
