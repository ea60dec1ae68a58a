// Resolving a column reference as PostgreSQL does (parse_relation.c, colNameToVar and
// refnameNamespaceItem): by visible columns of the nearest query level that has the name, then by the
// name of a relation as a whole row.

import { keyClasses, relativesOf } from "./catalogue-resolve.ts";
import { addAttributeEffects } from "./functions.ts";
import {
  type Column,
  type Context,
  type CteScope,
  computed,
  type Item,
  type Rows,
  requireRoom,
  type Scope,
  spend,
  touchInner,
} from "./lineage-context.ts";
import { list, locationOf, stringOf, type Tree, Unsupported } from "./parse.ts";

export type Reference =
  | { readonly kind: "column"; readonly column: Column }
  /** A whole row. */
  | { readonly kind: "row"; readonly rows: Rows; readonly rowType: number | undefined }
  /** `*` and `t.*` */
  | { readonly kind: "star"; readonly rows: Rows; readonly rowType: number | undefined };

/** System columns have negative attribute numbers (access/sysattr.h). */
const SYSTEM_COLUMNS = new Map([
  ["ctid", -1],
  ["xmin", -2],
  ["cmin", -3],
  ["xmax", -4],
  ["cmax", -5],
  ["tableoid", -6],
]);

export function resolveReference(context: Context, scope: Scope, reference: Tree): Reference {
  context.seen.add(reference);
  const fields = list(reference, "fields");
  const names = fields.map(stringOf);
  const location = locationOf(reference);
  const last = names[names.length - 1];
  const qualifier = names.slice(0, -1);
  if (qualifier.includes(undefined) || fields.length === 0)
    throw new Unsupported("a column reference has an unexpected shape");
  const qualifiers = qualifier as string[];
  if (last === undefined) {
    if (qualifiers.length === 0)
      return { kind: "star", rows: allColumns(context, scope, location), rowType: undefined };
    const rows = findItem(context, scope, qualifiers, location);
    return { kind: "star", rows, rowType: rows.relation?.rowType };
  }
  if (qualifiers.length === 0) return unqualified(context, scope, last, location);
  const item = findItem(context, scope, qualifiers, location);
  const column = columnOf(context, item, last, location);
  if (column !== undefined) return { kind: "column", column };
  if (item.open) {
    // A column nobody told us of, or a function of the whole row.
    addAttributeEffects(context, last);
    return { kind: "column", column: computed(last) };
  }
  throw new Unsupported(
    `column ${[...qualifiers, last].join(".")} does not exist`,
    "42703",
    location,
  );
}

export function findCte(scope: CteScope | undefined, name: string): Rows | "pending" | undefined {
  for (let at = scope; at !== undefined; at = at.parent) {
    const rows = at.names.get(name);
    if (rows !== undefined) return rows;
  }
  return undefined;
}

export function extend(parent: Scope, items: readonly Item[]): Scope {
  return { items, parent, ctes: parent.ctes };
}

function allColumns(context: Context, scope: Scope, location: number | undefined): Rows {
  const visible = scope.items.filter((item) => item.columnsVisible);
  let width = 0;
  for (const item of visible) {
    width += item.columns.length;
    spend(context, item.columns.length);
    requireRoom(width);
  }
  if (visible.length === 0)
    throw new Unsupported("SELECT * with no tables specified is not valid", "42601", location);
  return {
    columns: visible.flatMap((item) => item.columns),
    open: visible.some((item) => item.open),
  };
}

function unqualified(
  context: Context,
  scope: Scope,
  name: string,
  location: number | undefined,
): Reference {
  let open = false;
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const found: Column[] = [];
    for (const item of at.items) {
      if (!item.columnsVisible) continue;
      const column = columnOf(context, item, name, location);
      if (column !== undefined) found.push(column);
    }
    if (found.length > 1)
      throw new Unsupported(`column reference "${name}" is ambiguous`, "42702", location);
    const column = found[0];
    if (column !== undefined && !open) return { kind: "column", column };
    if (column !== undefined) {
      // It may as well be a column of a nearer item whose columns are not known.
      touchInner(context, column);
      return { kind: "column", column: computed(name) };
    }
    open ||= at.items.some((item) => item.columnsVisible && item.open);
  }
  const rows = findByName(context, scope, name);
  if (rows !== undefined) return { kind: "row", rows, rowType: rows.relation?.rowType };
  if (open) return { kind: "column", column: computed(name) };
  throw new Unsupported(`column "${name}" does not exist`, "42703", location);
}

function findItem(
  context: Context,
  scope: Scope,
  qualifiers: readonly string[],
  location: number | undefined,
): Item {
  const [first, second, third] = qualifiers;
  if (qualifiers.length === 1 && first !== undefined) {
    const item = findByName(context, scope, first);
    if (item !== undefined) return item;
    throw new Unsupported(`missing FROM-clause entry for table "${first}"`, "42P01", location);
  }
  const schema = qualifiers.length === 3 ? second : first;
  const name = qualifiers.length === 3 ? third : second;
  if (
    qualifiers.length > 3 ||
    (qualifiers.length === 3 && first !== context.catalogue.place.database)
  )
    throw new Unsupported("cross-database references are not implemented", "0A000", location);
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    spend(context, at.items.length);
    for (const item of at.items)
      if (
        item.nameVisible &&
        item.bySchema &&
        item.relation?.schema === schema &&
        item.relation?.name === name
      )
        return item;
  }
  throw new Unsupported(`missing FROM-clause entry for table "${name}"`, "42P01", location);
}

function findByName(context: Context, scope: Scope, name: string): Item | undefined {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    spend(context, at.items.length);
    const found = at.items.filter((item) => item.nameVisible && item.name === name);
    if (found.length > 1) throw new Unsupported(`table reference "${name}" is ambiguous`, "42P09");
    if (found[0] !== undefined) return found[0];
  }
  return undefined;
}

function columnOf(
  context: Context,
  item: Item,
  name: string,
  location: number | undefined,
): Column | undefined {
  const { catalogue } = context;
  spend(context, item.columns.length + 1);
  const found = item.columns.filter((column) => column.name === name);
  if (found.length > 1)
    throw new Unsupported(`column reference "${name}" is ambiguous`, "42702", location);
  if (found[0] !== undefined) return found[0];
  const attribute = SYSTEM_COLUMNS.get(name);
  if (attribute === undefined || item.relation === undefined) return undefined;
  const origin = { tableOid: item.relation.oid, attribute };
  if (name !== "tableoid") return { ...computed(name), origin };
  const { parts } = relativesOf(catalogue.snapshot, item.relation);
  const derived = [item.relation, ...parts].flatMap((one) => keyClasses(catalogue, one));
  return { ...computed(name), origin, derived };
}
