// The screen of a command at a terminal (recording/screen.ts), kept for its recording; and the wait while more
// is written to it than it can read.
//
// Who owns the state: one a command.

import type { Recorder } from "../../recording/recorder.ts";
import { createScreen, type ScreenSize } from "../../recording/screen.ts";

export interface StreamScreen extends Disposable {
  output(data: Buffer): void;
  resized(size: ScreenSize): void;
  /** Rejects with the signal's reason. */
  room(signal: AbortSignal): Promise<void>;
}

export function createStreamScreen(
  recorder: Pick<Recorder, "typed">,
  requestId: string,
  size: ScreenSize,
): StreamScreen {
  let waiting = 0;
  let free = Promise.withResolvers<void>();
  const screen = createScreen(size, {
    keep: ({ bytes, columns, rows }) =>
      recorder.typed({
        ...{ kind: "screen", request: requestId, channel: 0, columns, rows },
        bytes: bytes.toString("base64"),
      }),
  });
  return {
    output(data) {
      waiting++;
      screen.output(data, () => {
        waiting--;
        if (waiting > 0) return;
        free.resolve();
        free = Promise.withResolvers();
      });
    },
    resized: (given) => screen.resized(given),
    async room(signal) {
      if (waiting === 0) return;
      const ended = Promise.withResolvers<never>();
      const end = () => ended.reject(signal.reason);
      signal.addEventListener("abort", end, { once: true });
      if (signal.aborted) end();
      await Promise.race([free.promise, ended.promise]).finally(() =>
        signal.removeEventListener("abort", end),
      );
    },
    [Symbol.dispose]: () => screen.close(),
  };
}
