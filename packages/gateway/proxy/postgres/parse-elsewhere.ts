// Large texts are parsed in a thread (parse-thread.ts), so that one client's statement of a megabyte does
// not keep all others waiting for a quarter of a second. What is made of the trees is made here, some statements a
// turn (classify.ts).
//
// Owns the thread, one a process, started with the first such text, and the texts that wait for it, of which a
// session has one. It is ended when none came for a while: it takes tens of megabytes, and such texts come in
// spells. A text that takes too long, or ends the thread, is refused and nobody else's: the others go to a new one.

import { setImmediate as nextTurn } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { Grammar } from "./grammars.ts";
import { type Parsed, refuse, type Statement } from "./parse.ts";
import type { ParseAnswer, ParseRequest } from "./parse-thread.ts";
import type { Unclassified } from "./plan.ts";

/** Shorter ones take a few milliseconds at most, about what handing them over does. */
export const LARGE_TEXT_CHARACTERS = 16_384;
const IDLE_MS = 2_000;
/** A megabyte takes about one second. */
const LIMIT_MS = 15_000;

type Found = Parsed | Unclassified;

interface Waiting {
  readonly request: ParseRequest;
  readonly limitMs: number;
  readonly resolve: (found: Found | Promise<Found>) => void;
}

interface Thread {
  readonly worker: Worker;
  /** In the order they are parsed in. */
  readonly waiting: Map<number, Waiting>;
  /** Until it is given up, or while nothing waits ended. */
  timer: NodeJS.Timeout | undefined;
}

let thread: Thread | undefined;
let lastId = 0;

export function parseElsewhere(
  text: string,
  maxTextBytes: number,
  grammar: Grammar,
  { encoding = "UTF8", limitMs = LIMIT_MS }: { encoding?: string; limitMs?: number } = {},
): Promise<Found> {
  lastId += 1;
  const request: ParseRequest = { id: lastId, text, maxTextBytes, grammar, encoding };
  return new Promise((resolve) => submit({ request, limitMs, resolve }));
}

function submit(waiting: Waiting): void {
  thread ??= startThread();
  thread.waiting.set(waiting.request.id, waiting);
  thread.worker.postMessage(waiting.request);
  if (thread.waiting.size === 1) watch(thread);
}

/** Over the text that is parsed now. */
function watch(started: Thread): void {
  clearTimeout(started.timer);
  const [head] = started.waiting.values();
  started.timer =
    head === undefined
      ? setTimeout(() => giveUp(started), IDLE_MS).unref()
      : setTimeout(() => giveUp(started), head.limitMs);
}

function startThread(): Thread {
  const worker = new Worker(new URL("./parse-thread.ts", import.meta.url));
  const started: Thread = { worker, waiting: new Map(), timer: undefined };
  worker.on("message", ({ found, id }: ParseAnswer) => {
    const answered = started.waiting.get(id);
    if (answered === undefined) return;
    started.waiting.delete(id);
    watch(started);
    if (found === undefined) answered.resolve(TOO_DEEP);
    else if ("unclassified" in found) answered.resolve(found);
    else answered.resolve(assembled(found));
  });
  worker.on("error", () => giveUp(started));
  worker.on("exit", () => giveUp(started));
  // It keeps no process alive that has nothing else to do.
  worker.unref();
  return started;
}

/** A piece a turn: everybody else has theirs between two. */
async function assembled(pieces: readonly string[]): Promise<Parsed> {
  const statements: Statement[] = [];
  for (const [index, piece] of pieces.entries()) {
    if (index > 0) await nextTurn();
    for (const statement of JSON.parse(piece) as Statement[]) statements.push(statement);
  }
  return { statements };
}

/** Ends the thread. What it was at is refused, what waited goes on elsewhere. */
function giveUp(started: Thread): void {
  if (thread === started) thread = undefined;
  clearTimeout(started.timer);
  const [head, ...others] = started.waiting.values();
  started.waiting.clear();
  void started.worker.terminate();
  head?.resolve(TOO_COMPLEX);
  for (const other of others) submit(other);
}

const TOO_COMPLEX = refuse("the statement is too complex", "54001");
const TOO_DEEP = refuse("the statement is nested too deeply", "54001");
