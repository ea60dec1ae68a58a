// Columns of a relation as a row source. A view's come from its definition: the class of a base column
// follows through it; the server names the view itself (RowDescription), so that is the origin.

import type { ColumnInfo, RelationInfo } from "./catalogue.ts";
import { type Catalogue, type ClassedColumn, effectivePath } from "./catalogue-resolve.ts";
import { isSystemSchema } from "./catalogue-system.ts";
import { databaseResource } from "./effects.ts";
import {
  type Column,
  type Context,
  createContext,
  type Item,
  nested,
  type Origin,
  type Rows,
  type Scope,
  united,
} from "./lineage-context.ts";
import { evaluate } from "./lineage-expression.ts";
import { requireSeen } from "./lineage-seen.ts";
import { parseSql, Unsupported } from "./parse.ts";

/** What using a view does besides giving its columns. */
interface ViewBody {
  /** undefined: its definition is beyond us; any use may be of anything. */
  readonly columns: readonly Column[] | undefined;
  readonly context: Context;
}

/** By catalogue, so that it goes away with the snapshot. */
const bodies = new WeakMap<Catalogue, Map<number, ViewBody>>();
const columnsOf = new WeakMap<Catalogue, Map<number, readonly Column[]>>();
const generatedColumns = new WeakMap<
  Catalogue,
  Map<number, ReadonlyMap<number, ClassedColumn[]>>
>();

const MAX_DEFINITION_BYTES = 1024 * 1024;

/** The relation's columns; for a view, its body's effects and touches are added to the context. */
export function relationRows(context: Context, relation: RelationInfo): Rows {
  context.reached.add(relation.oid);
  if (relation.definition !== undefined && !isSystemSchema(relation.schema)) {
    const body = viewBody(context, relation, relation.definition);
    if (context.touches.isFirst(`view ${relation.oid}`)) enterView(context, relation, body);
  }
  const known = cached(columnsOf, context.catalogue);
  let columns = known.get(relation.oid);
  if (columns === undefined) {
    columns = relation.columns.map((info, index) => column(context, relation, info, index));
    known.set(relation.oid, columns);
  }
  return { columns, open: false };
}

function enterView(context: Context, relation: RelationInfo, { context: inner }: ViewBody): void {
  for (const oid of inner.reached) context.reached.add(oid);
  for (const one of inner.called) context.called.add(one);
  for (const oid of inner.types) context.types.add(oid);
  context.touches.addAll(inner.touches.list());
  // A materialised view's query ran when it was filled; only its columns matter now.
  if (relation.kind !== "view") return;
  context.effects.addAll(inner.effects.list());
  context.volatile ||= inner.volatile;
  context.changesSettings ||= inner.changesSettings;
  context.runsCode ||= inner.runsCode;
}

function column(context: Context, relation: RelationInfo, info: ColumnInfo, index: number): Column {
  const own = tableColumn(context, relation, info);
  if (relation.definition === undefined || isSystemSchema(relation.schema)) return own;
  const inner = viewBody(context, relation, relation.definition).columns?.[index];
  if (inner === undefined) return { ...own, derived: context.catalogue.allClasses };
  return {
    ...own,
    classes: united(context, own.classes, inner.classes),
    derived: united(context, own.derived, inner.derived),
  };
}

function tableColumn(context: Context, relation: RelationInfo, info: ColumnInfo): Column {
  const { oid } = relation;
  return {
    name: info.name,
    origin: { tableOid: oid, attribute: info.attribute },
    typeOid: info.typeOid,
    classes: context.catalogue.classes.get(oid)?.get(info.attribute) ?? [],
    derived:
      info.generated === undefined
        ? []
        : (generatedFrom(context, relation).get(info.attribute) ?? []),
  };
}

/** The column of the view's own query that this one is; undefined where it is computed. */
export function viewOrigin(
  context: Context,
  relation: RelationInfo,
  attribute: number,
): Origin | undefined {
  if (relation.definition === undefined) return undefined;
  const index = relation.columns.findIndex((column) => column.attribute === attribute);
  return viewBody(context, relation, relation.definition).columns?.[index]?.origin;
}

