// CREATE, ALTER and the renaming of functions. A function of a new name does nothing before somebody calls it,
// and calls are judged. What has a name already may be called by what runs by itself and is judged by nobody
// then (defaults, triggers, checks, domains: ADR 0036), or by a statement that is under way: a new body, a new
// overload or a new name that is known counts as a call of it (ADR 0045).

import { databaseResource } from "./effects.ts";
import { addNamedFunctionEffect } from "./functions.ts";
import { type Context, touchEverything } from "./lineage-context.ts";
import { type BodyStatement, blockBody, followBody, parsedBody } from "./lineage-function.ts";
import {
  child,
  isTree,
  list,
  nameParts,
  stringOf,
  type Tree,
  text,
  Unsupported,
  unwrap,
} from "./parse.ts";

/** `name`: of the function that is made, without its schema. */
export function judgeNewBody(context: Context, name: string, body: Tree): void {
  // Code of the server's machine, or of the server itself under another name.
  if (COMPILED.has(languageOf(body)))
    context.effects.add("unsafe_io", databaseResource(context.catalogue.place));
  if (!isKnown(context, name)) return;
  const followed = follow(context, name, body);
  if (followed === undefined) touchEverything(context);
  else context.touches.addAll(followed.touches.list());
}

/** RENAME TO and SET SCHEMA. */
export function judgeNewName(context: Context, body: Tree): void {
  const object = child(child(body, "object") ?? {}, "ObjectWithArgs");
  const isRoutine = ROUTINES.has(text(body, "renameType") ?? text(body, "objectType") ?? "");
  if (object === undefined || !isRoutine) return;
  const newName = text(body, "newname");
  if (newName !== undefined && !isKnown(context, newName)) return;
  const parts = nameParts(list(object, "objname"));
  const schema = parts.length > 1 ? parts.at(-2) : undefined;
  for (const candidate of schema === undefined ? context.searchPath : [schema])
    if (context.catalogue.snapshot.functions.get(candidate)?.has(parts.at(-1) ?? ""))
      addNamedFunctionEffect(context, candidate, parts.at(-1) ?? "");
}

/** Its settings decide what the names in it mean. */
export function judgeAlteredFunction(context: Context, body: Tree): void {
  for (const node of list(body, "actions"))
    if (text(unwrap(node).body, "defname") === "set") touchEverything(context);
}

const ROUTINES = new Set([
  "OBJECT_FUNCTION",
  "OBJECT_PROCEDURE",
  "OBJECT_ROUTINE",
  "OBJECT_AGGREGATE",
]);

/** Something of that name is there, or a body in SQL may name it: those are looked up when they run. */
function isKnown({ catalogue }: Context, name: string): boolean {
  // A body has a quote within a name twice.
  const sought = name.toLowerCase().replaceAll('"', '""');
  for (const names of catalogue.snapshot.functions.values()) {
    if (names.has(name)) return true;
    for (const overloads of names.values())
      for (const { body } of overloads)
        if (body?.form === "text" && mayName(body.sql.toLowerCase(), sought)) return true;
  }
  return false;
}

/** In `U&"…"` a name is not seen. */
function mayName(sql: string, name: string): boolean {
  return sql.includes(name) || sql.includes("u&");
}

/** What a call of it would do; undefined: nobody can say. */
function follow(context: Context, name: string, body: Tree): Context | undefined {
  try {
    const statements = statementsOf(context, body);
    if (statements === undefined) return undefined;
    const parameters = list(body, "parameters").map((node) => unwrap(node).body);
    const inputNames = parameters.map((one) => text(one, "name") ?? "");
    const defaults = parameters.filter(({ defexpr }) => defexpr !== undefined);
    const targetList = defaults.map(({ defexpr }) => ({ ResTarget: { val: defexpr } }));
    if (targetList.length > 0) statements.push({ type: "SelectStmt", body: { targetList } });
    return followBody(context, { name, inputNames }, context.searchPath, statements);
  } catch (thrown) {
    if (!(thrown instanceof Unsupported)) throw thrown;
    return undefined;
  }
}

function statementsOf(context: Context, body: Tree): BodyStatement[] | undefined {
  const options = optionsOf(body);
  if (options.has("set") || languageOf(body) !== "sql") return undefined;
  const written = body.sql_body;
  if (isTree(written)) return blockBody(written);
  const as = options.get("as");
  const [sql] = isTree(as) ? nameParts(list(child(as, "List") ?? {}, "items")) : [];
  const { grammar, snapshot } = context.catalogue;
  return sql === undefined ? undefined : parsedBody(grammar, sql, snapshot.encoding);
}

function optionsOf(body: Tree): ReadonlyMap<string, unknown> {
  return new Map(
    list(body, "options").map((node) => {
      const { body: option } = unwrap(node);
      return [text(option, "defname") ?? "", option.arg] as const;
    }),
  );
}

function languageOf(body: Tree): string {
  const written = body.sql_body === undefined ? "" : "sql";
  return (stringOf(optionsOf(body).get("language")) ?? written).toLowerCase();
}

const COMPILED = new Set(["c", "internal"]);
