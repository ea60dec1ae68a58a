// The classifier of one (target, database): text in, plan out. Owns the current catalogue snapshot and
// the cache of plans; both are replaced by refresh().
//
// What it cannot parse, resolve or place is Unclassified, which is a denial (I2).

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Effect, Operation } from "../../access/operation.ts";
import type { Clock } from "../../base/clock.ts";
import type { Classification } from "../../target/target.ts";
import { requireAlone } from "./application-name.ts";
import type { DefinitionIds, Snapshot } from "./catalogue.ts";
import type { FilteredBy, RowFilter } from "./catalogue-replication.ts";
import {
  buildCatalogue,
  type Catalogue,
  type ClassedColumn,
  type ClassesByOid,
  entryName,
} from "./catalogue-resolve.ts";
import type { ClassMemory, RememberedClass } from "./class-memory.ts";
import { classifyStatement } from "./classify-statement.ts";
import { EffectList, summarise } from "./effects.ts";
import { unaskedSources } from "./functions.ts";
import { grammarOf } from "./grammars.ts";
import { classifiedColumns, newContext } from "./lineage.ts";
import { TouchList } from "./lineage-context.ts";
import { expressionClasses } from "./lineage-view.ts";
import { loadParser, type Parsed, parseSql, refuse, Unsupported } from "./parse.ts";
import { LARGE_TEXT_CHARACTERS, parseElsewhere } from "./parse-elsewhere.ts";
import type {
  Classifier,
  QueryPlan,
  ReplicationFacts,
  SessionNames,
  StatementPlan,
  Unclassified,
} from "./plan.ts";
import { createPlanCache } from "./plan-cache.ts";
import type { ClassifiedByOid } from "./result-mask.ts";
import { quoteIdentifier } from "./session-settings.ts";

export interface ClassifierLimits {
  /** Longer statements are refused. */
  readonly maxTextBytes: number;
  /** Bound of the plan cache, in bytes of text and an estimate of the plans. */
  readonly cacheBytes: number;
}

export interface ClassifierDeps {
  readonly target: string;
  readonly database: string;
  readonly searchPath: readonly string[];
  readonly classify: readonly Classification[];
  /** Reads the catalogue: catalogue.ts, over a connection of the gateway's own. */
  readonly read: () => Promise<Snapshot>;
  readonly limits: ClassifierLimits;
  /** Classes of columns that were renamed while nobody looked. Absent: none are known. */
  readonly memory?: ClassMemory;
  /** Notices what others define at the target. Absent: only `refresh` does. */
  readonly watch?: {
    /** Another text whenever the catalogue is another: catalogue.ts, `readMark`. */
    readonly mark: () => Promise<string>;
    /** What became of views and functions: catalogue.ts, `readDefinitionMarks`. */
    readonly definitions?: (of: DefinitionIds) => Promise<string>;
    readonly clock: Pick<Clock, "monotonicMs">;
  };
  /** catalogue-replication.ts. Absent: nobody replicates. */
  readonly replication?: {
    readonly rowFilters: (of: FilteredBy) => Promise<readonly RowFilter[]>;
    readonly slotDatabase: (name: string) => Promise<string | undefined>;
  };
}

/** So long may others' definitions go unnoticed; longer where looking takes its time. */
const VERIFY_EVERY_MS = 1_000;
/** Of sessions that were closed while theirs was parsed, or looked at the catalogue first. */
const MAX_PARSED = 4;
/** Looking takes at most this part of the time. */
const VERIFY_SHARE = 1 / 20;

export interface PostgresClassifier extends Classifier {
  /** Classifications that name nothing in this database. */
  readonly unmatched: readonly Classification[];
  /** Classifications whose column is called otherwise by now, and keeps its class. */
  readonly renamed: readonly Classification[];
  /** For the second witness (result-mask.ts). */
  readonly classifiedByOid: ClassifiedByOid;
}

