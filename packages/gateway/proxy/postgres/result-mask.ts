// The second witness. The plan says which base column each output column is (lineage.ts); the server's
// RowDescription says it too. Rows are released only when both agree about everything classified, and
// then each classified column is replaced by its mask (DESIGN.md, "Masking SQL soundly").

import type { ReplaceValue } from "@custody/wire/postgres/data-row.ts";
import type { Detector } from "../../masking/detect.ts";
import { type MaskName, textMask } from "../../masking/masks.ts";
import type { OutputColumn, StatementPlan } from "./plan.ts";

/** What is read of a column in RowDescription. */
export interface DescribedColumn {
  /** 0 for a computed column. */
  readonly tableOid: number;
  readonly attribute: number;
  /** The base type where the column's is a domain. */
  readonly typeOid: number;
}

/** relation OID → attribute → classes of what is in the column, or is computed from: views' included. */
export interface ClassifiedByOid {
  /** Nothing in the database has a class. */
  readonly isEmpty: boolean;
  readonly get: (oid: number) => ReadonlyMap<number, readonly string[]> | undefined;
}

export type Verified =
  /** `classes`: of each column, the class to mask; undefined where there is none. */
  | { readonly ok: true; readonly classes: readonly (string | undefined)[] }
  | { readonly ok: false; readonly why: string };

/** `plan` undefined: rows of a statement nobody planned. */
export function verifyRowDescription(
  described: readonly DescribedColumn[],
  plan: StatementPlan | undefined,
  classified: ClassifiedByOid,
): Verified {
  if (plan === undefined) {
    if (classified.isEmpty) return { ok: true, classes: described.map(() => undefined) };
    return { ok: false, why: "rows came that no statement asked for" };
  }
  const { columns } = plan;
  if (columns !== undefined && columns.length !== described.length)
    return {
      ok: false,
      why: `${columns.length} columns were expected and ${described.length} came`,
    };
  const classes: (string | undefined)[] = [];
  for (const [index, column] of described.entries()) {
    const expected = columns?.[index];
    const why = disagreement(column, expected, plan, classified);
    if (why !== undefined) return { ok: false, why: `column ${index + 1}: ${why}` };
    classes.push(expected?.class);
  }
  return { ok: true, classes };
}

function disagreement(
  column: DescribedColumn,
  expected: OutputColumn | undefined,
  plan: StatementPlan,
  classified: ClassifiedByOid,
): string | undefined {
  const said = classified.get(column.tableOid)?.get(column.attribute) ?? [];
  for (const name of said)
    if (name !== expected?.class && !usedInside(plan, name))
      return `the server names a column of class ${name} that was not expected there`;
  if (expected === undefined) return undefined;
  const { origin } = expected;
  if (origin === undefined) {
    // UNION ALL has no table for the server either; a class may still be in it, and is masked.
    if (expected.class === undefined || column.tableOid === 0 || said.includes(expected.class))
      return undefined;
    return "the server names another column than was expected";
  }
  const same = origin.tableOids.includes(column.tableOid) && origin.attribute === column.attribute;
  if (same) return undefined;
  if (expected.class !== undefined)
    return `the server does not name the column of class ${expected.class} that was expected`;
  return column.tableOid === 0 ? undefined : "the server names another column than was expected";
}

/** Such a statement passes only where every hop may see the class. */
function usedInside(plan: StatementPlan, name: string): boolean {
  return plan.operation.touches.some((touch) => touch.use === "inner" && touch.class === name);
}

/** text, varchar, bpchar, name, unknown: the same bytes in the text and the binary format. */
const TEXT_TYPES = new Set([25, 1043, 1042, 19, 705]);

/** And json, jsonb, xml: a mask has no character that would need to be quoted in them. */
const NET_TYPES = new Set([...TEXT_TYPES, 114, 3802, 142]);

export interface RowMask {
  /** Each once. */
  readonly maskedClasses: readonly string[];
  /** Of these, classes whose values come out as NULL. */
  readonly nulled: readonly string[];
  /** Columns whose mask keeps a part of the value. */
  readonly partial: readonly boolean[];
  /** Columns `replace` is for, ascending. */
  readonly columns: readonly number[];
  /** undefined when nothing is masked: rows pass as they are. */
  readonly replace: ReplaceValue | undefined;
}

/** `classes` from verifyRowDescription; `unmask` from the decision's obligations. */
export function createRowMask(
  described: readonly DescribedColumn[],
  classes: readonly (string | undefined)[],
  unmask: ReadonlySet<string>,
  masks: ReadonlyMap<string, MaskName>,
  detect?: Detector,
): RowMask {
  const mask = classMask(described, classes, unmask, masks);
  if (detect === undefined) return mask;
  // The net is for text nobody classified; what a mask is put on has nothing left to find.
  const nets = described.map(
    ({ typeOid }, index) => NET_TYPES.has(typeOid) && !mask.columns.includes(index),
  );
  if (!nets.includes(true)) return mask;
  return {
    ...mask,
    columns: described.flatMap((_, index) =>
      nets[index] === true || mask.columns.includes(index) ? [index] : [],
    ),
    replace(column, buffer, offset, length) {
      if (nets[column] !== true) return mask.replace?.(column, buffer, offset, length);
      return length < 0 ? undefined : detect(buffer.subarray(offset, offset + length));
    },
  };
}

function classMask(
  described: readonly DescribedColumn[],
  classes: readonly (string | undefined)[],
  unmask: ReadonlySet<string>,
  masks: ReadonlyMap<string, MaskName>,
): RowMask {
  const masked = classes.map((name) => (name === undefined || unmask.has(name) ? undefined : name));
  const maskedClasses = [...new Set(masked.filter((name) => name !== undefined))];
  if (maskedClasses.length === 0)
    return { maskedClasses, nulled: [], partial: [], columns: [], replace: undefined };
  const names = masked.map((name, index): MaskName | undefined => {
    if (name === undefined) return undefined;
    // NULL is the one value every other type has in both formats.
    const isText = TEXT_TYPES.has(described[index]?.typeOid ?? 0);
    return isText ? (masks.get(name) ?? "redact") : "null";
  });
  const byColumn = masked.map((name, index) => {
    const mask = names[index];
    return name === undefined || mask === undefined ? undefined : textMask(mask, name);
  });
  return {
    maskedClasses,
    nulled: maskedClasses.filter((name) =>
      masked.some((other, index) => other === name && names[index] === "null"),
    ),
    partial: names.map((name) => name === "email-domain" || name === "last4"),
    columns: masked.flatMap((name, index) => (name === undefined ? [] : [index])),
    replace(column, buffer, offset, length) {
      const mask = byColumn[column];
      if (mask === undefined) return undefined;
      // Not worth a view of the value.
      if (names[column] === "redact" || names[column] === "null") return mask(undefined);
      return mask(length < 0 ? undefined : buffer.subarray(offset, offset + length));
    },
  };
}
