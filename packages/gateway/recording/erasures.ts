// Erasing what was recorded: of one session, or of all that one root has done. The content goes, by its key;
// what the store knows of commands and people goes; the log stays whole, and says that it was done.
//
// The leaf is on disk before anything is erased: an erasure that nobody can see must not happen. A crash
// in between leaves a leaf and content, and the same command again finishes it.

import type { Journal, LeafDraft } from "../audit/journal.ts";
import { GatewayError } from "../base/errors.ts";
import type { RecordingKeys } from "./recording-keys.ts";
import { eraseRecording } from "./replay.ts";

/** What the store has to do for it. */
export interface ErasureStore {
  /** Commands and parameters of its requests for approval. */
  eraseSession(sessionId: string): void;
  /** Every row about the root: trees, requests, votes for them, sessions. Returns how many sessions. */
  eraseSubject(subject: string): number;
  /** Delegations of the root that live at that time. */
  liveOf(subject: string, nowMs: number): readonly string[];
}

export interface ErasureDeps {
  readonly dataDirectory: string;
  readonly keys: RecordingKeys;
  readonly store: ErasureStore;
  /** Sessions that are open now, of a session's id or a root's subject. */
  readonly liveSessions: (of: { session: string } | { subject: string }) => readonly string[];
  readonly journal: Journal;
  readonly nowMs: () => number;
}

export interface Erasures {
  /** Throws GatewayError: "invalid" while it is open. `by`: chain of who asks. */
  session(sessionId: string, by: LeafDraft["chain"]): Promise<void>;
  /** Returns how many sessions. Throws GatewayError: "invalid" while they are signed in. */
  subject(subject: string, by: LeafDraft["chain"]): Promise<number>;
}

export function createErasures(deps: ErasureDeps): Erasures {
  const { journal, keys, store } = deps;
  const told = (about: Pick<LeafDraft, "session" | "detail">, by: LeafDraft["chain"]) => {
    journal.append({
      event: "recording.erased",
      ...about,
      ...(by === undefined ? {} : { chain: by }),
    });
    return new Promise<void>((done) => journal.barrier("strict", done));
  };
  return {
    async session(session, by) {
      if (deps.liveSessions({ session }).length > 0)
        throw new GatewayError("invalid", `${session} is open`, { hint: `custody end ${session}` });
      await told({ session }, by);
      await eraseRecording(deps.dataDirectory, session);
      store.eraseSession(session);
    },
    async subject(subject, by) {
      const open = deps.liveSessions({ subject });
      const live = store.liveOf(subject, deps.nowMs());
      if (open.length > 0 || live.length > 0)
        throw new GatewayError("invalid", `${subject} is signed in or has sessions open`, {
          hint: `custody revoke ${live[0] ?? "their delegations"}`,
        });
      await told({ detail: { subject } }, by);
      keys.eraseSubject(subject);
      return store.eraseSubject(subject);
    },
  };
}
