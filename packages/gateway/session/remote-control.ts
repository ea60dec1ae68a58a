// `Control` as a data process has it: messages to the control process (control-link.ts) and events from it.
//
// Who owns the state: one a data process; it owns whom events are for, until their session is closed.

import type { LeafDraft } from "../audit/journal.ts";
import type { Handlers, MessageChannel } from "../base/message-channel.ts";
import type { Secret } from "../base/secret.ts";
import { closeSecrets, openSecrets } from "../base/secret-data.ts";
import type { Control, HoldState, OpenedSession, SessionEnd, SessionEvents } from "./control.ts";
import type { ControlMethods, SessionMethods } from "./control-link.ts";

export interface RemoteControl {
  readonly control: Control;
  readonly handlers: Handlers<SessionMethods>;
  /** Tells every session of this process that it ends. */
  endAll(end: SessionEnd): void;
}

export interface RemoteControlDeps {
  readonly channel: () => MessageChannel<ControlMethods>;
  /** Into this process's journal: the leaves of a session's own beginning and end. */
  readonly record: (leaf: LeafDraft) => void;
}

interface Waiter {
  readonly sessionId: string;
  readonly onChange: (state: HoldState) => void;
  holdId: string | undefined;
}

export function createRemoteControl(deps: RemoteControlDeps): RemoteControl {
  const { channel } = deps;
  const sessions = new Map<number, SessionEvents>();
  const keys = new Map<string, number>();
  const waiters = new Map<number, Waiter>();
  let lastKey = 0;
  const forget = (matches: (waiter: Waiter) => boolean): void => {
    for (const [key, waiter] of waiters) if (matches(waiter)) waiters.delete(key);
  };
  const control: Control = {
    async openSession(request, events) {
      lastKey += 1;
      const key = lastKey;
      sessions.set(key, events);
      try {
        const asked = openSecrets({ key, request }) as { key: number; request: typeof request };
        const opened = closeSecrets(await channel().call("openSession", asked)) as OpenedSession;
        keys.set(opened.sessionId, key);
        return opened;
      } catch (thrown) {
        sessions.delete(key);
        throw thrown;
      }
    },
    beginSignIn: (provider) => channel().call("beginSignIn", { provider }),
    finishSignIn: async (id) =>
      closeSecrets(await channel().call("finishSignIn", { id })) as Secret,
    // A process that is gone has its sign-ins ended for it.
    endSignIn: (id) => channel().tell("endSignIn", { id }),
    attachBackend: (sessionId, processId) =>
      channel().tell("attachBackend", { sessionId, processId }),
    async commandCredential(sessionId, line) {
      const answer = await channel().call("commandCredential", { sessionId, line });
      return (closeSecrets(answer) as typeof answer).credential;
    },
    async closeSession(sessionId, reason, recording) {
      const key = keys.get(sessionId);
      if (key === undefined) return;
      try {
        // The control side closes what a process that lost it had.
        if (!channel().isClosed)
          await channel().call("closeSession", { sessionId, reason, recording });
      } finally {
        keys.delete(sessionId);
        sessions.delete(key);
        forget((waiter) => waiter.sessionId === sessionId);
      }
    },
    async requestApproval(request, onChange) {
      lastKey += 1;
      const key = lastKey;
      const waiter: Waiter = { sessionId: request.sessionId, onChange, holdId: undefined };
      waiters.set(key, waiter);
      try {
        const hold = await channel().call("requestApproval", { key, request });
        waiter.holdId = hold.holdId;
        return hold;
      } catch (thrown) {
        waiters.delete(key);
        throw thrown;
      }
    },
    leaveHold(holdId, sessionId) {
      forget((waiter) => waiter.holdId === holdId && waiter.sessionId === sessionId);
      channel().tell("leaveHold", { holdId, sessionId });
    },
    spendApproval: (holdId, binding) => channel().call("spendApproval", { holdId, binding }),
    // Who watches sees a gap where the control side is behind.
    showParticipant: (sessionId, participant, view) =>
      void channel().offer("showParticipant", { sessionId, participant, view }),
    // What is asked about it later is asked of the control side; the log has it in any case.
    noteDenial: (denied) => void channel().offer("noteDenial", denied),
  };
  return {
    control,
    handlers: handlersOf(sessions, waiters, deps.record),
    endAll(end) {
      for (const events of [...sessions.values()]) events.onEnd(end);
    },
  };
}

function handlersOf(
  sessions: ReadonlyMap<number, SessionEvents>,
  waiters: ReadonlyMap<number, Waiter>,
  record: RemoteControlDeps["record"],
): Handlers<SessionMethods> {
  return {
    sessionEnds(told) {
      const { key, end } = told as Told<"sessionEnds">;
      sessions.get(key)?.onEnd(end);
    },
    sessionWarned(told) {
      const { key, message } = told as Told<"sessionWarned">;
      sessions.get(key)?.onWarning(message);
    },
    sessionChain(told) {
      const { key, chain } = told as Told<"sessionChain">;
      const events = sessions.get(key);
      if (events?.onChain !== undefined) events.onChain(chain);
      else events?.onEnd(OTHER_CHAIN);
    },
    sessionParticipant(told) {
      const { key, act } = told as Told<"sessionParticipant">;
      sessions.get(key)?.onParticipant?.(act);
    },
    sessionLeaf(told) {
      record((told as Told<"sessionLeaf">).leaf);
    },
    // Later than whoever got the hold by an answer that came just before: it listens by then.
    holdChanged(told) {
      const { key, state } = told as Told<"holdChanged">;
      setImmediate(() => waiters.get(key)?.onChange(state));
    },
  };
}

/** What the control process sends is its own: the same program, which reads nothing of clients. */
type Told<Name extends keyof SessionMethods> = Parameters<SessionMethods[Name]>[0];

const OTHER_CHAIN: SessionEnd = {
  code: "revoked",
  message: "the groups of who asks were read again, and this session cannot take them over",
  hint: "connect again",
};
