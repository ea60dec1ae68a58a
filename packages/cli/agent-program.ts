// A program that is started in our place: it has our terminal and streams, the signals we get are its,
// and its exit code is ours to tell.

import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import type { Writable } from "node:stream";

export interface ProgramStart {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /**
   * "process": signals are sent to it. "pipe": they are written, a name a line, to its descriptor 3,
   * whose end tells it that we are gone.
   */
  readonly signals: "process" | "pipe";
}

/** Signals from before the start are kept for it. */
export interface SignalRelay extends Disposable {
  /** 128 and the signal's number when it was ended by one. Rejects when it cannot be started. */
  run(start: ProgramStart): Promise<number>;
}

const FORWARDED = ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;
/** A terminal sends these to every process in front of it, the program among them. */
const FROM_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGQUIT"]);

/** From here on signals do not end us: there is something to put away first. */
export function relaySignals(): SignalRelay {
  let deliver: ((signal: NodeJS.Signals) => void) | undefined;
  const early: NodeJS.Signals[] = [];
  const listeners = FORWARDED.map((signal) => {
    const listener = () => {
      if (deliver === undefined) early.push(signal);
      else deliver(signal);
    };
    process.on(signal, listener);
    return () => void process.off(signal, listener);
  });
  return {
    run: (start) =>
      new Promise((resolve, reject) => {
        const extra = start.signals === "pipe" ? (["pipe"] as const) : [];
        const child = spawn(start.program, start.args, {
          env: start.env,
          stdio: ["inherit", "inherit", "inherit", ...extra],
        });
        const send = delivery(child, start.signals);
        child.on("error", reject);
        child.on("spawn", () => {
          deliver = send;
          for (const signal of early) send(signal);
        });
        child.on("exit", (code, signal) => {
          deliver = () => undefined;
          resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
        });
      }),
    [Symbol.dispose]() {
      for (const stop of listeners) stop();
    },
  };
}

function delivery(
  child: ChildProcess,
  how: ProgramStart["signals"],
): (signal: NodeJS.Signals) => void {
  if (how === "process")
    return (signal) => {
      if (!(process.stdin.isTTY === true && FROM_TERMINAL.has(signal))) child.kill(signal);
    };
  const pipe = child.stdio[3] as Writable;
  pipe.on("error", () => undefined);
  return (signal) => void pipe.write(`${signal}\n`);
}
