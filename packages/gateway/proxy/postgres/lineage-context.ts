// What one analysis carries along: the catalogue it resolves in, the effects and touches found so far,
// and the nodes it has looked at. Owned by the caller of lineage.ts, for one statement.

import type { ClassTouch, ClassUse } from "../../access/operation.ts";
import type { FunctionInfo, RelationInfo } from "./catalogue.ts";
import type { Catalogue, ClassedColumn } from "./catalogue-resolve.ts";
import { countedClasses, keyClasses, relativesOf } from "./catalogue-resolve.ts";
import { COUNTS, judgeSystemRelation } from "./catalogue-system.ts";
import { EffectList, type SqlAction, tableResource } from "./effects.ts";
import { type Tree, Unsupported } from "./parse.ts";
import type { NullStore, OwnName } from "./plan.ts";

/** Where the server's RowDescription says a column comes from. */
export interface Origin {
  readonly tableOid: number;
  readonly attribute: number;
}

/** One column of a row source or a result. */
export interface Column {
  readonly name: string;
  /** undefined: computed, or the server names no table for it. */
  readonly origin: Origin | undefined;
  /** 0: not known. */
  readonly typeOid: number;
  /** Classes of which this is the bare value. */
  readonly classes: readonly ClassedColumn[];
  /** Classes it was computed from where nobody was told yet: whatever uses it uses them. */
  readonly derived: readonly ClassedColumn[];
}

/** Columns of a query or a FROM item. `open`: there are more, or others, than could be found out. */
export interface Rows {
  readonly columns: readonly Column[];
  readonly open: boolean;
}

/** One entry of a query's name space (PostgreSQL's ParseNamespaceItem). */
export interface Item extends Rows {
  /** The name of qualified references; undefined for an unnamed join. */
  readonly name: string | undefined;
  readonly relation: RelationInfo | undefined;
  /** False when an alias hides the relation's own name, with schema. */
  readonly bySchema: boolean;
  readonly columnsVisible: boolean;
  readonly nameVisible: boolean;
}

export interface CteScope {
  readonly names: Map<string, Rows | "pending">;
  readonly parent: CteScope | undefined;
}

export interface Scope {
  readonly items: readonly Item[];
  readonly parent: Scope | undefined;
  readonly ctes: CteScope | undefined;
}

export interface QueryOptions {
  /** Column expressions of a view: computed classes wait in `derived` until the column is used. */
  readonly defer: boolean;
}

/** SELECT and the data-modifying statements; injected, since expressions contain queries. */
export type AnalyseQuery = (
  context: Context,
  type: string,
  body: Tree,
  outer: Scope,
  options: QueryOptions,
) => Rows;

export interface Context {
  readonly catalogue: Catalogue;
  readonly searchPath: readonly string[];
  readonly effects: EffectList;
  touches: TouchList;
  /** Field objects of the nodes that were analysed: what is not in here was overlooked. */
  readonly seen: Set<object>;
  readonly nulls: NullStore[];
  /** OIDs of relations read or written, views' own included. */
  readonly reached: Set<number>;
  /** OIDs of types that are named, and of rows that are used whole. */
  readonly types: Set<number>;
  /** Functions somebody made that are called. */
  readonly called: Set<FunctionInfo>;
  /**
   * Whose text it is. A view's: its owner reads the tables, so reading them is no effect of the caller's.
   * A function's: what is compared in it may come from anywhere.
   */
  readonly within: "statement" | "view" | "function";
  /** Where the statement's own text names the client's application_name. Absent: the server's is meant. */
  ownNames?: OwnName[];
  volatile: boolean;
  /** May change settings of the session. */
  changesSettings: boolean;
  /** Code of the database's own runs by itself (triggers, checks, row security): what it says may be anything. */
  runsCode: boolean;
  depth: number;
  /** What was looked at so far: columns, items, parts. */
  steps: number;
  readonly query: AnalyseQuery;
}

export class TouchList {
  readonly #touches = new Map<string, ClassTouch>();
  readonly #met = new Set<string>();