function viewBody(context: Context, relation: RelationInfo, definition: string): ViewBody {
  const known = cached(bodies, context.catalogue);
  let body = known.get(relation.oid);
  if (body === undefined) {
    body = nested(context, () => analyseView(context, relation, definition));
    known.set(relation.oid, body);
  }
  return body;
}

function analyseView(context: Context, relation: RelationInfo, definition: string): ViewBody {
  // Definitions are read with search_path = pg_catalog: every other name in them is qualified.
  const view = { searchPath: effectivePath([]), depth: context.depth, within: "view" } as const;
  const own = createContext(context.catalogue, context.query, view);
  const outer: Scope = { items: [], parent: undefined, ctes: undefined };
  try {
    const parsed = parseSql(definition, MAX_DEFINITION_BYTES, context.catalogue.grammar);
    const statement = "unclassified" in parsed ? undefined : parsed.statements[0];
    if (statement === undefined) throw new Unsupported("a view's definition could not be parsed");
    const rows = context.query(own, statement.type, statement.body, outer, { defer: true });
    requireSeen(own, statement.body);
    if (!rows.open && rows.columns.length === relation.columns.length)
      return { columns: rows.columns, context: own };
  } catch (thrown) {
    if (!(thrown instanceof Unsupported)) throw thrown;
  }
  const unknown = createContext(context.catalogue, context.query, view);
  unknown.volatile = true;
  unknown.changesSettings = true;
  unknown.effects.add("unknown", databaseResource(context.catalogue.place));
  for (const classed of context.catalogue.allClasses) unknown.touches.add("inner", classed);
  return { columns: undefined, context: unknown };
}

/** attribute of a generated column → the classes its expression uses */
function generatedFrom(
  context: Context,
  relation: RelationInfo,
): ReadonlyMap<number, readonly ClassedColumn[]> {
  const known = cached(generatedColumns, context.catalogue);
  let found = known.get(relation.oid);
  if (found === undefined) {
    found = new Map(
      relation.columns.flatMap(({ attribute, generated }) =>
        generated === undefined
          ? []
          : [[attribute, expressionClasses(context, relation, generated)] as const],
      ),
    );
    known.set(relation.oid, found);
  }
  return found;
}

/** Of an expression over the columns of one relation, as the catalogue has it; all there are when it is beyond us. */
export function expressionClasses(
  context: Context,
  relation: RelationInfo,
  expression: string,
): ClassedColumn[] {
  const view = { searchPath: effectivePath([]), depth: context.depth, within: "view" } as const;
  const own = createContext(context.catalogue, context.query, view);
  const classes = context.catalogue.classes.get(relation.oid);
  const item: Item = {
    // A generated column cannot use another generated one.
    columns: relation.columns.map((info) => ({
      name: info.name,
      origin: undefined,
      typeOid: info.typeOid,
      classes: classes?.get(info.attribute) ?? [],
      derived: [],
    })),
    open: false,
    name: relation.name,
    relation,
    bySchema: true,
    columnsVisible: true,
    nameVisible: true,
  };
  try {
    const { grammar } = context.catalogue;
    const parsed = parseSql(`SELECT ${expression}`, MAX_DEFINITION_BYTES, grammar);
    if ("unclassified" in parsed) throw new Unsupported("an expression could not be parsed");
    const targets = parsed.statements[0]?.body.targetList;
    evaluate(own, { items: [item], parent: undefined, ctes: undefined }, targets);
    return own.touches.list().map(({ class: name, column }) => ({ class: name, column }));
  } catch (thrown) {
    if (!(thrown instanceof Unsupported)) throw thrown;
    return [...context.catalogue.allClasses];
  }
}

function cached<V>(map: WeakMap<Catalogue, Map<number, V>>, catalogue: Catalogue): Map<number, V> {
  let inner = map.get(catalogue);
  if (inner === undefined) {
    inner = new Map();
    map.set(catalogue, inner);
  }
  return inner;
}
