// The control side's end of the link to a data process: what the data process asks of `Control` by message,
// and what sessions are told of by message. A data process parses what clients send, so what it asks is
// checked here: of the right form, and about sessions of its own.
//
// Who owns the state: one a data process; it knows which sessions that process has, and closes them when the
// process is gone.

import { z } from "zod";
import type { LeafDraft } from "../audit/journal.ts";
import { GatewayError } from "../base/errors.ts";
import type { Handlers, MessageChannel } from "../base/message-channel.ts";
import { Secret } from "../base/secret.ts";
import { closeSecrets, openSecrets } from "../base/secret-data.ts";
import type { Chain } from "../delegation/chain.ts";
import type {
  BegunSignIn,
  Control,
  Hold,
  HoldRequest,
  HoldState,
  OpenedSession,
  OpenSession,
  ParticipantAct,
  ParticipantView,
  SessionEnd,
  UpstreamCredential,
} from "./control.ts";
import type { DeniedCommand } from "./recent-denials.ts";

/** What a data process asks. `key` is its own number for whom events are for. */
export type ControlMethods = {
  readonly openSession: (asked: Keyed & { readonly request: OpenSession }) => OpenedSession;
  readonly beginSignIn: (asked: { readonly provider: string | undefined }) => BegunSignIn;
  readonly finishSignIn: (asked: { readonly id: string }) => Secret;
  readonly endSignIn: (asked: { readonly id: string }) => undefined;
  readonly attachBackend: (asked: {
    readonly sessionId: string;
    readonly processId: number;
  }) => undefined;
  readonly commandCredential: (asked: { readonly sessionId: string; readonly line: string }) => {
    readonly credential: UpstreamCredential | undefined;
  };
  readonly closeSession: (asked: {
    readonly sessionId: string;
    readonly reason: string;
    readonly recording: { readonly pieces: number; readonly digest: string } | undefined;
  }) => undefined;
  readonly requestApproval: (asked: Keyed & { readonly request: HoldRequest }) => Hold;
  readonly leaveHold: (asked: { readonly holdId: string; readonly sessionId: string }) => undefined;
  readonly spendApproval: (asked: { readonly holdId: string; readonly binding: string }) => boolean;
  readonly noteDenial: (denied: DeniedCommand) => undefined;
  readonly showParticipant: (asked: {
    readonly sessionId: string;
    readonly participant: string;
    readonly view: ParticipantView;
  }) => undefined;
};

/** What sessions of a data process are told. */
export type SessionMethods = {
  readonly sessionEnds: (told: Keyed & { readonly end: SessionEnd }) => undefined;
  readonly sessionWarned: (told: Keyed & { readonly message: string }) => undefined;
  readonly sessionChain: (told: Keyed & { readonly chain: Chain }) => undefined;
  readonly sessionParticipant: (told: Keyed & { readonly act: ParticipantAct }) => undefined;
  readonly sessionLeaf: (told: { readonly leaf: LeafDraft }) => undefined;
  readonly holdChanged: (told: Keyed & { readonly state: HoldState }) => undefined;
};

interface Keyed {
  readonly key: number;
}

export interface ControlLink {
  readonly handlers: Handlers<ControlMethods>;
  /** The process is gone, and its sessions with it. */
  abandon(): Promise<void>;
}

export interface ControlLinkDeps {
  readonly control: Control;
  readonly channel: () => Pick<MessageChannel<SessionMethods>, "tell">;
  /** Stops what runs on the targets for these sessions. */
  readonly endBackends: (sessionIds: readonly string[]) => Promise<void>;
  readonly onFault: (thrown: unknown) => void;
}

/** Of one process, remembered; older ones cannot be spent by it any more. */
const MAX_HOLDS = 10_000;

const id = z.string().min(1).max(100);
const key = z.int().nonnegative();
const text = z.string().max(1 << 20);

const openSession = z.object({
  key,
  request: z.looseObject({
    protocol: z.enum(["postgres", "ssh", "kubernetes"]),
    credential: z.custom<OpenSession["credential"]>(
      (value) => value instanceof Secret || (typeof value === "object" && value !== null),
    ),
    target: text,
    account: text.optional(),
    database: text,
    clientAddress: text,
  }),
});
const beginSignIn = z.object({ provider: text.optional() });
const signIn = z.object({ id });
const attachBackend = z.object({ sessionId: id, processId: z.int() });
const commandCredential = z.object({ sessionId: id, line: text });
const closeSession = z.object({
  sessionId: id,
  reason: text,
  recording: z.object({ pieces: z.int(), digest: z.string().max(200) }).optional(),
});
const requestApproval = z.object({
  key,
  request: z.object({
    ...{ requestId: id, sessionId: id, target: id, account: id, what: text },
    command: z.string(),
    parameters: z.array(z.string().nullable()),
    preview: z.array(z.object({ title: z.string(), text: z.string() })).optional(),
    requirements: z.array(
      z.object({
        policyId: z.string(),
        message: z.string().optional(),
        quorum: z.int().min(1),
        approvers: z.array(z.string()),
        ttlMs: z.number(),
        justificationRequired: z.boolean(),
      }),
    ),
    justification: z.string().optional(),
    binding: id,
  }),
});
const leaveHold = z.object({ holdId: id, sessionId: id });
const spendApproval = z.object({ holdId: id, binding: id });
const noteDenial = z.looseObject({ requestId: id, sessionId: id });
const showParticipant = z.object({
  ...{ sessionId: id, participant: id },
  view: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("size"), columns: z.number(), rows: z.number() }),
    z.object({ kind: z.literal("output"), bytes: z.instanceof(Uint8Array) }),
    z.object({ kind: z.literal("end"), why: text }),
  ]),
});

