// Large texts are parsed in a thread (parse-thread.ts), so that one client's statement of a megabyte does
// not keep all others waiting for a quarter of a second. What is made of the tree is made here, in a
// fraction of that time.
//
// Owns the thread, one a process, started with the first such text, and the texts that wait for it. It is
// ended when none came for a while: it takes tens of megabytes, and such texts come in spells.

import { Worker } from "node:worker_threads";
import type { Grammar } from "./grammars.ts";
import type { Parsed } from "./parse.ts";
import type { ParseAnswer, ParseRequest } from "./parse-thread.ts";
import type { Unclassified } from "./plan.ts";

/** Shorter ones take a few milliseconds at most, about what handing them over does. */
export const LARGE_TEXT_CHARACTERS = 16_384;
/** More than this are parsed where they are: then everything is slow anyway. */
const MAX_WAITING = 64;
const IDLE_MS = 2_000;

type Found = Parsed | Unclassified | undefined;

interface Thread {
  readonly worker: Worker;
  idle: NodeJS.Timeout | undefined;
  readonly waiting: Map<number, (found: Found) => void>;
}

let thread: Thread | undefined;
let lastId = 0;

/** undefined, now or later: it has to be parsed here. */
export function parseElsewhere(
  text: string,
  maxTextBytes: number,
  grammar: Grammar,
): Promise<Found> | undefined {
  thread ??= startThread();
  const { waiting, worker } = thread;
  if (waiting.size >= MAX_WAITING) return undefined;
  clearTimeout(thread.idle);
  lastId += 1;
  const request: ParseRequest = { id: lastId, text, maxTextBytes, grammar };
  return new Promise((resolve) => {
    waiting.set(request.id, resolve);
    worker.postMessage(request);
  });
}

function startThread(): Thread {
  const worker = new Worker(new URL("./parse-thread.ts", import.meta.url));
  const waiting = new Map<number, (found: Found) => void>();
  const started: Thread = { worker, waiting, idle: undefined };
  const end = () => {
    if (waiting.size > 0) return;
    if (thread === started) thread = undefined;
    void worker.terminate();
  };
  worker.on("message", ({ id, json }: ParseAnswer) => {
    const resolve = waiting.get(id);
    waiting.delete(id);
    resolve?.(json === undefined ? undefined : (JSON.parse(json) as Parsed | Unclassified));
    if (waiting.size === 0) started.idle = setTimeout(end, IDLE_MS).unref();
  });
  // A text that ends the thread would have ended the process: whoever waits has it refused or parsed here.
  worker.on("error", () => worker.terminate());
  worker.on("exit", () => {
    if (thread?.worker === worker) thread = undefined;
    for (const resolve of waiting.values()) resolve(undefined);
    waiting.clear();
  });
  // It keeps no process alive that has nothing else to do.
  worker.unref();
  return started;
}
