// EIO, ENOSPC, a disk that stays full and SIGKILL at each system call that keeps something: of a journal, a log
// and recordings under load from an empty folder; of the start that finds what a crash has left; and of the
// store, and of the keys that a first start makes. What they ask of the kernel is first looked at (injection.ts), so that no file and no call is left out
// that anybody forgot. After each fault the program must have gone down by itself and said why, or have gone on
// where that is harmless; then it is started again, and a checker of everything says whether what was
// acknowledged is there. All of it at full size; so many at random with CUSTODY_RUNS.

import { randomInt } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { evidenceSubject, keysSubject, startSubject } from "./fault-subjects.ts";
import {
  acknowledgedIn,
  cannotInject,
  describe,
  type Fault,
  type FileKind,
  type Life,
  liveWith,
  observe,
  refusedIn,
  type Subject,
} from "./injection.ts";
import { report, skip } from "./report.ts";
import { storeSubject } from "./store-subject.ts";

const FAULTS = [
  { fault: "error=EIO", stays: false },
  { fault: "error=ENOSPC", stays: false },
  { fault: "error=ENOSPC", stays: true },
  { fault: "signal=KILL", stays: false },
] as const;
const DEFAULT_RUNS = 14;
/** At a time: the load is mostly waiting for strace. */
const LANES = 2;

interface Tally {
  runs: number;
  hits: number;
  acknowledged: number;
  readonly problems: string[];
  /** What failed without ending the program. */
  readonly wentOn: Set<string>;
}

export async function injectFaults(): Promise<void> {
  const reason = cannotInject();
  if (reason !== undefined) return skip("faults at system calls", reason);
  const directory = mkdtempSync(join(tmpdir(), "custody-faults-"));
  // Else most of each run is the stripping of types.
  process.env.NODE_COMPILE_CACHE ??= join(directory, "compiled");
  try {
    for (const make of [evidenceSubject, startSubject, storeSubject, keysSubject]) {
      const subject = await make(join(directory, make.name));
      await injectInto(subject, join(directory, `${make.name}-runs`));
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function injectInto(subject: Subject, directory: string): Promise<void> {
  mkdirSync(directory);
  const folder = prepare(subject, join(directory, "observed"));
  const kinds = await observe(subject.command(folder), folder, `${folder}.trace`);
  const calls = kinds.reduce((sum, kind) => sum + [...kind.calls.values()].reduce(add, 0), 0);
  const tally: Tally = { runs: 0, hits: 0, acknowledged: 0, problems: [], wentOn: new Set() };
  const isFull = process.env.CUSTODY_CI_SIZE === "full";
  const rows = isFull
    ? every(kinds)
    : some(kinds, Number(process.env.CUSTODY_RUNS || DEFAULT_RUNS));
  const lane = async (number: number): Promise<void> => {
    for (let row = rows.shift(); row !== undefined; row = rows.shift()) {
      for (const fault of row) {
        const isHit = await injectOne(subject, fault, join(directory, String(number)), tally);
        // The load has no more of this call.
        if (!isHit && fault.place > (fault.kind.calls.get(fault.call) ?? 0)) break;
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, number) => lane(number)));
  const { runs, hits, acknowledged, problems, wentOn } = tally;
  const what = `${runs} runs, ${hits} faults at ${calls} calls on ${kinds.length} kinds of files`;
  report(
    `${subject.name}: ${what}, ${acknowledged} acknowledged`,
    problems.length === 0,
    problems.join("\n"),
  );
  if (wentOn.size > 0) console.log(`       it went on after: ${[...wentOn].sort().join(", ")}`);
  report(`${subject.name}: faults met it`, hits > 0);
}

const add = (one: number, other: number): number => one + other;
/** Beyond what was observed: another run may have more. */
const MORE_PLACES = 64;

/** Of each kind of files, call and fault: the places in their order. */
function every(kinds: readonly FileKind[]): Fault[][] {
  return kinds.flatMap((kind) =>
    [...kind.calls].flatMap(([call, count]) =>
      FAULTS.map((how) =>
        Array.from({ length: count + MORE_PLACES }, (_, at) => ({
          ...{ kind, call, place: at + 1 },
          ...how,
        })),
      ),
    ),
  );
}

function some(kinds: readonly FileKind[], runs: number): Fault[][] {
  return Array.from({ length: runs }, (_, at) => {
    const kind = kinds[randomInt(kinds.length)]!;
    const [call, count] = [...kind.calls][randomInt(kind.calls.size)]!;
    return [{ kind, call, place: 1 + randomInt(count), ...FAULTS[at % FAULTS.length]! }];
  });
}

function prepare({ template }: Subject, folder: string): string {
  rmSync(folder, { recursive: true, force: true });
  if (template !== undefined) cpSync(template, folder, { recursive: true });
  return folder;
}

async function injectOne(
  subject: Subject,
  fault: Fault,
  place: string,
  tally: Tally,
): Promise<boolean> {
  const folder = prepare(subject, place);
  const life = await liveWith(subject.command(folder), fault, folder, `${folder}.trace`);
  tally.runs++;
  if (life.hit) tally.hits++;
  const problem = endOf(subject, fault, life);
  if (problem === "went on") tally.wentOn.add(`${fault.call} of ${fault.kind.name}`);
  else if (problem !== undefined) tally.problems.push(`${describe(fault)}: ${problem}`);
  const acknowledged = [...subject.before, ...acknowledgedIn(life.output)];
  tally.acknowledged += acknowledged.length;
  try {
    const problems = await subject.goOn(folder, acknowledged, refusedIn(life.output));
    tally.problems.push(...problems.map((one) => `${describe(fault)}: ${one}`));
  } catch (error) {
    const said = error instanceof Error ? (error.stack ?? error.message) : String(error);
    tally.problems.push(`${describe(fault)}: it does not start again: ${said}`);
  }
  rmSync(folder, { recursive: true, force: true });
  return life.hit;
}

/** What is wrong with how it ended; "went on": nothing, though a call failed. */
function endOf(
  { mayGoOn }: Subject,
  { kind, call, fault }: Fault,
  { code, signal, output, hit }: Life,
): string | undefined {
  const said = output.slice(-600);
  if (!hit) return code === 0 ? undefined : `without a fault it ended with ${code}: ${said}`;
  if (fault === "signal=KILL")
    return signal === "SIGKILL" || code === 137 ? undefined : `killed, it ended with ${code}`;
  if (code === 0) {
    if (mayGoOn(kind, call)) return "went on";
    return `it went on as if nothing had been: ${said}`;
  }
  if (code === null) return `it hung, and was ended by ${signal}: ${said}`;
  const hasSaidWhy = /stopped: |GatewayError|EIO|ENOSPC|ENOENT/.test(output);
  return hasSaidWhy ? undefined : `it ended with ${code} and did not say why: ${said}`;
}
