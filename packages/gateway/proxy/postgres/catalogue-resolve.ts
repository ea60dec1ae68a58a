// Names to objects, and classes to columns, over one snapshot.
//
// A class on a table holds for its partitions and children and for its parents, since each shows the
// other's rows. Views get their classes from lineage (lineage-view.ts).

import type { Classification } from "../../target/target.ts";
import type { FunctionInfo, RelationInfo, Snapshot, TypeInfo } from "./catalogue.ts";
import type { Place } from "./effects.ts";
import { type Grammar, grammarOf } from "./grammars.ts";

export interface ClassedColumn {
  readonly class: string;
  /** `public.customers.email`, for messages. */
  readonly column: string;
  /** The entry of `classify` it comes from, in the same form. */
  readonly entry?: string;
}

export type ClassesByOid = ReadonlyMap<number, ReadonlyMap<number, readonly ClassedColumn[]>>;

export interface Catalogue {
  readonly snapshot: Snapshot;
  /** The server's own: what reads its definitions and the texts that it is sent. */
  readonly grammar: Grammar;
  readonly place: Place;
  /** Schemas of unqualified names, pg_catalog first unless the operator put it elsewhere. */
  readonly searchPath: readonly string[];
  /** relation OID → attribute → classes */
  readonly classes: ClassesByOid;
  /** Every classified column once: what code we cannot see into may reach. */
  readonly allClasses: readonly ClassedColumn[];
  /** Classifications that name nothing in this database: to be told to the operator. */
  readonly unmatched: readonly Classification[];
  /** Those whose column is known to be called otherwise by now: it keeps the class. */
  readonly renamed: readonly Classification[];
}

export function entryName({ schema, table, column }: Classification): string {
  return `${schema}.${table}.${column}`;
}

export function buildCatalogue(
  snapshot: Snapshot,
  place: Place,
  searchPath: readonly string[],
  classify: readonly Classification[],
  /** What it was before: a column keeps its classes, whatever it or its table is called now. */
  previous?: ClassesByOid,
): Catalogue {
  const classes = new Map<number, Map<number, ClassedColumn[]>>();
  const unmatched: Classification[] = [];
  const family = families(snapshot);
  for (const entry of classify) {
    if (entry.database !== undefined && entry.database !== place.database) continue;
    const oid = snapshot.relationNames.get(entry.schema)?.get(entry.table);
    const found = oid === undefined ? 0 : addClass(snapshot, classes, family, oid, entry);
    if (found === 0) unmatched.push(entry);
  }
  if (previous !== undefined) keepClasses(snapshot, classes, previous);
  const kept = new Set(
    [...classes.values()]
      .flatMap((columns) => [...columns.values()].flat())
      .map((one) => one.entry),
  );
  const all = new Map<string, ClassedColumn>();
  for (const columns of classes.values())
    for (const list of columns.values())
      for (const classed of list)
        if (classed.class !== HIDDEN_CLASS) all.set(`${classed.class}\0${classed.column}`, classed);
  hideValues(snapshot, classes);
  return {
    snapshot,
    grammar: grammarOf(snapshot.serverVersion),
    place,
    searchPath: effectivePath(searchPath),
    classes,
    allClasses: [...all.values()],
    unmatched: unmatched.filter((entry) => !kept.has(entryName(entry))),
    renamed: unmatched.filter((entry) => kept.has(entryName(entry))),
  };
}

export function effectivePath(searchPath: readonly string[]): readonly string[] {
  return searchPath.includes("pg_catalog") ? searchPath : ["pg_catalog", ...searchPath];
}

export function findRelation(
  snapshot: Snapshot,
  searchPath: readonly string[],
  schema: string | undefined,
  name: string,
): RelationInfo | undefined {
  for (const candidate of schema === undefined ? searchPath : [schema]) {
    const oid = snapshot.relationNames.get(candidate)?.get(name);
    if (oid !== undefined) return snapshot.relations.get(oid);
  }
  return undefined;
}

/** Every function a call may mean: the server picks by argument types, which are not known here. */
export function findFunctions(
  snapshot: Snapshot,
  searchPath: readonly string[],
  schema: string | undefined,
  name: string,
): readonly FunctionInfo[] {
  const found: FunctionInfo[] = [];
  for (const candidate of schema === undefined ? searchPath : [schema])
    found.push(...(snapshot.functions.get(candidate)?.get(name) ?? []));
  return found;
}

