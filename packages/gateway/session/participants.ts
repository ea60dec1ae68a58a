// People in the shells of others' sessions, on the control side: who is there, what they are shown, and what
// they type. The shell is with the data side (proxy/ssh/shared-terminals.ts), which this tells and is told by
// in plain data.
//
// Who owns the state: one a gateway. A participant is there until they leave, the session ends, or the
// delegation they came with does: that is looked at before anything is shown to them or typed by them.

import type { Journal } from "../audit/journal.ts";
import { GatewayError } from "../base/errors.ts";
import { newId, type RandomBytes } from "../base/ids.ts";
import { type Chain, describeChain, leafOf } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { JoinMode, ParticipantView } from "./control.ts";
import type { LiveSession, Registry } from "./registry.ts";

export interface Participants {
  /**
   * On record before anything is shown. `show` is called for every view until one of kind "end", after
   * which they are gone. Throws GatewayError: limit, not_found.
   */
  join(joining: Joining, show: (view: ParticipantView) => void): Promise<string>;
  /** Throws GatewayError: not_found, forbidden. */
  type(participant: string, chain: Chain, bytes: Uint8Array): void;
  leave(participant: string): void;
  /** From the data side. */
  show(sessionId: string, participant: string, view: ParticipantView): void;
  sessionClosed(sessionId: string): void;
}

export interface Joining {
  readonly session: Pick<LiveSession, "id" | "target" | "account">;
  readonly chain: Chain;
  readonly mode: JoinMode;
}

export interface ParticipantsDeps {
  readonly registry: Pick<Registry, "act">;
  readonly journal: Pick<Journal, "append" | "barrier">;
  readonly isAlive: (delegationId: string) => boolean;
  readonly random: RandomBytes;
}

interface Participant extends Joining {
  readonly id: string;
  readonly show: (view: ParticipantView) => void;
}

const MAX_IN_A_SESSION = 8;
const ID_LENGTH = 12;

export function createParticipants(deps: ParticipantsDeps): Participants {
  const { journal, registry } = deps;
  const all = new Map<string, Participant>();
  const of = (sessionId: string) =>
    [...all.values()].filter(({ session }) => session.id === sessionId);
  const write = (event: "session.joined" | "session.left", { session, chain, mode }: Joining) =>
    journal.append({
      ...{ event, session: session.id, target: session.target, account: session.account },
      ...{ chain: leafChain(chain), detail: { mode } },
    });
  /** `why` undefined: nobody is told any more. */
  const remove = (one: Participant, why: string | undefined): void => {
    if (!all.delete(one.id)) return;
    registry.act(one.session.id, { act: "leave", participant: one.id });
    write("session.left", one);
    if (why !== undefined) one.show({ kind: "end", why });
  };
  const isStill = (one: Participant): boolean => {
    if (deps.isAlive(leafOf(one.chain).delegationId)) return true;
    remove(one, "your sign-in has ended");
    return false;
  };
  return {
    async join(joining, show) {
      const { session, chain, mode } = joining;
      if (of(session.id).length >= MAX_IN_A_SESSION)
        throw new GatewayError("limit", `${MAX_IN_A_SESSION} people are in this session already`);
      const one: Participant = { ...joining, show, id: newId("p", ID_LENGTH, deps.random) };
      all.set(one.id, one);
      write("session.joined", one);
      try {
        await new Promise<void>((resolve) => journal.barrier("strict", resolve));
        const who = describeChain(chain);
        const isThere = registry.act(session.id, { act: "join", participant: one.id, who, mode });
        if (!isThere) throw new GatewayError("not_found", "nobody can take part in that session");
        return one.id;
      } catch (thrown) {
        remove(one, undefined);
        throw thrown;
      }
    },
    type(participant, chain, bytes) {
      const one = all.get(participant);
      if (one === undefined || leafOf(one.chain).delegationId !== leafOf(chain).delegationId)
        throw new GatewayError("not_found", "you do not take part in that session any more");
      if (one.mode !== "peer")
        throw new GatewayError("forbidden", `a participant of mode ${one.mode} types nothing`);
      if (isStill(one)) registry.act(one.session.id, { act: "type", participant, bytes });
    },
    leave(participant) {
      const one = all.get(participant);
      if (one !== undefined) remove(one, undefined);
    },
    show(sessionId, participant, view) {
      const one = all.get(participant);
      if (one === undefined || one.session.id !== sessionId || !isStill(one)) return;
      if (view.kind === "end") remove(one, view.why);
      else one.show(view);
    },
    sessionClosed(sessionId) {
      for (const one of of(sessionId)) remove(one, "the session has ended");
    },
  };
}
