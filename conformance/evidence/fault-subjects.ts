// What faults.ts starves and kills: the evidence part from an empty folder; its start in a folder that a
// crash has left: killed between its tiles and the head that speaks of them, with a batch of the journal
// half written; and the making of keys at a first start.

import { randomBytes } from "node:crypto";
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { GatewayError } from "@custody/gateway/base/errors.ts";
import { checkEvidence } from "../support/evidence-checker.ts";
import { runEvidenceLoad } from "./evidence-load.ts";
import { openFirst } from "./first-start.ts";
import { acknowledgedIn, type FileKind, liveWith, type Subject } from "./injection.ts";

const LOAD = fileURLToPath(new URL("fault-load.ts", import.meta.url));
const FIRST_START = fileURLToPath(new URL("first-start.ts", import.meta.url));
const SESSIONS = 2;

export function loadCommand(prefix: string, commands: number, responseBytes: number) {
  const load = [SESSIONS, commands, responseBytes].map(String);
  return (folder: string) => [process.execPath, LOAD, folder, prefix, ...load];
}

let lives = 0;

/** Recovers, goes on a little and ends, in this process; says what is wrong with what is in the folder then. */
export async function goOn(folder: string, acknowledged: readonly string[]): Promise<string[]> {
  const more: string[] = [];
  const prefix = `z${lives++}`;
  await new Promise<void>((resolve, reject) => {
    runEvidenceLoad({
      ...{ directory: folder, prefix, sessions: 1, commands: 1, responseBytes: 100 },
      onAck: (request) => more.push(request),
      onFailure: reject,
    }).then(resolve, reject);
  });
  return [...(await checkEvidence(folder, [...acknowledged, ...more])).problems];
}

/**
 * What is cleared away is not needed any more: where it stays it is cleared another time. A folder that is there
 * already need not be made.
 */
function mayGoOn(_kind: FileKind, call: string): boolean {
  return call === "unlink" || call === "mkdir";
}

/** Three segments of the journal, which two of are done with at the end. */
const FROM_NOTHING = loadCommand("a", 4, 700_000);

export async function evidenceSubject(): Promise<Subject> {
  return {
    name: "journal, log and recordings",
    ...{ template: undefined, before: [], command: FROM_NOTHING, goOn, mayGoOn },
  };
}

export async function startSubject(template: string): Promise<Subject> {
  const head: FileKind = {
    name: "the head",
    paths: ["journal/head.json", "journal/head.json.new"],
    calls: new Map(),
  };
  const fault = { kind: head, call: "rename", fault: "signal=KILL", place: 2, stays: false };
  const life = await liveWith(FROM_NOTHING(template), fault, template, `${template}.trace`);
  if (!life.hit) throw new Error(`it was not killed: ${life.output}`);
  tearJournal(join(template, "journal"));
  return {
    name: "the start after a crash",
    template,
    before: acknowledgedIn(life.output),
    command: loadCommand("b", 1, 1000),
    goOn,
    mayGoOn,
  };
}

export async function keysSubject(): Promise<Subject> {
  return {
    name: "keys of a first start",
    ...{ template: undefined, before: [], mayGoOn },
    command: (folder) => [process.execPath, FIRST_START, folder],
    goOn: goOnWithKeys,
  };
}

/** What was opened once is what is opened again; of a pair of which a half is there somebody is told. */
async function goOnWithKeys(folder: string, acknowledged: readonly string[]): Promise<string[]> {
  const opened = new Set<string>();
  try {
    await openFirst(folder, (what) => opened.add(what));
  } catch (error) {
    if (!(error instanceof GatewayError) || !/without its other half/.test(error.message))
      throw error;
    return [];
  }
  return acknowledged.filter((what) => !opened.has(what)).map((what) => `${what} is another now`);
}

/** What a crash leaves that comes in the middle of a batch. */
function tearJournal(directory: string): void {
  const used = readdirSync(directory)
    .filter((name) => name.endsWith(".seg"))
    .sort()
    .map((name) => ({ path: join(directory, name), bytes: readFileSync(join(directory, name)) }))
    .filter(({ bytes }) => bytes[0] !== 0)
    .at(-1);
  if (used === undefined) throw new Error("there is no segment in use");
  let end = used.bytes.length;
  while (used.bytes[end - 1] === 0) end--;
  // Batches begin at multiples of 8, and end with a digest, whose last bytes may be zeros.
  end = (end + 15) & ~7;
  const fd = openSync(used.path, "r+");
  writeSync(fd, randomBytes(200), 0, 200, end);
  closeSync(fd);
}
