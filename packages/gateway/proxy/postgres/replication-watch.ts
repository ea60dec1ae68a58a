// A stream of changes in which nothing of a class may be, and no table that the chain may not read. pgoutput says of
// each relation, before its first row, which columns will come (wire/postgres/pgoutput.ts); what it says is looked up
// in the catalogue, and the session ends before a row of a relation that has a class in one of them, of which a
// filter by a class says what rows come, that may not be read, or that is not known as it is told: of an older shape
// than the catalogue's, dropped since, of another plugin than pgoutput.

import { WireError } from "@custody/wire/postgres/errors.ts";
import {
  createPgoutputReader,
  type Streamed,
  type StreamedRelation,
} from "@custody/wire/postgres/pgoutput.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Classifier } from "./plan.ts";

/** buffer[start,end) is a CopyData of the target's. Rejects with a GatewayError when the client must not get it. */
export type StreamWatch = (buffer: Buffer, start: number, end: number) => Promise<void> | void;

/** Why the chain may not run this statement; undefined when it may. */
export type WhyNot = (text: string) => Promise<string | undefined>;

const MAX_RELATIONS = 100_000;

export interface WatchContext {
  readonly classifier: Classifier;
  readonly whyNot: WhyNot;
  /** What the stream is of; undefined: of any. */
  readonly publications: readonly string[] | undefined;
}

export function watchStream(context: WatchContext): StreamWatch {
  const reader = createPgoutputReader();
  const clear = new Set<number>();
  return (buffer, start, end) => {
    const streamed = read(() => reader.read(buffer, start, end));
    if (streamed.kind === "message") throw unfit("it has messages of pg_logical_emit_message()");
    if (streamed.kind === "rows" && !streamed.oids.every((oid) => clear.has(oid)))
      throw unfit("it has rows of a relation that was not told of");
    if (streamed.kind !== "relation") return;
    const { oid } = streamed;
    if (clear.size >= MAX_RELATIONS) throw unfit("it is of too many relations");
    clear.delete(oid);
    return whyUnfit(context, streamed).then((why) => {
      if (why !== undefined) throw unfit(why);
      clear.add(oid);
    });
  };
}

async function whyUnfit(
  { classifier, publications, whyNot }: WatchContext,
  { columns, name, oid, schema }: StreamedRelation,
): Promise<string | undefined> {
  const label = `table ${schema}.${name}`;
  const classes = await classesOf(classifier, oid, columns);
  const called = classifier.replication?.nameOf(oid);
  if (classes === undefined || called === undefined)
    return `${label} is not what the catalogue knows of it`;
  if (classes.length > 0) return `${label} has values of class ${classes[0]}`;
  const [filter] = (await classifier.replication?.filterClasses(oid, publications)) ?? [];
  if (filter !== undefined) return `a filter of ${label} tells of class ${filter}`;
  const denied = await whyNot(`select from ${called}`);
  return denied && `${label} may not be read: ${denied}`;
}

async function classesOf(classifier: Classifier, oid: number, columns: readonly string[]) {
  // It may have been defined a moment ago: by what is known now, whatever was looked at when.
  await (classifier.verify ?? classifier.refresh)();
  const known = classifier.classesOf?.(oid, columns);
  if (known !== undefined) return known;
  await classifier.refresh();
  return classifier.classesOf?.(oid, columns);
}

function read(reading: () => Streamed): Streamed {
  try {
    return reading();
  } catch (thrown) {
    if (!(thrown instanceof WireError)) throw thrown;
    throw unfit("it is not of the plugin pgoutput, which says what is in it", thrown);
  }
}

function unfit(why: string, cause?: unknown): GatewayError {
  return new GatewayError("forbidden", `Custody ended the replication: ${why}`, {
    hint: "leave it out of the publication, or ask for the action replicate_past_masks",
    ...(cause === undefined ? {} : { cause }),
  });
}
