// A stream of changes in which nothing of a class may be. pgoutput says of each relation, before its first row,
// which columns will come (wire/postgres/pgoutput.ts); what it says is looked up in the catalogue, and the session
// ends before a row of a relation that has a class in one of them, or that is not known as it is told: of an older
// shape than the catalogue's, dropped since, of another plugin than pgoutput.

import { WireError } from "@custody/wire/postgres/errors.ts";
import { createPgoutputReader, type Streamed } from "@custody/wire/postgres/pgoutput.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Classifier } from "./plan.ts";

/** buffer[start,end) is a CopyData of the target's. Rejects with a GatewayError when the client must not get it. */
export type StreamWatch = (buffer: Buffer, start: number, end: number) => Promise<void> | void;

const MAX_RELATIONS = 100_000;

export function watchStream(classifier: Classifier): StreamWatch {
  const reader = createPgoutputReader();
  const clear = new Set<number>();
  return (buffer, start, end) => {
    const streamed = read(() => reader.read(buffer, start, end));
    if (streamed.kind === "message") throw unfit("it has messages of pg_logical_emit_message()");
    if (streamed.kind === "rows" && !streamed.oids.every((oid) => clear.has(oid)))
      throw unfit("it has rows of a relation that was not told of");
    if (streamed.kind !== "relation") return;
    const { columns, name, oid, schema } = streamed;
    if (clear.size >= MAX_RELATIONS) throw unfit("it is of too many relations");
    clear.delete(oid);
    return classesOf(classifier, oid, columns).then((classes) => {
      const label = `table ${schema}.${name}`;
      if (classes === undefined) throw unfit(`${label} is not what the catalogue knows of it`);
      if (classes.length > 0) throw unfit(`${label} has values of class ${classes[0]}`);
      clear.add(oid);
    });
  };
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
    hint: "leave the column out of the publication, or ask for the action replicate_past_masks",
    ...(cause === undefined ? {} : { cause }),
  });
}
