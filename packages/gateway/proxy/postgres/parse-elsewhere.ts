// Large texts are parsed in a thread (parse-thread.ts), so that one client's statement of a megabyte does
// not keep all others waiting for a quarter of a second. What is made of the tree is made here, in a
// fraction of that time.
//
// Owns the thread, one a process, started with the first such text, and the texts that wait for it, of which a
// session has one. It is ended when none came for a while: it takes tens of megabytes, and such texts come in
// spells. A text that takes too long, or ends the thread, is refused and nobody else's: the others go to a new one.

import { Worker } from "node:worker_threads";
import type { Grammar } from "./grammars.ts";
import { type Parsed, refuse } from "./parse.ts";
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
  readonly resolve: (found: Found) => void;
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
  worker.on("message", ({ id, json }: ParseAnswer) => {
    const answered = started.waiting.get(id);
    if (answered === undefined) return;
    started.waiting.delete(id);
    answered.resolve(json === undefined ? TOO_DEEP : (JSON.parse(json) as Found));
    watch(started);
  });
  worker.on("error", () => giveUp(started));
  worker.on("exit", () => giveUp(started));
  // It keeps no process alive that has nothing else to do.
  worker.unref();
  return started;
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
