// What the server's own constraints tell about stored values when a row is written: a unique index, a
// foreign key and a check compare what is stored with what is written, and the statement fails or does not
// (SQLSTATE class 23). Where a classified column takes part, that is a use of it like any other: one
// constant against a column of a unique index is a match, everything else an inner use.

import type { RelationInfo } from "./catalogue.ts";
import { type ClassedColumn, relativesOf } from "./catalogue-resolve.ts";
import type { Context } from "./lineage-context.ts";
import { isConstant } from "./lineage-expression.ts";
import { relationRows, viewOrigin } from "./lineage-view.ts";
import { child, isTree } from "./parse.ts";

/** What a column is given: a constant, nothing (NULL, DEFAULT), or what is computed from rows. */
export type Given = "constant" | "nothing" | "computed";

export interface Written {
  readonly how: "insert" | "update" | "delete";
  /** By attribute of the relation; of several rows, each row's in turn. */
  readonly values: ReadonlyMap<number, readonly Given[]>;
}

export function givenBy(node: unknown): Given {
  if (!isTree(node) || child(node, "SetToDefault") !== undefined) return "nothing";
  if (isNull(node)) return "nothing";
  return isConstant(node) ? "constant" : "computed";
}

/** NULL, cast to whatever. */
export function isNull(node: unknown): boolean {
  if (!isTree(node)) return false;
  const cast = child(node, "TypeCast");
  return cast === undefined ? child(node, "A_Const")?.isnull === true : isNull(cast.arg);
}

/** Adds the uses of classified columns that constraints of the relation, and of its parts, make of them. */
export function constraintTouches(context: Context, of: RelationInfo, by: Written): void {
  const { relation, written } = throughViews(context, of, by);
  touchesOfOne(context, relation, written);
  // Rows that are inserted go to partitions, never to tables that inherit.
  if (written.how === "insert" && relation.kind !== "partitioned") return;
  for (const part of relativesOf(context.catalogue.snapshot, relation).parts)
    touchesOfOne(context, part, inPart(relation, part, written));
}

/** Columns of a part have the names of its whole's, and numbers of their own. */
function inPart(whole: RelationInfo, part: RelationInfo, { how, values }: Written): Written {
  const own = new Map<number, readonly Given[]>();
  for (const { attribute, name } of whole.columns) {
    const given = values.get(attribute);
    const column = part.columns.find((one) => one.name === name);
    if (given !== undefined && column !== undefined) own.set(column.attribute, given);
  }
  return { how, values: own };
}

function touchesOfOne(context: Context, relation: RelationInfo, written: Written): void {
  const { catalogue } = context;
  const classesAt = (oid: number, attribute: number) =>
    catalogue.classes.get(oid)?.get(attribute) ?? [];
  if (written.how !== "delete") {
    for (const unique of relation.uniques) uniqueTouches(context, relation, unique, written);
    for (const key of relation.foreignKeys)
      for (const [index, attribute] of key.attributes.entries())
        for (const classed of classesAt(key.table, key.referenced[index] ?? 0))
          for (const given of written.values.get(attribute) ?? []) guess(context, classed, given);
  }
  if (written.how === "update")
    for (const check of relation.checks) checkTouches(context, relation, check, written);
  if (written.how === "insert") return;
  // Rows that refer to this one keep it from going.
  for (const oid of relation.referencedBy)
    for (const key of catalogue.snapshot.relations.get(oid)?.foreignKeys ?? []) {
      if (key.table !== relation.oid) continue;
      const kept =
        written.how === "delete" || key.referenced.some((one) => written.values.has(one));
      if (kept)
        for (const attribute of key.attributes)
          for (const classed of classesAt(oid, attribute)) context.touches.add("inner", classed);
    }
}

/** An index of which a part is written compares the rest of it too, as it is stored. */
function uniqueTouches(
  context: Context,
  relation: RelationInfo,
  unique: readonly number[],
  { how, values }: Written,
): void {
  if (!unique.some((attribute) => values.has(attribute))) return;
  const classes = classesOf(context, relation);
  for (const attribute of unique)
    for (const classed of classes.get(attribute) ?? []) {
      const given = values.get(attribute);
      if (given === undefined && how === "update") context.touches.add("inner", classed);
      for (const one of given ?? []) guess(context, classed, one);
    }
}

/** A check is of one row: it tells about the columns of it that stay as they are. */
function checkTouches(
  context: Context,
  relation: RelationInfo,
  check: readonly number[],
  { values }: Written,
): void {
  const all = check.includes(0) ? relation.columns.map(({ attribute }) => attribute) : check;
  if (!all.some((attribute) => values.has(attribute))) return;
  const classes = classesOf(context, relation);
  for (const attribute of all)
    if (!values.has(attribute))
      for (const classed of classes.get(attribute) ?? []) context.touches.add("inner", classed);
}

/** Of generated columns too: what they are made of. */
function classesOf(
  context: Context,
  relation: RelationInfo,
): ReadonlyMap<number, readonly ClassedColumn[]> {
  const { columns } = relationRows(context, relation);
  return new Map(
    relation.columns.map(({ attribute }, index) => {
      const { classes = [], derived = [] } = columns[index] ?? {};
      return [attribute, [...classes, ...derived]] as const;
    }),
  );
}

/** One constant a statement; a list of them is a search. */
function guess(context: Context, classed: ClassedColumn, given: Given): void {
  if (given === "nothing") return;
  const isMatch =
    given === "constant" &&
    context.within === "statement" &&
    !context.touches.has("match", classed);
  context.touches.add(isMatch ? "match" : "inner", classed);
}

/** The table whose rows are written where a view is named. */
export function writtenTable(context: Context, relation: RelationInfo): RelationInfo {
  return throughViews(context, relation, { how: "insert", values: new Map() }).relation;
}

/** A view that rows can be written to stands for one table, of which it shows columns. */
function throughViews(
  context: Context,
  relation: RelationInfo,
  written: Written,
): { readonly relation: RelationInfo; readonly written: Written } {
  if (relation.kind !== "view") return { relation, written };
  const values = new Map<number, readonly Given[]>();
  let base: RelationInfo | undefined;
  for (const { attribute } of relation.columns) {
    const origin = viewOrigin(context, relation, attribute);
    if (origin === undefined) continue;
    base ??= context.catalogue.snapshot.relations.get(origin.tableOid);
    const given = written.values.get(attribute);
    if (given !== undefined && base?.oid === origin.tableOid) values.set(origin.attribute, given);
  }
  if (base === undefined) return { relation, written };
  return throughViews(context, base, { how: written.how, values });
}
