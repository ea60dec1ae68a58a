// Before anything goes on: what was recorded of it has to be as far on its way to the disk as its session's
// back-pressure and the modes of its commands ask (recording/recorder.ts). Whatever ends the request ends the
// wait too, for the disk may be what does not come.

import type { Recorder } from "../../recording/recorder.ts";

/** undefined: it may go on at once, as nearly always. Rejects with the signal's reason. */
export function untilRecorded(
  recorder: Pick<Recorder, "room" | "delivery">,
  signal: AbortSignal,
): Promise<void> | undefined {
  const delivery = waited((done) => recorder.delivery(done), signal);
  const room = () => waited((done) => recorder.room(done), signal);
  return delivery === undefined ? room() : delivery.then(room);
}

/** Rejects with the signal's reason. */
export async function recorded(
  recorder: Pick<Recorder, "room" | "delivery">,
  signal: AbortSignal,
): Promise<void> {
  await untilRecorded(recorder, signal);
}

function waited(
  isFree: (done: () => void) => boolean,
  signal: AbortSignal,
): Promise<void> | undefined {
  let isDone = false;
  let tell = () => {
    isDone = true;
  };
  if (isFree(() => tell())) return undefined;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  tell = resolve;
  if (isDone) resolve();
  const end = () => reject(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  return promise.finally(() => signal.removeEventListener("abort", end));
}