/** Throws what `read` throws. */
export async function createClassifier(deps: ClassifierDeps): Promise<PostgresClassifier> {
  const place = { target: deps.target, database: deps.database };
  const build = (snapshot: Snapshot, previous: ClassesByOid) => {
    const built = buildCatalogue(snapshot, place, deps.searchPath, deps.classify, previous);
    deps.memory?.keep(deps.target, deps.database, toRemember(built));
    return built;
  };
  const { watch } = deps;
  let verifiedMs = watch?.clock.monotonicMs() ?? 0;
  let verifyEveryMs = VERIFY_EVERY_MS;
  // Before the catalogue itself: a change in between is then noticed.
  let mark = await watch?.mark();
  const recalled = deps.memory?.recall(deps.target, deps.database) ?? [];
  const read = async () => {
    const snapshot = await deps.read();
    await loadParser(grammarOf(snapshot.serverVersion));
    return snapshot;
  };
  let catalogue = build(await read(), stillConfigured(recalled, deps.classify));
  let classified: ClassifiedByOid | undefined;
  let codeTypes: ReadonlySet<number> | undefined;
  let epoch = 1;
  const reading = oneAfterAnother();
  const looking = oneAfterAnother();
  const cache = createPlanCache(deps.limits.cacheBytes);
  /** Large texts that were parsed elsewhere, and what was made of them; whoever waited for one takes it out at once. */
  const parsed = new Map<string, Parsed | Unclassified>();
  const planned = new Map<string, QueryPlan | Unclassified>();

  async function readAgain(): Promise<void> {
    const snapshot = await read();
    if (snapshot.fingerprint === catalogue.snapshot.fingerprint) return;
    catalogue = build(snapshot, catalogue.classes);
    classified = undefined;
    codeTypes = undefined;
    epoch++;
    cache.clear();
    parsed.clear();
    planned.clear();
  }

  const refresh = () => reading(readAgain);

  async function prepareElsewhere(text: string): Promise<void> {
    const { grammar, snapshot } = catalogue;
    const { encoding } = snapshot;
    const found = await parseElsewhere(text, deps.limits.maxTextBytes, grammar, { encoding });
    const by = epoch;
    const plan = await planInTurns(catalogue, by, text, found);
    // By another catalogue it is another plan: whoever waits asks anew.
    if (by !== epoch) return;
    if (plan !== undefined) planned.set(text, plan);
    parsed.set(text, found);
    for (const oldest of parsed.keys()) {
      if (parsed.size <= MAX_PARSED) break;
      parsed.delete(oldest);
      planned.delete(oldest);
    }
  }

  async function look({ mark: read, clock }: NonNullable<ClassifierDeps["watch"]>): Promise<void> {
    const startedMs = clock.monotonicMs();
    const seen = await read();
    verifyEveryMs = Math.max(VERIFY_EVERY_MS, (clock.monotonicMs() - startedMs) / VERIFY_SHARE);
    if (seen !== mark) {
      await refresh();
      mark = seen;
    }
    verifiedMs = startedMs;
  }

  return {
    ...(deps.replication === undefined
      ? {}
      : { replication: replicationFacts(() => catalogue, deps.replication) }),
    classify(text, names) {
      const known = cache.get(text);
      if (known !== undefined) return known;
      const { grammar, snapshot } = catalogue;
      const { maxTextBytes } = deps.limits;
      const found = parsed.get(text) ?? parseSql(text, maxTextBytes, grammar, snapshot.encoding);
      parsed.delete(text);
      const plan = planned.get(text) ?? classifyParsed(catalogue, epoch, text, found, names);
      planned.delete(text);
      // What depends on the session's own names is not the same for the next one.
      if ("unclassified" in plan || plan.refers.length > 0) return plan;
      cache.set(text, plan);
      return plan;
    },
    prepare(text) {
      if (text.length < LARGE_TEXT_CHARACTERS || text.length > deps.limits.maxTextBytes)
        return undefined;
      if (cache.get(text) !== undefined || parsed.has(text)) return undefined;
      return prepareElsewhere(text);
    },
    get serverVersion() {
      return catalogue.snapshot.serverVersion;
    },
    get epoch() {
      return epoch;
    },
    get codeTypes() {
      codeTypes ??= new Set([...catalogue.snapshot.codeTypes, ...unaskedSources(catalogue)]);
      return codeTypes;
    },
    get settingBounds() {
      return catalogue.snapshot.settingBounds;
    },
    get renamed() {
      return catalogue.renamed;
    },
    get unmatched() {
      return catalogue.unmatched;
    },
    get classifiedByOid() {
      classified ??= classifiedColumns(catalogue);
      return classified;
    },
    classesOf(oid, columns) {
      const relation = catalogue.snapshot.relations.get(oid);
      classified ??= classifiedColumns(catalogue);
      const found = new Set<string>();
      for (const name of columns) {
        const column = relation?.columns.find((one) => one.name === name);
        if (column === undefined) return undefined;
        for (const one of classified.get(oid)?.get(column.attribute) ?? []) found.add(one);
      }
      return relation === undefined ? undefined : [...found];
    },
    refresh,
    async confirm({ marks, ...of }) {
      return watch?.definitions === undefined || (await watch.definitions(of)) === marks;
    },
    due: () => watch !== undefined && watch.clock.monotonicMs() - verifiedMs >= verifyEveryMs,
    async verify() {
      if (watch !== undefined) await looking(() => look(watch));
    },
  };
}

