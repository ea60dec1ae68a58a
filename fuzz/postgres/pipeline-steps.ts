// What the pipeline model sends: every kind of request, those that fail included, each with its marker.

import * as frontend from "@custody/wire/postgres/frontend.ts";
import type { RequestKind } from "@custody/wire/postgres/reply-tracker.ts";
import type { Random } from "./random.ts";

export interface Step {
  readonly label: string;
  readonly frame: Buffer;
  /** undefined: a message without a reply of its own. */
  readonly kind: RequestKind | undefined;
  /** The statement's name, and the portal's. */
  readonly name?: string;
  readonly portal?: string;
  /** Rows an INSERT of it says. */
  readonly rows?: number;
  readonly swallow?: boolean;
  readonly mayCopyIn?: boolean;
}

/** The next few; the first is request `id`, and so on. */
export function nextSteps(random: Random, id: number): Step[] {
  return random.chance(0.2) ? wholeStatement(random, id) : [anyStep(random, id)];
}

/** Close, Parse, Bind, Describe, Execute of one statement, as drivers send it. */
function wholeStatement(random: Random, id: number): Step[] {
  const name = anyName(random);
  const steps = [closeStep(name, false)];
  const add = (step: Step) => steps.push(step);
  add(parseStep(random, id + 1, name));
  if (random.chance(0.3)) add(describeStep(random, name, false));
  if (name !== "") add(closeStep(name, true));
  add(bindStep(id + steps.length, name));
  if (random.chance(0.5)) add(describeStep(random, name, true));
  add(executeStep(random, name));
  if (random.chance(0.3)) add(executeStep(random, name));
  if (random.chance(0.7)) add({ label: "S", kind: "sync", frame: frontend.sync() });
  return steps;
}

function anyName(random: Random): string {
  return random.pick([...NAMES, ...NAMES, ...NAMES_BARE]);
}

function anyStep(random: Random, id: number): Step {
  switch (random.below(20)) {
    case 0:
    case 1:
    case 2:
      return parseStep(random, id, anyName(random));
    case 3:
    case 4:
    case 5:
      return bindStep(id, anyName(random));
    case 6:
    case 7:
    case 8:
    case 9:
      if (random.chance(0.06)) return missingPortalStep(id);
      return executeStep(random, anyName(random));
    case 10:
    case 11:
      return describeStep(random, anyName(random), random.chance(0.5));
    case 12:
      return closeStep(anyName(random), random.chance(0.3));
    case 13:
    case 14:
    case 15:
      return { label: "S", kind: "sync", frame: frontend.sync() };
    case 16:
    case 17:
      return queryStep(random, id);
    case 18:
      return { label: "F", kind: "function", frame: functionCall(random) };
    default:
      return strayStep(random);
  }
}

/** Statements of these names take one parameter; of NAMES_BARE none; the last two copy. */
const NAMES = ["", "a", "b"] as const;
const NAMES_BARE = ["n", "copy in", "copy out", "copy view"] as const;
const COPY_TEXTS: Readonly<Record<string, string>> = {
  "copy in": "copy copied from stdin",
  "copy out": "copy copied to stdout",
  "copy view": "copy seen from stdin",
};

function parseStep(random: Random, id: number, name: string): Step {
  const kind = "parse";
  const rows = (id % 7) + 1;
  const made = (text: string): Step => ({
    label: `P ${JSON.stringify(name)} ${text}`,
    kind,
    name,
    rows,
    frame: frontend.parse(name, text),
  });
  const copy = COPY_TEXTS[name];
  if (copy !== undefined) return made(copy);
  if (random.chance(0.08)) return made(`select nosuch_${id}`);
  if (random.chance(0.08)) {
    return { label: "P poison", kind, name, frame: frontend.poisonedParse(name, `r-${id}`) };
  }
  if (name === "n") {
    const child = `insert into children select -1 from generate_series(1, ${rows})`;
    return made(random.pick(["begin", "commit", "rollback", "", "savepoint x", child, NOTICE]));
  }
  const marked = `'s${id}' as s${id}, $1::text`;
  return made(
    random.pick([
      `select ${marked} from generate_series(1, 4)`,
      `select ${marked}`,
      `insert into copied select 1, $1::text from generate_series(1, ${rows})`,
      // Fails at its second row, when it runs and not before.
      `select ${marked}, case when g > 1 then $1::text::int end from generate_series(1, 3) g`,
    ]),
  );
}

