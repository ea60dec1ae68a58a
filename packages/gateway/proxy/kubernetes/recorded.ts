// Before anything goes on: what was recorded of it has to be as far on its way to the disk as its session's
// back-pressure and the modes of its commands ask (recording/recorder.ts). Whatever ends the request ends the
// wait too, for the disk may be what does not come.

import type { Recorder } from "../../recording/recorder.ts";

/** Rejects with the signal's reason. */
export async function recorded(
  recorder: Pick<Recorder, "room" | "delivery">,
  signal: AbortSignal,
): Promise<void> {
  for (const isFree of [
    (done: () => void) => recorder.delivery(done),
    (done: () => void) => recorder.room(done),
  ])
    await waited(isFree, signal);
}

async function waited(isFree: (done: () => void) => boolean, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (isFree(resolve)) return;
  const end = () => reject(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  await promise.finally(() => signal.removeEventListener("abort", end));
}
