// Recordings as they are read through the API: held against what the published log says of the session.

import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import { sessionProof } from "../audit/log-search.ts";
import type { Clock } from "../base/clock.ts";
import type { RecordingKeys } from "../recording/recording-keys.ts";
import { readRecording } from "../recording/replay.ts";
import { asSeenBy } from "../recording/shown.ts";
import type { SessionStore } from "../session/store.ts";

export interface RecordingSources {
  readonly dataDirectory: string;
  readonly logDirectory: string;
  readonly keys: RecordingKeys;
  readonly sessions: Pick<SessionStore, "find">;
  readonly clock: Clock;
}

/**
 * As who may unmask these classes may see it. Throws GatewayError as readRecording does, and "invalid" for
 * what is not what the log says.
 */
export async function* provedRecording(
  sources: RecordingSources,
  sessionId: string,
  mayUnmask: (className: string) => boolean,
  fromMs = 0,
  withScreen = false,
): AsyncGenerator<RecordingEvent> {
  const row = sources.sessions.find(sessionId);
  const window = {
    fromMs: row?.openedAtMs ?? 0,
    toMs: row?.closedAtMs ?? sources.clock.nowMs(),
  };
  const proof = await sessionProof(sources.logDirectory, sessionId, window);
  const events = readRecording(sources, sessionId, proof, fromMs, withScreen);
  yield* asSeenBy(events, proof, { mayUnmask, isWhole: fromMs <= 0 });
}
