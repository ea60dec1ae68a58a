// Functions somebody wrote in SQL: their bodies are analysed as if they stood in the statement that calls
// them. What they read and write are effects of the caller, who they run as; every class in what they give
// back counts as used, since no mask reaches a computed column.
//
// A body of text is read in the session's search path when it runs (or in the one of its own SET clause);
// BEGIN ATOMIC and RETURN were resolved when the function was made and come qualified.

import type { FunctionBody, FunctionInfo } from "./catalogue.ts";
import { type Catalogue, effectivePath } from "./catalogue-resolve.ts";
import type { Grammar } from "./grammars.ts";
import {
  type Context,
  computed,
  createContext,
  nested,
  type Scope,
  touchRow,
} from "./lineage-context.ts";
import { requireSeen } from "./lineage-seen.ts";
import { child, isTree, list, parseSql, type Tree, Unsupported, unwrap } from "./parse.ts";

const MAX_BODY_BYTES = 256 * 1024;

const BODY_TYPES = new Set(["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"]);

/** By catalogue, so that it goes away with the snapshot. `pending`: it is being analysed, it calls itself. */
const bodies = new WeakMap<Catalogue, Map<number, Context | "pending" | undefined>>();

/** What a call of the function does; undefined: its body is beyond us, or not SQL. */
export function followFunction(context: Context, info: FunctionInfo): Context | undefined {
  if (info.body === undefined) return undefined;
  let known = bodies.get(context.catalogue);
  if (known === undefined) {
    known = new Map();
    bodies.set(context.catalogue, known);
  }
  if (known.has(info.oid)) {
    const found = known.get(info.oid);
    return found === "pending" ? undefined : found;
  }
  known.set(info.oid, "pending");
  let followed: Context | undefined;
  try {
    followed = analyseBody(context, info, info.body);
  } catch (thrown) {
    if (!(thrown instanceof Unsupported)) throw thrown;
  } finally {
    known.set(info.oid, followed);
  }
  return followed;
}

function analyseBody(context: Context, info: FunctionInfo, body: FunctionBody): Context {
  const { catalogue } = context;
  const statements = statementsOf(catalogue, body);
  return followBody(context, info, searchPathOf(catalogue, body), statements);
}

/** One statement of a body. */
export interface BodyStatement {
  readonly type: string;
  readonly body: Tree;
}

/** What running them does. Throws Unsupported where that cannot be told. */
export function followBody(
  context: Context,
  info: Pick<FunctionInfo, "name" | "inputNames">,
  searchPath: readonly string[],
  statements: readonly BodyStatement[],
): Context {
  const written = { searchPath, depth: context.depth };
  const own = createContext(context.catalogue, context.query, { ...written, within: "function" });
  const item = {
    columns: info.inputNames.filter((name) => name !== "").map((name) => computed(name)),
    open: false,
    name: info.name,
    relation: undefined,
    bySchema: false,
    columnsVisible: true,
    nameVisible: true,
  };
  const scope: Scope = { items: [item], parent: undefined, ctes: undefined };
  nested(own, () => {
    for (const { type, body: statement } of statements) {
      if (!BODY_TYPES.has(type)) throw new Unsupported(`${type} in a function is not followed`);
      touchRow(own, context.query(own, type, statement, scope, { defer: false }));
      requireSeen(own, statement);
    }
  });
  return own;
}

/** A SET clause other than of the path may change how the body is read, or what it may do. */
function searchPathOf(catalogue: Catalogue, body: FunctionBody): readonly string[] {
  let path = body.form === "parsed" ? [] : catalogue.searchPath;
  for (const setting of body.settings) {
    const [name = "", value = ""] = splitOnce(setting);
    if (name !== "search_path") throw new Unsupported(`SET ${name} in a function is not followed`);
    const names = value.split(",").map((one) => one.trim());
    if (!names.every((one) => /^(?:[a-z_][a-z0-9_]*|""|"[^"]+")$/.test(one)))
      throw new Unsupported("a function's search_path has an unexpected shape");
    const plain = names.map((one) => one.replaceAll('"', "")).filter((one) => one !== "");
    if (plain.includes("pg_temp")) plain.splice(plain.indexOf("pg_temp"), 1);
    if (body.form === "text") path = plain;
  }
  return effectivePath(path);
}

function splitOnce(setting: string): [string, string] {
  const equals = setting.indexOf("=");
  return [setting.slice(0, equals), setting.slice(equals + 1)];
}

function statementsOf({ grammar, snapshot }: Catalogue, body: FunctionBody): BodyStatement[] {
  const parsed = (sql: string) => parsedBody(grammar, sql);
  // Defaults are qualified, whatever the path is.
  const defaults = body.defaults === undefined ? [] : parsed(`SELECT ${body.defaults}`);
  if (body.form === "text")
    return [...parsedBody(grammar, body.sql, snapshot.encoding), ...defaults];
  const [create] = parsed(`CREATE FUNCTION followed() RETURNS void ${body.sql}`);
  const inner = create?.body.sql_body;
  if (!isTree(inner)) throw new Unsupported("a function's body could not be parsed");
  return [...blockBody(inner), ...defaults];
}

/** `inner`: the tree of RETURN … or BEGIN ATOMIC …. */
export function blockBody(inner: Tree): BodyStatement[] {
  const { type, body: only } = unwrap(inner);
  if (type === "ReturnStmt") {
    const targetList = [{ ResTarget: { val: only.returnval } }];
    return [{ type: "SelectStmt", body: { targetList } }];
  }
  if (type !== "List") throw new Unsupported("a function's body has an unexpected shape");
  // BEGIN ATOMIC is a list with one list of statements.
  return list(only, "items").flatMap((node) => {
    const block = isTree(node) ? child(node, "List") : undefined;
    return block === undefined ? [unwrap(node)] : list(block, "items").map(unwrap);
  });
}

/** `encoding`: of the database that reads the text as it is. */
export function parsedBody(grammar: Grammar, sql: string, encoding = "UTF8"): BodyStatement[] {
  const found = parseSql(sql, MAX_BODY_BYTES, grammar, encoding);
  if ("unclassified" in found) throw new Unsupported("a function's body could not be parsed");
  return [...found.statements];
}
