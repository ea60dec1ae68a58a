// The inside of a definition: column lists, constraints, ALTER TABLE commands. They come in too many
// shapes to handle one by one, so everything is walked: calls, operators and queries are judged as in
// any statement, relations named (foreign keys, LIKE, partitions) are read.

import {
  addAttributeEffects,
  addCallEffects,
  addOperatorEffects,
  addTypeEffects,
} from "./functions.ts";
import { addRelationEffect, type Context, touchRelation, touchRow } from "./lineage-context.ts";
import { resolveRelation } from "./lineage-from.ts";
import { isTree, list, stringOf, type Tree, text, Unsupported } from "./parse.ts";

/** `own`: the name of the table being made, which its own foreign keys may refer to. */
export function definitionParts(
  context: Context,
  root: readonly unknown[],
  own: string | undefined,
): void {
  const waiting: unknown[] = [...root];
  while (waiting.length > 0) {
    const at = waiting.pop();
    if (Array.isArray(at)) for (const one of at) waiting.push(one);
    else if (isTree(at)) walk(context, at, own, waiting);
  }
}

function walk(context: Context, at: Tree, own: string | undefined, waiting: unknown[]): void {
  const relation = text(at, "relname");
  if (relation !== undefined) {
    if (relation === own && text(at, "schemaname") === undefined) return;
    const info = resolveRelation(context, at);
    addRelationEffect(context, "select", info);
    // A foreign key tells whether a value is there.
    touchRelation(context, info);
    return;
  }
  for (const key in at) {
    const value = at[key];
    if (key === "SelectStmt" && isTree(value)) {
      touchRow(
        context,
        context.query(
          context,
          key,
          value,
          { items: [], parent: undefined, ctes: undefined },
          { defer: false },
        ),
      );
      continue;
    }
    if (isTree(value)) {
      if (key === "FuncCall") addCallEffects(context, value);
      else if (key === "A_Expr") addOperatorEffects(context, list(value, "name"));
      else if (key === "A_Indirection") attributes(context, list(value, "indirection"));
      // `table.function` is a call with the whole row.
      else if (key === "ColumnRef") attributes(context, list(value, "fields").slice(1));
      else if (key === "typeName" || key === "TypeName") typeOfColumn(context, value);
    }
    waiting.push(value);
  }
}

function attributes(context: Context, names: readonly unknown[]): void {
  for (const name of names.map(stringOf))
    if (name !== undefined) addAttributeEffects(context, name);
}

/** A type that is not there is the server's to tell: `serial` is one, and types made just before. */
function typeOfColumn(context: Context, typeName: Tree): void {
  try {
    addTypeEffects(context, typeName);
  } catch (thrown) {
    if (!(thrown instanceof Unsupported && thrown.sqlState === "42704")) throw thrown;
  }
}
