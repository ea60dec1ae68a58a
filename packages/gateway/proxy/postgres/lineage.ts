// Lineage of one statement: what it does (effects), which classified columns it uses and how
// (touches), and for each column it gives out the base column whose bare value that is.
//
// Three rules make it sound. Every node type has a handler, and an unknown one is refused. Only a bare
// column keeps its class on the way out; every other use of a classified value is a touch at the place
// where it happens. And at the end each node of the tree must have been looked at by a handler, so
// that a field nobody thought of cannot hide one.

import type { RelationInfo } from "./catalogue.ts";
import type { Catalogue } from "./catalogue-resolve.ts";
import {
  type AnalyseQuery,
  type Column,
  type Context,
  createContext,
  type Rows,
  type Scope,
  touchInner,
  touchRow,
} from "./lineage-context.ts";
import { selectRows } from "./lineage-query.ts";
import { requireSeen } from "./lineage-seen.ts";
import { relationRows } from "./lineage-view.ts";
import { deleteRows, insertRows, mergeRows, updateRows } from "./lineage-write.ts";
import { type Tree, Unsupported } from "./parse.ts";
import type { OutputColumn } from "./plan.ts";
import type { ClassifiedByOid } from "./result-mask.ts";

const EMPTY_SCOPE: Scope = { items: [], parent: undefined, ctes: undefined };

export const QUERY_TYPES = new Set([
  "SelectStmt",
  "InsertStmt",
  "UpdateStmt",
  "DeleteStmt",
  "MergeStmt",
]);

export function newContext(catalogue: Catalogue): Context {
  return createContext(catalogue, analyseQuery);
}

/** Analyses a query at the top of a statement and gives its rows, with no touch for giving them out. */
export function analyse(context: Context, type: string, body: Tree): Rows {
  const rows = analyseQuery(context, type, body, EMPTY_SCOPE, { defer: false });
  requireSeen(context, body);
  return rows;
}

/**
 * The rows go to the client. undefined: their columns could not be found out, and whatever class is in
 * them was touched as "inner".
 */
export function giveOut(context: Context, rows: Rows): readonly OutputColumn[] | undefined {
  if (rows.open) {
    touchRow(context, rows);
    return undefined;
  }
  return rows.columns.map((column) => outputColumn(context, column));
}

function outputColumn(context: Context, column: Column): OutputColumn {
  const names = new Set(column.classes.map((classed) => classed.class));
  const origin = column.origin && {
    tableOids: [column.origin.tableOid],
    attribute: column.origin.attribute,
  };
  if (column.derived.length > 0 || names.size > 1) {
    // No one mask fits.
    touchInner(context, column);
    return { origin, class: undefined };
  }
  for (const classed of column.classes) context.touches.add("output", classed);
  return { origin, class: column.classes[0]?.class };
}

/**
 * Every column of every relation, views included, that is or is computed from a classified one: found out of
 * each relation when it is asked for, since taking a thousand views apart takes a third of a second.
 */
export function classifiedColumns(catalogue: Catalogue): ClassifiedByOid {
  const known = new Map<number, ReadonlyMap<number, readonly string[]>>();
  return {
    isEmpty: catalogue.allClasses.length === 0,
    get(oid) {
      const relation = catalogue.snapshot.relations.get(oid);
      if (relation === undefined || catalogue.allClasses.length === 0) return undefined;
      const found = known.get(oid) ?? classifiedOf(catalogue, relation);
      known.set(oid, found);
      return found;
    },
  };
}

function classifiedOf(
  catalogue: Catalogue,
  relation: RelationInfo,
): ReadonlyMap<number, readonly string[]> {
  const attributes = new Map<number, readonly string[]>();
  const { columns } = relationRows(newContext(catalogue), relation);
  for (const [index, { classes, derived }] of columns.entries()) {
    const names = new Set([...classes, ...derived].map((classed) => classed.class));
    const attribute = relation.columns[index]?.attribute;
    if (names.size > 0 && attribute !== undefined) attributes.set(attribute, [...names]);
  }
  return attributes;
}

const analyseQuery: AnalyseQuery = (context, type, body, outer, options) => {
  switch (type) {
    case "SelectStmt":
      if (body.intoClause !== undefined)
        throw new Unsupported("SELECT … INTO is not allowed here", "42601");
      return selectRows(context, body, outer, options);
    case "InsertStmt":
      return insertRows(context, body, outer);
    case "UpdateStmt":
      return updateRows(context, body, outer);
    case "DeleteStmt":
      return deleteRows(context, body, outer);
    case "MergeStmt":
      return mergeRows(context, body, outer);
    default:
      throw new Unsupported(`${type} is not allowed here`, "42601");
  }
};