function replicationFacts(
  catalogue: () => Catalogue,
  { rowFilters, slotDatabase }: NonNullable<ClassifierDeps["replication"]>,
): ReplicationFacts {
  return {
    nameOf(oid) {
      const relation = catalogue().snapshot.relations.get(oid);
      return relation && `${quoteIdentifier(relation.schema)}.${quoteIdentifier(relation.name)}`;
    },
    async filterClasses(oid, publications) {
      const { serverVersion } = catalogue().snapshot;
      const found = new Set<string>();
      for (const filter of await rowFilters({ oid, publications, serverVersion })) {
        const relation = catalogue().snapshot.relations.get(filter.oid);
        const context = newContext(catalogue());
        const classes =
          relation === undefined
            ? catalogue().allClasses
            : expressionClasses(context, relation, filter.expression);
        for (const one of classes) found.add(one.class);
      }
      return [...found];
    },
    slotDatabase,
  };
}

/**
 * Does something anew for whoever asks. What is under way may have begun before the change that it is asked for:
 * another follows it, one for all who ask meanwhile.
 */
function oneAfterAnother(): (work: () => Promise<void>) => Promise<void> {
  let current: Promise<void> | undefined;
  let following: Promise<void> | undefined;
  const start = (work: () => Promise<void>): Promise<void> => {
    current = work().finally(() => {
      current = undefined;
    });
    return current;
  };
  return (work) => {
    if (current === undefined) return start(work);
    following ??= current
      .catch(() => undefined)
      .then(() => {
        following = undefined;
        return current ?? start(work);
      });
    return following;
  };
}

function toRemember({ classes }: Catalogue): RememberedClass[] {
  const found: RememberedClass[] = [];
  for (const [oid, attributes] of classes)
    for (const [attribute, list] of attributes)
      for (const { class: name, entry } of list)
        if (entry !== undefined) found.push({ oid, attribute, class: name, entry });
  return found;
}

/** By what the configuration says now: what was taken out of it has no class any more. */
function stillConfigured(
  recalled: readonly RememberedClass[],
  classify: readonly Classification[],
): ClassesByOid {
  const configured = new Set(classify.map((one) => `${one.class}\0${entryName(one)}`));
  const classes = new Map<number, Map<number, ClassedColumn[]>>();
  for (const { oid, attribute, class: name, entry } of recalled) {
    if (!configured.has(`${name}\0${entry}`)) continue;
    const columns = classes.get(oid) ?? new Map<number, ClassedColumn[]>();
    classes.set(oid, columns);
    const list = columns.get(attribute) ?? [];
    columns.set(attribute, [...list, { class: name, column: entry, entry }]);
  }
  return classes;
}

