// The terminals whose screens are kept, in a thread of their own (terminal-thread.ts): what they read is written
// by others, and however much of it asks for however much work, no session waits for it.
//
// Owns the thread, one a process, started with the first terminal and ended when there was none for a while. One
// that has not come on for a long time is ended with all its terminals, whose screens are not kept any more.

import { Worker } from "node:worker_threads";
import type { Came, ShownScreen, TerminalSize } from "./kept-terminal.ts";
import type { TerminalAnswer, TerminalRequest } from "./terminal-thread.ts";

export interface ReadTerminal {
  /** Reads what came and says what is shown then. One at a time; rejects when the terminal is lost. */
  read(came: readonly Came[]): Promise<ShownScreen>;
  close(): void;
}

const IDLE_MS = 2_000;
const LOOK_MS = 5_000;
/** Of looks without any progress. */
const MAX_STILL = 6;
/** Of what JavaScript holds: a screen takes some kilobytes, one with nothing but accents what was written to it. */
const MAX_HEAP_MB = 512;

interface Reading {
  readonly resolve: (shown: ShownScreen) => void;
  readonly reject: (reason: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly open: Set<number>;
  readonly reading: Map<number, Reading>;
  /** Counts pieces that were read. */
  readonly progress: Int32Array;
  idle: NodeJS.Timeout | undefined;
  look: NodeJS.Timeout | undefined;
}

let thread: Thread | undefined;
let lastId = 0;

export function openTerminal(size: TerminalSize): ReadTerminal {
  thread ??= startThread();
  const home = thread;
  lastId += 1;
  const id = lastId;
  clearTimeout(home.idle);
  home.open.add(id);
  post(home, { kind: "open", id, size });
  return {
    read: (came) =>
      new Promise((resolve, reject) => {
        if (!home.open.has(id)) {
          reject(lost());
          return;
        }
        home.reading.set(id, { resolve, reject });
        watch(home);
        post(home, { kind: "read", id, came: joined(came) });
      }),
    close() {
      home.reading.get(id)?.reject(lost());
      home.reading.delete(id);
      if (!home.open.delete(id)) return;
      post(home, { kind: "close", id });
      if (home.open.size === 0) home.idle = setTimeout(() => end(home), IDLE_MS).unref();
    },
  };
}

function startThread(): Thread {
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("./terminal-thread.ts", import.meta.url), {
    workerData: progress,
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
  });
  const started: Thread = {
    ...{ worker, progress, open: new Set(), reading: new Map(), idle: undefined, look: undefined },
  };
  worker.on("message", ({ id, shown }: TerminalAnswer) => {
    const reading = started.reading.get(id);
    started.reading.delete(id);
    if (shown === undefined) reading?.reject(lost());
    else {
      const { buffer, byteLength, byteOffset } = shown.bytes;
      reading?.resolve({ ...shown, bytes: Buffer.from(buffer, byteOffset, byteLength) });
    }
  });
  // What ends the thread, its memory's limit too, would have ended the process.
  worker.on("error", () => end(started));
  worker.on("exit", () => end(started));
  // It keeps no process alive that has nothing else to do.
  worker.unref();
  return started;
}

function post({ worker }: Thread, request: TerminalRequest): void {
  const pieces = request.kind === "read" ? request.came.filter((one) => "buffer" in one) : [];
  worker.postMessage(
    request,
    pieces.map(({ buffer }) => buffer as ArrayBuffer),
  );
}

function end(ended: Thread): void {
  if (thread === ended) thread = undefined;
  clearTimeout(ended.idle);
  clearInterval(ended.look);
  ended.open.clear();
  for (const { reject } of ended.reading.values()) reject(lost());
  ended.reading.clear();
  void ended.worker.terminate();
}

/** While anything is read. */
function watch(watched: Thread): void {
  if (watched.look !== undefined) return;
  let last = -1;
  let still = 0;
  watched.look = setInterval(() => {
    const now = Atomics.load(watched.progress, 0);
    still = now === last ? still + 1 : 0;
    last = now;
    if (still >= MAX_STILL) end(watched);
    else if (watched.reading.size === 0) {
      clearInterval(watched.look);
      watched.look = undefined;
    }
  }, LOOK_MS).unref();
}

/** With memory of its own, which goes over without a copy. */
function joined(came: readonly Came[]): Came[] {
  const all: Came[] = [];
  for (let at = 0; at < came.length; ) {
    const pieces: Uint8Array[] = [];
    for (let one = came[at]; one instanceof Uint8Array; one = came[++at]) pieces.push(one);
    const bytes = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
    let filled = 0;
    for (const piece of pieces) {
      bytes.set(piece, filled);
      filled += piece.length;
    }
    if (filled > 0) all.push(bytes);
    const size = came[at];
    if (size !== undefined) {
      all.push(size);
      at++;
    }
  }
  return all;
}

function lost(): Error {
  return new Error("the terminal's screen is not kept");
}
