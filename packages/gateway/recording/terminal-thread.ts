// Terminals in a thread of their own, for terminals.ts: each reads what it is given and says what it shows.
// They take turns (kept-terminal.ts): one to which much is written keeps none of the others waiting for long.
//
// Who owns the state: the thread; a terminal until it is closed or fails.

import { parentPort, workerData } from "node:worker_threads";
import { type Came, type KeptTerminal, openTerminal, type TerminalSize } from "./kept-terminal.ts";

export type TerminalRequest =
  | { readonly kind: "open"; readonly id: number; readonly size: TerminalSize }
  | { readonly kind: "read"; readonly id: number; readonly came: readonly Came[] }
  | { readonly kind: "close"; readonly id: number };

export interface TerminalAnswer {
  readonly id: number;
  /** undefined: the terminal is not kept. */
  readonly shown: (TerminalSize & { readonly bytes: Uint8Array }) | undefined;
}

const terminals = new Map<number, Promise<KeptTerminal>>();

if (parentPort !== null) {
  const port = parentPort;
  const progress = workerData as Int32Array;
  const progressed = () => void Atomics.add(progress, 0, 1);
  port.on("message", async (request: TerminalRequest) => {
    const { id } = request;
    if (request.kind === "open") terminals.set(id, openTerminal(request.size, progressed));
    else if (request.kind === "close") {
      const closing = terminals.get(id);
      terminals.delete(id);
      (await closing)?.close();
    } else {
      const answer: TerminalAnswer = { id, shown: await read(request) };
      progressed();
      port.postMessage(answer);
    }
  });
}

async function read({
  came,
  id,
}: Extract<TerminalRequest, { kind: "read" }>): Promise<TerminalAnswer["shown"]> {
  try {
    const terminal = await terminals.get(id);
    if (terminal === undefined) return undefined;
    for (const one of came) await terminal.take(one);
    return { ...terminal.size, bytes: new TextEncoder().encode(terminal.drawn()) };
  } catch {
    return undefined;
  }
}