function classifyParsed(
  catalogue: Catalogue,
  epoch: number,
  text: string,
  parsed: Parsed | Unclassified,
  names: SessionNames,
): QueryPlan | Unclassified {
  if ("unclassified" in parsed) return parsed;
  const steps = planSteps(catalogue, epoch, text, parsed, names);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** undefined where it depends on a session's names. */
async function planInTurns(
  catalogue: Catalogue,
  epoch: number,
  text: string,
  parsed: Parsed | Unclassified,
): Promise<QueryPlan | Unclassified | undefined> {
  if ("unclassified" in parsed) return parsed;
  let asked = false;
  const ask = () => {
    asked = true;
    return undefined;
  };
  const steps = planSteps(catalogue, epoch, text, parsed, { prepared: ask, cursor: ask });
  for (;;) {
    const step = steps.next();
    if (asked) return undefined;
    if (step.done === true) return step.value;
    await nextTurn();
  }
}

/** Statements that are classified in one turn of whoever takes turns: some milliseconds. */
const STATEMENTS_A_TURN = 50;

function* planSteps(
  catalogue: Catalogue,
  epoch: number,
  text: string,
  parsed: Parsed,
  names: SessionNames,
): Generator<void, QueryPlan | Unclassified> {
  try {
    return yield* planStatements(catalogue, epoch, text, parsed, names);
  } catch (thrown) {
    if (thrown instanceof Unsupported)
      return refuse(thrown.message, thrown.sqlState, characterPosition(text, thrown.location));
    // The WASM parser or our own walk ran out of stack: refused like anything not understood.
    if (thrown instanceof RangeError) return refuse("the statement is nested too deeply", "54001");
    throw thrown;
  }
}

function* planStatements(
  catalogue: Catalogue,
  epoch: number,
  text: string,
  parsed: Parsed,
  names: SessionNames,
): Generator<void, QueryPlan> {
  const refers: { readonly space: "prepared" | "cursor"; readonly name: string }[] = [];
  const own = overlay(names);
  const statements: StatementPlan[] = [];
  const all = createTogether();
  let defined = false;
  const whole = parsed.statements.length === 1 ? { text } : {};
  const bounds = catalogue.snapshot.settingBounds;
  for (const statement of parsed.statements) {
    if (statements.length > 0 && statements.length % STATEMENTS_A_TURN === 0) yield;
    const plan = classifyStatement(
      { ...whole, catalogue, names: own.names, bounds, refers },
      statement,
    );
    // It would be resolved in the catalogue as it was before the definition.
    if (defined && !INDEPENDENT.has(plan.kind.kind))
      throw new Unsupported(
        "a statement that follows a definition (CREATE, ALTER, DROP) must be sent on its own",
      );
    defined ||= plan.kind.kind === "definition";
    own.learn(plan);
    statements.push(plan);
    all.add(plan.operation);
  }
  requireAlone(statements);
  const [only] = statements;
  return {
    text,
    epoch,
    statements,
    operation: statements.length === 1 && only ? only.operation : all.operation(),
    plainRead: statements.every((statement) => statement.plainRead),
    reachesClassified: statements.some((statement) => statement.reachesClassified !== false),
    refers,
  };
}

const INDEPENDENT = new Set(["definition", "transaction", "set", "custody", "discard"]);

/** Names the text itself gives a meaning to, before those of the session. */
function overlay(names: SessionNames) {
  const prepared = new Map<string, StatementPlan | undefined>();
  const cursors = new Map<string, StatementPlan | undefined>();
  return {
    names: {
      prepared: (name: string) => (prepared.has(name) ? prepared.get(name) : names.prepared(name)),
      cursor: (name: string) => (cursors.has(name) ? cursors.get(name) : names.cursor(name)),
    },
    learn({ kind }: StatementPlan): void {
      if (kind.kind === "prepare") prepared.set(kind.name, kind.inner);
      else if (kind.kind === "declare") cursors.set(kind.name, kind.inner);
      else if (kind.kind === "deallocate" && kind.name !== undefined)
        prepared.set(kind.name, undefined);
      else if (kind.kind === "close" && kind.name !== undefined) cursors.set(kind.name, undefined);
    },
  };
}

/** Of several statements, one operation. */
function createTogether() {
  const effects = new EffectList();
  const touches = new TouchList();
  return {
    add(operation: Operation): void {
      effects.addAll(operation.effects);
      // A second match in one message is a second guess.
      for (const touch of operation.touches)
        touches.add(
          touch.use === "match" && touches.has("match", touch) ? "inner" : touch.use,
          touch,
        );
    },
    operation(): Operation {
      const list: readonly Effect[] = effects.list();
      const summary = summarise(list);
      return { protocol: "postgres", effects: list, touches: touches.list(), summary };
    },
  };
}

/** A byte offset of the parse tree as PostgreSQL's 1-based character position. */
function characterPosition(text: string, bytes: number | undefined): number | undefined {
  if (bytes === undefined) return undefined;
  const before = Buffer.from(text).subarray(0, bytes).toString();
  return [...before].length + 1;
}