export function findType(
  snapshot: Snapshot,
  searchPath: readonly string[],
  schema: string | undefined,
  name: string,
): TypeInfo | undefined {
  for (const candidate of schema === undefined ? searchPath : [schema]) {
    const type = snapshot.types.get(candidate)?.get(name);
    if (type !== undefined) return type;
  }
  return undefined;
}

export interface Relatives {
  /** The relation and, for a partition, every table it is a part of. */
  readonly whole: readonly RelationInfo[];
  /** Tables it inherits from, whose rows its own count among. */
  readonly parents: readonly RelationInfo[];
  /** Its partitions and the tables that inherit from it, at every depth: their rows are among its own. */
  readonly parts: readonly RelationInfo[];
}

/** By snapshot, so that it goes away with it. */
const childrenOf = new WeakMap<Snapshot, ReadonlyMap<number, readonly number[]>>();

export function relativesOf(snapshot: Snapshot, relation: RelationInfo): Relatives {
  const whole = new Set([relation]);
  const parents = new Set<RelationInfo>();
  for (const one of walk(snapshot, relation, (at) => at.parents))
    (one.isPart ? whole : parents).add(one.info);
  const children = childrenByParent(snapshot);
  const parts = walk(snapshot, relation, (at) => children.get(at.oid) ?? []).map(
    ({ info }) => info,
  );
  return { whole: [...whole], parents: [...parents], parts };
}

/** `isPart`: by partitioning all the way. */
function walk(
  snapshot: Snapshot,
  from: RelationInfo,
  next: (at: RelationInfo) => readonly number[],
): { readonly info: RelationInfo; readonly isPart: boolean }[] {
  const found = new Map<number, { info: RelationInfo; isPart: boolean }>();
  const waiting = [{ info: from, isPart: true }];
  for (const { info, isPart } of waiting)
    for (const oid of next(info)) {
      const other = snapshot.relations.get(oid);
      if (other === undefined || other === from || found.has(oid)) continue;
      const one = { info: other, isPart: isPart && info.isPartition };
      found.set(oid, one);
      waiting.push(one);
    }
  return [...found.values()];
}

function childrenByParent(snapshot: Snapshot): ReadonlyMap<number, readonly number[]> {
  const known = childrenOf.get(snapshot);
  if (known !== undefined) return known;
  const made = new Map<number, number[]>();
  for (const { oid, parents } of snapshot.relations.values())
    for (const parent of parents) {
      const list = made.get(parent);
      if (list === undefined) made.set(parent, [oid]);
      else list.push(oid);
    }
  childrenOf.set(snapshot, made);
  return made;
}

/** Classes among the columns that say which partition of the relation a row is in. */
export function keyClasses(
  { classes }: Pick<Catalogue, "classes">,
  { oid, partitionKey }: RelationInfo,
): readonly ClassedColumn[] {
  if (partitionKey.length === 0) return [];
  const byAttribute = classes.get(oid) ?? new Map<number, readonly ClassedColumn[]>();
  const keys = partitionKey.includes(0) ? [...byAttribute.keys()] : partitionKey;
  return keys.flatMap((attribute) => byAttribute.get(attribute) ?? []);
}

/** Of all relations. */
export function countedClasses(catalogue: Pick<Catalogue, "classes" | "snapshot">) {
  const { relations } = catalogue.snapshot;
  return [...catalogue.classes.keys()].flatMap((oid) => {
    const relation = relations.get(oid);
    return relation === undefined ? [] : keyClasses(catalogue, relation);
  });
}

/**
 * Columns of the system's own relations that hold values of anybody's columns or settings, or passwords for
 * other servers: what rows from before a column was added have in it, what a role's sessions start with, how
 * foreign servers and publishers are signed in to. `*` of these is read by tools. Masked where nothing else has
 * a class, too.
 */
const HIDDEN: readonly (readonly [string, string])[] = [
  ["pg_attribute", "attmissingval"],
  ["pg_roles", "rolconfig"],
  ["pg_user", "useconfig"],
  ["pg_subscription", "subconninfo"],
  ["pg_user_mapping", "umoptions"],
  ["pg_user_mappings", "umoptions"],
];