const NOTICE = "do $$ begin raise notice 'noted'; perform pg_notify('model', 'x'); end $$";

function portalOf(name: string): string {
  return (NAMES_BARE as readonly string[]).includes(name) ? `p ${name}` : name;
}

function bindStep(id: number, name: string): Step {
  const portal = portalOf(name);
  const bare = (NAMES_BARE as readonly string[]).includes(name);
  const frame = frontend.bind({
    portal,
    statement: name,
    parameterFormats: [],
    parameters: bare ? [] : [Buffer.from(`b${id}`)],
    resultFormats: [],
  });
  return { label: `B ${JSON.stringify(portal)}`, kind: "bind", name, portal, frame };
}

function missingPortalStep(id: number): Step {
  const frame = frontend.missingPortalExecute(`r-${id}`);
  return { label: "E poison", kind: "execute", portal: "none", frame };
}

function executeStep(random: Random, name: string): Step {
  const portal = portalOf(name);
  const maxRows = random.pick([0, 0, 1, 2]);
  const mayCopyIn = name === "copy in" || name === "copy view";
  const label = `E ${JSON.stringify(portal)} ${maxRows}`;
  const frame = frontend.execute(portal, maxRows);
  return { label, kind: "execute", portal, mayCopyIn, frame };
}

function describeStep(random: Random, name: string, ofPortal: boolean): Step {
  if (!ofPortal) {
    const frame = frontend.describeStatement(name);
    return { label: `D S ${JSON.stringify(name)}`, kind: "describe-statement", name, frame };
  }
  const portal = portalOf(name);
  const label = `D P ${JSON.stringify(portal)}`;
  const frame = frontend.describePortal(portal);
  return { label, kind: "describe-portal", portal, swallow: random.chance(0.5), frame };
}

function closeStep(name: string, ofPortal: boolean): Step {
  if (!ofPortal) {
    const frame = frontend.close("statement", name);
    return { label: `C S ${JSON.stringify(name)}`, kind: "close", name, frame };
  }
  const portal = portalOf(name);
  const frame = frontend.close("portal", portal);
  return { label: `C P ${JSON.stringify(portal)}`, kind: "close", portal, frame };
}

function queryStep(random: Random, id: number): Step {
  const kind = "query";
  if (random.chance(0.1)) {
    return { label: "Q poison", kind, frame: frontend.poisonedQuery(`r-${id}`) };
  }
  const rows = (id % 7) + 1;
  const select = `select 'q${id}' as q${id} from generate_series(1, 3)`;
  const insert = `insert into copied select 1, 'q' from generate_series(1, ${rows})`;
  const copyIn = "copy copied from stdin";
  const text = random.pick([
    ...["begin", "commit", "rollback", "", ";", "savepoint x", "rollback to x", NOTICE],
    ...[select, `${select}; ${insert}; ${select}`, `${insert}; select nosuch_${id}; ${select}`],
    ...[copyIn, `${copyIn}; ${select}`, `${copyIn}; ${copyIn}`, "copy seen from stdin"],
    ...["copy copied to stdout", `copy copied to stdout; ${select}`],
    ...["copy (select 1 / (n - n) from copied) to stdout"],
    ...[`insert into children select -1 from generate_series(1, ${rows})`],
    ...["truncate copied", "listen model", `set application_name = 'model ${id}'`],
    `begin; declare c cursor for ${select}; fetch 2 from c; fetch all from c; close c; commit`,
  ]);
  const mayCopyIn = text.includes("from stdin");
  return { label: `Q ${text}`, kind, rows, mayCopyIn, frame: frontend.query(text) };
}

/** pg_backend_pid(), or a function that does not exist. */
function functionCall(random: Random): Buffer {
  const frame = Buffer.alloc(15);
  frame[0] = 0x46;
  frame.writeInt32BE(14, 1);
  frame.writeInt32BE(random.chance(0.7) ? 2026 : 999_999, 5);
  return frame;
}

function strayStep(random: Random): Step {
  const kind = undefined;
  return random.pick<Step>([
    { label: "H", kind, frame: frontend.flush() },
    { label: "d", kind, frame: frontend.copyData(Buffer.from("1\tstray\n")) },
    { label: "c", kind, frame: frontend.copyDone() },
    { label: "f", kind, frame: frontend.copyFail("stray") },
  ]);
}