export function serveControl(deps: ControlLinkDeps): ControlLink {
  const { control, channel } = deps;
  const sessions = new Set<string>();
  /** Holds that sessions of this process wait or waited for. */
  const holds = new Set<string>();
  /** That people at a door of this process began. */
  const signIns = new Set<string>();
  let isGone = false;
  const own = (sessionId: string): string => {
    if (sessions.has(sessionId)) return sessionId;
    throw new GatewayError("internal", "a data process asks about a session that is not its own");
  };
  const close = async (sessionId: string, ...rest: [string, Closing["recording"]]) => {
    sessions.delete(sessionId);
    await control.closeSession(sessionId, ...rest);
  };
  return {
    handlers: {
      async openSession(argument) {
        const { key: forKey, request } = openSession.parse(closeSecrets(argument));
        const opened = await control.openSession(
          { ...request, account: request.account },
          {
            onEnd: (end) => channel().tell("sessionEnds", { key: forKey, end }),
            onWarning: (message) => channel().tell("sessionWarned", { key: forKey, message }),
            onChain: (chain) => channel().tell("sessionChain", { key: forKey, chain }),
            onParticipant: (act) => channel().tell("sessionParticipant", { key: forKey, act }),
            record: (leaf) => channel().tell("sessionLeaf", { leaf }),
          },
        );
        if (isGone) await close(opened.sessionId, GONE, undefined);
        else sessions.add(opened.sessionId);
        return openSecrets(opened);
      },
      async beginSignIn(argument) {
        const begun = await control.beginSignIn(beginSignIn.parse(argument).provider);
        if (begun.kind !== "code") return begun;
        if (isGone) control.endSignIn(begun.id);
        else signIns.add(begun.id);
        return begun;
      },
      async finishSignIn(argument) {
        const { id: wanted } = signIn.parse(argument);
        if (!signIns.has(wanted)) throw new GatewayError("internal", "a sign-in nobody began");
        return openSecrets(await control.finishSignIn(wanted));
      },
      endSignIn(argument) {
        const { id: wanted } = signIn.parse(argument);
        if (signIns.delete(wanted)) control.endSignIn(wanted);
      },
      attachBackend(argument) {
        const { sessionId, processId } = attachBackend.parse(argument);
        if (sessions.has(sessionId)) control.attachBackend(sessionId, processId);
      },
      async commandCredential(argument) {
        const { sessionId, line } = commandCredential.parse(argument);
        const credential = await control.commandCredential?.(own(sessionId), line);
        return openSecrets({ credential });
      },
      async closeSession(argument) {
        const { sessionId, reason, recording } = closeSession.parse(argument);
        if (sessions.has(sessionId)) await close(sessionId, reason, recording);
      },
      async requestApproval(argument) {
        const { key: forKey, request } = requestApproval.parse(argument);
        own(request.sessionId);
        const hold = await control.requestApproval(heldRequest(request), (state) =>
          channel().tell("holdChanged", { key: forKey, state }),
        );
        holds.add(hold.holdId);
        if (holds.size > MAX_HOLDS) for (const oldest of holds) if (holds.delete(oldest)) break;
        return hold;
      },
      leaveHold(argument) {
        const { holdId, sessionId } = leaveHold.parse(argument);
        if (sessions.has(sessionId)) control.leaveHold(holdId, sessionId);
      },
      async spendApproval(argument) {
        const { holdId, binding } = spendApproval.parse(argument);
        if (!holds.has(holdId)) throw new GatewayError("internal", "a hold nobody asked for");
        return await control.spendApproval(holdId, binding);
      },
      noteDenial(argument) {
        const { sessionId } = noteDenial.parse(argument);
        if (sessions.has(sessionId)) control.noteDenial(argument as DeniedCommand);
      },
      showParticipant(argument) {
        const { sessionId, participant, view } = showParticipant.parse(argument);
        if (sessions.has(sessionId)) control.showParticipant(sessionId, participant, view);
      },
    },
    async abandon() {
      isGone = true;
      for (const one of signIns) control.endSignIn(one);
      signIns.clear();
      const left = [...sessions];
      if (left.length === 0) return;
      await deps.endBackends(left).catch(deps.onFault);
      for (const sessionId of left) await close(sessionId, GONE, undefined).catch(deps.onFault);
    },
  };
}

const GONE = "the process that had the session is gone";

type Closing = z.infer<typeof closeSession>;

/** zod's optional members may be left out; the interface has them there, undefined. */
function heldRequest(request: z.infer<typeof requestApproval>["request"]): HoldRequest {
  return {
    ...request,
    justification: request.justification,
    requirements: request.requirements.map((one) => ({ ...one, message: one.message })),
  };
}