/** And where rows are in partitions by a classified value, how many are in each. */
const HIDDEN_COUNTS: readonly (readonly [string, string])[] = [
  ["pg_class", "relpages"],
  ["pg_class", "reltuples"],
  ["pg_class", "relallvisible"],
  ["pg_class", "relallfrozen"],
];

/** Their class: only who may unmask whatever there is sees them. */
const HIDDEN_CLASS = "custody.hidden";

/** Whether rows of the relation have classified values that an error could quote. */
export function isClassified({ classes }: Pick<Catalogue, "classes">, oid: number): boolean {
  for (const list of classes.get(oid)?.values() ?? [])
    if (list.some((classed) => classed.class !== HIDDEN_CLASS)) return true;
  return false;
}

function hideValues(snapshot: Snapshot, classes: Map<number, Map<number, ClassedColumn[]>>): void {
  const counted = countedClasses({ snapshot, classes }).length > 0;
  for (const [name, column] of counted ? [...HIDDEN, ...HIDDEN_COUNTS] : HIDDEN) {
    const oid = snapshot.relationNames.get("pg_catalog")?.get(name);
    const relation = oid === undefined ? undefined : snapshot.relations.get(oid);
    const found = relation?.columns.find((one) => one.name === column);
    if (relation === undefined || found === undefined) continue;
    const classed = { class: HIDDEN_CLASS, column: `pg_catalog.${name}.${column}` };
    const columns = classes.get(relation.oid) ?? new Map<number, ClassedColumn[]>();
    classes.set(relation.oid, columns.set(found.attribute, [classed]));
  }
}

function keepClasses(
  snapshot: Snapshot,
  classes: Map<number, Map<number, ClassedColumn[]>>,
  previous: ClassesByOid,
): void {
  for (const [oid, attributes] of previous) {
    const relation = snapshot.relations.get(oid);
    for (const [attribute, kept] of attributes) {
      if (!relation?.columns.some((column) => column.attribute === attribute)) continue;
      const columns = classes.get(oid) ?? new Map<number, ClassedColumn[]>();
      classes.set(oid, columns);
      const now = columns.get(attribute) ?? [];
      const lost = kept.filter((one) => !now.some((other) => other.class === one.class));
      columns.set(attribute, [...now, ...lost]);
    }
  }
}

function addClass(
  snapshot: Snapshot,
  classes: Map<number, Map<number, ClassedColumn[]>>,
  family: ReadonlyMap<number, readonly number[]>,
  oid: number,
  entry: Classification,
): number {
  const named = snapshot.relations.get(oid);
  // The fields of a composite type are nobody's rows: a class on one would protect nothing.
  if (named === undefined || named.kind === "composite" || named.kind === "index") return 0;
  if (!named.columns.some((column) => column.name === entry.column)) return 0;
  let added = 0;
  for (const member of family.get(oid) ?? [oid]) {
    const relation = snapshot.relations.get(member);
    const column = relation?.columns.find((candidate) => candidate.name === entry.column);
    if (relation === undefined || column === undefined) continue;
    let columns = classes.get(member);
    if (columns === undefined) {
      columns = new Map();
      classes.set(member, columns);
    }
    const list = columns.get(column.attribute) ?? [];
    if (!list.some((classed) => classed.class === entry.class))
      list.push({
        class: entry.class,
        column: `${relation.schema}.${relation.name}.${column.name}`,
        entry: entryName(entry),
      });
    columns.set(column.attribute, list);
    added++;
  }
  return added;
}

/** Relations connected by inheritance or partitioning, each with all of its family. */
function families(snapshot: Snapshot): Map<number, readonly number[]> {
  const neighbours = new Map<number, number[]>();
  const link = (from: number, to: number) => {
    const list = neighbours.get(from);
    if (list === undefined) neighbours.set(from, [to]);
    else list.push(to);
  };
  for (const relation of snapshot.relations.values())
    for (const parent of relation.parents) {
      link(relation.oid, parent);
      link(parent, relation.oid);
    }
  const found = new Map<number, readonly number[]>();
  for (const start of neighbours.keys()) {
    if (found.has(start)) continue;
    const members = new Set([start]);
    for (const member of members)
      for (const next of neighbours.get(member) ?? []) members.add(next);
    const list = [...members];
    for (const member of members) found.set(member, list);
  }
  return found;
}
