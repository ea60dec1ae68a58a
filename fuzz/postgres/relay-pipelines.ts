// Random pipelines for the relay: what a client may write at once, of queries, prepared statements, portals
// read in parts, COPY both ways, transactions, errors, and statements that are denied, held or cancelled
// while held. Each is a list of messages in which marked texts stand for what is at issue; `withTexts` gives
// it for the relay, or for the server alone, where a statement that cannot be parsed stands for a denied one.

import {
  bind,
  close,
  copyData,
  copyDone,
  copyFail,
  describePortal,
  describeStatement,
  execute,
  flush,
  parse,
  query,
  sync,
} from "@custody/wire/postgres/frontend.ts";
import type { Random } from "./random.ts";

/** Marks of texts; the relay's tests judge by them (relay-harness.ts). */
export interface Texts {
  /** Refused where it stands. */
  readonly denied: string;
  /** Waits, then runs. */
  readonly held: string;
  /** Waits, then is refused: in a Query where it stands, in the extended protocol when it is executed. */
  readonly refused: string;
  readonly refusedInQuery: string;
}

export const THROUGH_RELAY: Texts = {
  denied: "select 1 /* deny */",
  held: "select 2 /* hold */",
  refused: "select 3 as held /* hold refuse */",
  refusedInQuery: "select 3 as held /* hold refuse */",
};

/** SQLSTATE 42601 and, when it is executed, 2201F: nothing else in the pipelines gives these. */
export const ALONE: Texts = {
  denied: "selec",
  held: "select 2",
  refused: "select sqrt(-1 - random())::int as held",
  refusedInQuery: "selec",
};

/** The last of every pipeline: nothing is left open, and its row says that all was answered. */
export const LAST = "424242";

type Step = (texts: Texts) => Buffer[];

/** The same steps for both sides, from one state of the generator. */
export function randomPipeline(random: Random, key: () => number): (texts: Texts) => Buffer[] {
  const steps: Step[] = [];
  const length = 1 + random.below(10);
  for (let index = 0; index < length; index++) steps.push(...nextSteps(random, key));
  steps.push(
    () => [sync()],
    () => [query("rollback"), query("deallocate all"), query(`select ${LAST}`)],
  );
  return (texts) => steps.flatMap((step) => step(texts));
}

const NAMES = ["", "one", "two"];
const PORTALS = ["", "p", "q"];

function nextSteps(random: Random, key: () => number): Step[] {
  const text = statement(random, key);
  const name = random.pick(NAMES);
  const portal = random.pick(PORTALS);
  switch (random.below(12)) {
    case 0:
    case 1:
    case 2:
      return [(texts) => [query(text(inQuery(texts)))]];
    case 3: {
      const second = statement(random, key);
      return [(texts) => [query(`${text(inQuery(texts))}; ${second(inQuery(texts))}`)]];
    }
    case 4:
    case 5:
      return [(texts) => run(text(texts), 0), ...ending(random)];
    case 6:
      return [(texts) => [parse(name, text(texts))], ...ending(random)];
    case 7: {
      const rows = random.below(3);
      const isDescribed = random.chance(0.5);
      return [
        () => [
          bound(portal, name),
          ...(isDescribed ? [describePortal(portal)] : []),
          execute(portal, rows),
        ],
        ...(random.chance(0.5) ? [() => [execute(portal, rows)]] : []),
        ...ending(random),
      ];
    }
    case 8: {
      const closed = random.chance(0.5) ? close("statement", name) : close("portal", portal);
      return [() => [closed], ...ending(random)];
    }
    case 9:
      return [() => [describeStatement(name)], ...ending(random)];
    case 10:
      return copyIn(random, key);
    default: {
      const rows = "copy (select generate_series(1, 3)) to stdout";
      if (random.chance(0.5)) return [() => [query(rows)]];
      return [() => run(rows, 0), ...ending(random)];
    }
  }
}

function inQuery(texts: Texts): Texts {
  return { ...texts, refused: texts.refusedInQuery };
}

function ending(random: Random): Step[] {
  if (random.chance(0.5)) return [() => [sync()]];
  return random.chance(0.3) ? [() => [flush()]] : [];
}

function statement(random: Random, key: () => number): (texts: Texts) => string {
  const id = key();
  const fixed = (text: string) => () => text;
  switch (random.below(14)) {
    case 0:
    case 1:
      return (texts) => texts.denied;
    case 2:
      return random.chance(0.5) ? (texts) => texts.held : (texts) => texts.refused;
    case 3:
    case 4:
    case 5:
      return fixed(`insert into t values (${id})`);
    case 6:
      return fixed("begin");
    case 7:
      return fixed(random.chance(0.6) ? "commit" : "rollback");
    case 8:
      return fixed(random.chance(0.5) ? "savepoint s" : "rollback to s");
    case 9:
      return fixed("select 1/0");
    case 10:
      return fixed("insert into t values (1)");
    default:
      return fixed("select generate_series(1, 4)");
  }
}

function copyIn(random: Random, key: () => number): Step[] {
  const rows = [`${key()}\trow\n`, random.chance(0.3) ? "no number\trow\n" : `${key()}\trow\n`];
  const end = random.chance(0.8) ? copyDone() : copyFail("enough");
  const data = [...rows.map((row) => copyData(Buffer.from(row))), end];
  const copy = "copy t from stdin";
  if (random.chance(0.5)) return [() => [query(copy), ...data]];
  // The unnamed statement is another one afterwards: a COPY without its rows ends the connection.
  return [() => [...run(copy, 0), ...data, sync(), parse("", "select 5"), sync()]];
}

function run(text: string, maxRows: number): Buffer[] {
  return [parse("", text), bound("", ""), describePortal(""), execute("", maxRows)];
}

function bound(portal: string, name: string): Buffer {
  return bind({
    portal,
    statement: name,
    parameterFormats: [],
    parameters: [],
    resultFormats: [],
  });
}