  /**
   * False when `what` was added before, with all that it does: a short text can name one thing a hundred thousand
   * times. Kept here, since the touches are what may be collected apart (the columns of a view).
   */
  isFirst(what: string): boolean {
    if (this.#met.has(what)) return false;
    this.#met.add(what);
    return true;
  }

  add(use: ClassUse, classed: ClassedColumn): void {
    const key = `${use}\0${classed.class}\0${classed.column}`;
    if (!this.#touches.has(key))
      this.#touches.set(key, { class: classed.class, use, column: classed.column });
  }

  has(use: ClassUse, classed: ClassedColumn): boolean {
    return this.#touches.has(`${use}\0${classed.class}\0${classed.column}`);
  }

  addAll(touches: Iterable<ClassTouch>): void {
    for (const touch of touches) this.add(touch.use, touch);
  }

  list(): readonly ClassTouch[] {
    return [...this.#touches.values()];
  }
}

export function createContext(
  catalogue: Catalogue,
  query: AnalyseQuery,
  definition?: {
    readonly searchPath: readonly string[];
    readonly depth: number;
    readonly within: "view" | "function";
  },
): Context {
  return {
    catalogue,
    searchPath: definition?.searchPath ?? catalogue.searchPath,
    effects: new EffectList(),
    touches: new TouchList(),
    seen: new Set(),
    nulls: [],
    reached: new Set(),
    types: new Set(),
    called: new Set(),
    within: definition?.within ?? "statement",
    volatile: false,
    changesSettings: false,
    runsCode: false,
    depth: definition?.depth ?? 0,
    steps: 0,
    query,
  };
}

/** The server has limits on nesting of its own; ours keeps our stack from running out first. */
const MAX_DEPTH = 400;

export function nested<T>(context: Context, body: () => T): T {
  if (++context.depth > MAX_DEPTH)
    throw new Unsupported("the statement is nested too deeply", "54001");
  try {
    return body();
  } finally {
    context.depth--;
  }
}

/** Well under a second. Everyday statements of hundreds of columns take some thousands. */
const MAX_STEPS = 5_000_000;

/**
 * Looking up names takes references × items × columns. A short text can make that any number, and all
 * sessions of the process would wait for it. Throws Unsupported.
 */
export function spend(context: Context, steps: number): void {
  context.steps += steps;
  if (context.steps > MAX_STEPS) throw new Unsupported("the statement is too complex", "54001");
}

/** Each class of each column once: what is put together again and again stays small. */
export function united(
  context: Context,
  one: readonly ClassedColumn[],
  other: readonly ClassedColumn[],
): readonly ClassedColumn[] {
  if (other.length === 0 || one === other) return one;
  if (one.length === 0) return other;
  spend(context, one.length + other.length);
  const known = new Set(one.map(keyOf));
  return [...one, ...other.filter((classed) => !known.has(keyOf(classed)))];
}

function keyOf(classed: ClassedColumn): string {
  return `${classed.class}\0${classed.column}`;
}

/** As PostgreSQL has it (MaxTupleAttributeNumber): a row of a row of stars grows with each level. */
const MAX_TARGETS = 1664;

export function requireRoom(columns: number): void {
  if (columns > MAX_TARGETS)
    throw new Unsupported(`target lists can have at most ${MAX_TARGETS} entries`, "54011");
}

export function computed(name: string, typeOid = 0): Column {
  return { name, origin: undefined, typeOid, classes: [], derived: [] };
}

export function renamed(column: Column, name: string): Column {
  return column.name === name ? column : { ...column, name };
}

/** The column is used in a way no mask protects. */
export function touchInner(context: Context, column: Column): void {
  for (const classed of column.classes) context.touches.add("inner", classed);
  for (const classed of column.derived) context.touches.add("inner", classed);
}

export function touchRow(context: Context, rows: Rows): void {
  for (const column of rows.columns) touchInner(context, column);
}

/** Code or definitions we cannot see into: they may reach every class of the database. */
export function touchEverything(context: Context): void {
  for (const classed of context.catalogue.allClasses) context.touches.add("inner", classed);
}

export function touchRelation(context: Context, relation: RelationInfo): void {
  for (const list of context.catalogue.classes.get(relation.oid)?.values() ?? [])
    for (const classed of list) context.touches.add("inner", classed);
}

const KIND_WORDS = new Map<string, string>([
  ["view", "view"],
  ["materialized", "view"],
  ["sequence", "sequence"],
  ["index", "index"],
  ["composite", "type"],
]);

/**
 * An effect on a relation and, for a partition, on the tables it is a part of. Its own parts, and the tables
 * it inherits from, are reached by way of it; `only`: none of those below it (ONLY).
 */
export function addRelationEffect(
  context: Context,
  action: SqlAction,
  relation: RelationInfo,
  only = false,
): void {
  if (!context.touches.isFirst(`${action} ${relation.oid} ${only}`)) return;
  const { place, snapshot } = context.catalogue;
  context.reached.add(relation.oid);
  noteCode(context, relation, action !== "select");
  touchPartition(context, relation);
  const judged = judgeSystemRelation(relation.schema, relation.name);
  if (judged === "harmless" && COUNTS.has(relation.name)) touchCounts(context);
  if (judged !== "user" && (judged === "sensitive" || action !== "select")) {
    const resource = tableResource(place, "system relation", relation.schema, relation.name);
    context.effects.add("unsafe_io", resource);
    return;
  }
  if (context.within === "view" && action === "select") return;
  const { whole, parents, parts } = relativesOf(snapshot, relation);
  spend(context, parts.length);
  const resourceOf = ({ kind, schema, name }: RelationInfo) =>
    tableResource(place, KIND_WORDS.get(kind) ?? "table", schema, name, judged === "harmless");
  for (const one of whole) context.effects.add(action, resourceOf(one));
  for (const one of parents) context.effects.addByWay(action, resourceOf(one));
  // Rows that are inserted go to partitions, never to tables that inherit.
  const inserts = action === "insert" || action === "copy_in";
  const below = only || (inserts && relation.kind !== "partitioned") ? [] : parts;
  for (const one of below) {
    context.reached.add(one.oid);
    context.effects.addByWay(action, resourceOf(one));
    noteCode(context, one, action !== "select");
  }
}

/** Functions of somebody's that run by themselves: their errors and notices are nobody's to read. */
export function noteCode(context: Context, relation: RelationInfo, writes: boolean): void {
  const { runsCode, triggers } = relation;
  context.runsCode ||= runsCode === "always" || (writes && (runsCode === "writes" || triggers > 0));
}

/** What is counted, measured or locked of each partition tells in which one a statement found its row. */
export function touchCounts(context: Context): void {
  for (const classed of countedClasses(context.catalogue)) context.touches.add("inner", classed);
}

/** Which partition a row is in tells of its key. */
function touchPartition(context: Context, relation: RelationInfo): void {
  if (!relation.isPartition) return;
  for (const one of relativesOf(context.catalogue.snapshot, relation).whole)
    if (one !== relation)
      for (const classed of keyClasses(context.catalogue, one))
        context.touches.add("inner", classed);
}
