// Each node of a tree must have been looked at by a handler, so that a field nobody thought of cannot hide
// one.

import type { Context } from "./lineage-context.ts";
import { isTree, type Tree, Unsupported } from "./parse.ts";

/** Leaves that name nothing and hold nothing. */
const INERT = new Set([
  "String",
  "Integer",
  "Float",
  "Boolean",
  "BitString",
  "A_Star",
  "A_Const",
  "TypeName",
]);

const CAPITAL_Z = 0x5a;

/** Throws unless every node under `root` went through a handler. */
export function requireSeen(context: Pick<Context, "seen">, root: Tree): void {
  const waiting: unknown[] = [root];
  while (waiting.length > 0) {
    const at = waiting.pop();
    if (Array.isArray(at)) {
      // One by one: a list may have more items than a call may have arguments.
      for (const one of at) waiting.push(one);
      continue;
    }
    if (!isTree(at)) continue;
    for (const key in at) {
      const value = at[key];
      // Node types begin with a capital letter, fields do not.
      const isNode = key.charCodeAt(0) <= CAPITAL_Z && isTree(value);
      if (isNode && !INERT.has(key) && !context.seen.has(value as object))
        throw new Unsupported(`this use of ${key} is not supported`);
      // Most of a large statement, and nothing is below one.
      if (key === "A_Const") continue;
      waiting.push(value);
    }
  }
}
