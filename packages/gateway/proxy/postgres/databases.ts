// The classifier of each database in use: its catalogue read over the gateway's standing connection when
// a first session comes, read again on a schedule while sessions are open, forgotten when the target's
// configuration changes.
//
// Who owns the state: one a gateway.

import type { Clock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import type { StandingConnections } from "../../credential/standing.ts";
import type { MaskName } from "../../masking/masks.ts";
import type { Classification, PostgresTarget } from "../../target/target.ts";
import {
  type DefinitionIds,
  readDefinitionMarks,
  readMark,
  type Snapshot,
  type SnapshotReader,
  snapshotReader,
} from "./catalogue.ts";
import {
  type FilteredBy,
  type RowFilter,
  readRowFilters,
  readSlotDatabase,
} from "./catalogue-replication.ts";
import { entryName } from "./catalogue-resolve.ts";
import type { ClassMemory } from "./class-memory.ts";
import { createClassifier } from "./classify.ts";
import type { Classifier } from "./plan.ts";
import { createResultMasks, type ResultMasks } from "./row-check.ts";

export interface Database {
  readonly classifier: Classifier;
  readonly masks: ResultMasks;
}

export interface Databases extends Disposable {
  open(target: PostgresTarget, database: string): Promise<Database>;
  /** A target's configuration changed or went: its classifiers are made anew for the next session. */
  forget(targetName: string): void;
}

/** What is read of a target's catalogue, by a login that is not the data side's own. */
export interface CatalogueReader {
  /** Throws GatewayError "target_unavailable". */
  snapshot(target: PostgresTarget, database: string): Promise<Snapshot>;
  mark(target: PostgresTarget, database: string): Promise<string>;
  /** Of these views and functions alone. */
  definitions(target: PostgresTarget, database: string, of: DefinitionIds): Promise<string>;
  /** Of the publications a table is in. */
  rowFilters(
    target: PostgresTarget,
    database: string,
    of: FilteredBy,
  ): Promise<readonly RowFilter[]>;
  /** "" where it is of the whole server; undefined where there is none. */
  slotDatabase(target: PostgresTarget, database: string, name: string): Promise<string | undefined>;
}

export interface DatabasesDeps {
  readonly catalogue: CatalogueReader;
  readonly memory?: ClassMemory;
  readonly clock: Clock;
  readonly masks: () => ReadonlyMap<string, MaskName>;
  readonly limits: {
    readonly catalogueRefreshMs: number;
    readonly statementBytes: number;
    readonly planCacheBytes: number;
  };
  readonly log: (message: string, error?: unknown) => void;
}

/** Databases of which the system's objects are kept; of one more, the one that was read longest ago is forgotten. */
const MAX_READERS = 32;

/** Reads with the target's own login for it. */
export function catalogueOver(standing: Pick<StandingConnections, "query">): CatalogueReader {
  const reading = (target: PostgresTarget, database: string) => (sql: string) =>
    standing.query(target, target.catalogue, database, sql);
  const readers = new Map<string, SnapshotReader>();
  const readerOf = ({ name, host, port }: PostgresTarget, database: string): SnapshotReader => {
    const key = JSON.stringify([name, host, port, database]);
    const reader = readers.get(key) ?? snapshotReader();
    readers.delete(key);
    readers.set(key, reader);
    const [oldest] = readers.keys();
    if (readers.size > MAX_READERS && oldest !== undefined) readers.delete(oldest);
    return reader;
  };
  return {
    snapshot: (target, database) => readerOf(target, database)(reading(target, database)),
    mark: (target, database) => readMark(reading(target, database)),
    definitions: (target, database, of) => readDefinitionMarks(reading(target, database), of),
    rowFilters: (target, database, of) => readRowFilters(reading(target, database), of),
    slotDatabase: (target, database, name) => readSlotDatabase(reading(target, database), name),
  };
}

export function openDatabases(deps: DatabasesDeps): Databases {
  const opened = new Map<string, { target: string; database: Promise<Database> }>();
  const timer = setInterval(() => {
    for (const { database } of opened.values())
      database
        .then(({ classifier }) => classifier.refresh())
        .catch((error) => deps.log("a catalogue could not be read again", error));
  }, deps.limits.catalogueRefreshMs);
  timer.unref();
  return {
    open(target, database) {
      const key = JSON.stringify([target.name, database]);
      const known = opened.get(key);
      if (known !== undefined) return known.database;
      const opening = openDatabase(target, database, deps);
      opened.set(key, { target: target.name, database: opening });
      // A target that was down is asked again by the next session.
      opening.catch(() => opened.delete(key));
      return opening;
    },
    forget(targetName) {
      for (const [key, { target }] of opened) if (target === targetName) opened.delete(key);
    },
    [Symbol.dispose]() {
      clearInterval(timer);
    },
  };
}

async function openDatabase(
  target: PostgresTarget,
  database: string,
  deps: DatabasesDeps,
): Promise<Database> {
  const { catalogue, limits } = deps;
  const classify = target.classify.filter(
    (one) => one.database === undefined || one.database === database,
  );
  const classifier = await createClassifier({
    target: target.name,
    database,
    searchPath: target.searchPath,
    classify,
    read: () => catalogue.snapshot(target, database),
    ...(deps.memory === undefined ? {} : { memory: deps.memory }),
    limits: {
      maxTextBytes: limits.statementBytes,
      cacheBytes: limits.planCacheBytes,
    },
    watch: {
      mark: () => catalogue.mark(target, database),
      definitions: (of) => catalogue.definitions(target, database, of),
      clock: deps.clock,
    },
    replication: {
      rowFilters: (of) => catalogue.rowFilters(target, database, of),
      slotDatabase: (name) => catalogue.slotDatabase(target, database, name),
    },
  });
  refuseUnmatched(target, database, classifier.unmatched, deps);
  for (const one of classifier.renamed)
    deps.log(
      `target ${target.name}: ${entryName(one)} (${one.class}) is called otherwise by now in database ${database}; it keeps its class, and the configuration should say its name`,
    );
  return { classifier, masks: createResultMasks(classifier, deps.masks, target.detect) };
}

/**
 * A classification that names no column protects nothing: a slip of the pen, or a column that was renamed
 * while nobody looked. Where it is meant for this database no session opens; else the log says so.
 */
function refuseUnmatched(
  target: PostgresTarget,
  database: string,
  unmatched: readonly Classification[],
  deps: DatabasesDeps,
): void {
  const isOnly = target.databases?.length === 1;
  for (const one of unmatched) {
    const column = `${one.schema}.${one.table}.${one.column}`;
    const what = `target ${target.name}: ${column} (${one.class}) names no column of database ${database}`;
    if (isOnly || one.database !== undefined)
      throw new GatewayError("configuration", what, {
        hint: "correct `classify` in the configuration, or take it out",
      });
    deps.log(what);
  }
}
