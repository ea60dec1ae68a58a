// One session between one client and one target: two connections and the channels between them. What a
// client asks for is accepted, decided (judge.ts), and only then asked of the target.
//
// Who owns the state: this object owns both peers and every channel. Any fault ends the session, with
// the reason on every channel and in the disconnect message (I2).

import type { SshEvent } from "@custody/wire/ssh/events.ts";
import { CHANNEL_OPEN_FAILURES, type ChannelOpen } from "@custody/wire/ssh/requests.ts";
import { GatewayError, toGatewayError } from "../../base/errors.ts";
import type { ParticipantAct } from "../../session/control.ts";
import { BackChannels } from "./back-channels.ts";
import { deliver, isLast, isOfChannel } from "./channel-events.ts";
import type { ChannelEnd } from "./flow.ts";
import { Forwarding, type ForwardingDeps } from "./forwarding.ts";
import type { SshPeer } from "./peer.ts";
import type { ChannelHandler, RelayContext } from "./relay-context.ts";
import { SessionChannel } from "./session-channel.ts";
import { SharedTerminals, type SharedTerminalsDeps } from "./shared-terminals.ts";
import { DISCONNECT_REASON, disconnectText } from "./wording.ts";

export interface RelayDeps
  extends Omit<RelayContext, "openUpstream" | "backChannels" | "terminals"> {
  /** Whether a forwarded connection would go round the gateway's own decision. */
  readonly isOwnTarget: ForwardingDeps["isOwnTarget"];
  readonly showParticipant: SharedTerminalsDeps["show"];
}

export class Relay {
  readonly #client: SshPeer;
  readonly #upstream: SshPeer;
  readonly #context: RelayContext;
  readonly #forwarding: Forwarding;
  readonly #ofClient = new Map<number, ChannelHandler>();
  readonly #ofTarget = new Map<number, ChannelHandler>();
  readonly #sessions = new Set<SessionChannel>();
  #active = false;
  /** The client said that it opens no more of them. */
  #areSessionsOver = false;
  #draining: GatewayError | undefined;
  #hasEnded = false;
  #why: string | undefined;
  #resolveEnd: (reason: string) => void = () => undefined;

  constructor(client: SshPeer, upstream: SshPeer, deps: RelayDeps) {
    this.#client = client;
    this.#upstream = upstream;
    this.#context = {
      ...deps,
      backChannels: new BackChannels(),
      terminals: new SharedTerminals({
        show: deps.showParticipant,
        record: (requestId, type, data) => deps.recorder.event(requestId, type, data),
      }),
      openUpstream: (open, handler) => this.#openUpstream(open, handler),
    };
    this.#forwarding = new Forwarding(this.#context, {
      isOwnTarget: deps.isOwnTarget,
      openToClient: (open, handler) => this.#openToClient(open, handler),
      requestGlobal: (request, tag) => {
        upstream.connection.requestGlobal(request, tag);
        upstream.touch();
      },
    });
  }

  /** Settles when the session has ended, with why. */
  run(): Promise<string> {
    const ended = new Promise<string>((resolve) => {
      this.#resolveEnd = resolve;
    });
    this.#client.handle({
      onEvent: (event) => this.#guarded(() => this.#onClientEvent(event)),
      onGone: () => this.#finish("the client closed the connection"),
    });
    this.#upstream.handle({
      onEvent: (event) => this.#guarded(() => this.#onTargetEvent(event)),
      onGone: (why) =>
        this.end(
          new GatewayError("target_unavailable", "the target closed the connection", {
            cause: new Error(why),
          }),
        ),
    });
    return ended;
  }

  /** Ends the session and says why, on every channel that shows it. Nothing on the way stops it (I9). */
  end(error: GatewayError): void {
    if (this.#hasEnded) return;
    // Disconnecting is an end of its own, whose reason this is.
    this.#why ??= error.code;
    for (const session of this.#sessions) this.#inOrder(() => session.end(error));
    this.#client.disconnect(DISCONNECT_REASON[error.code], disconnectText(error));
    this.#finish(error.code);
  }

  /** Ends the session once nothing runs. */
  drain(error: GatewayError): void {
    this.#draining = error;
    this.#endIfDrained();
  }

  /** On the stderr of everything that runs. */
  notice(message: string): void {
    for (const session of this.#sessions) session.notice(`Custody: ${message}`);
  }

  /** Of others, in this session's shell. */
  participant(act: ParticipantAct): void {
    if (act.act === "type") this.#active = true;
    this.#guarded(() => this.#context.terminals.act(act));
  }

  /** Whether anything came from the client since this was last asked, or something runs. */
  takeActivity(): boolean {
    const active = this.#active || [...this.#sessions].some((session) => session.isBusy);
    this.#active = false;
    return active;
  }

  #onClientEvent(event: SshEvent): void {
    this.#active = true;
    switch (event.kind) {
      case "channel-open":
        this.#onClientOpen(event.channel, event.open);
        return;
      case "global-request":
        // PROTOCOL section 2.2: so that who takes the client over later opens none.
        this.#areSessionsOver ||= event.request.kind === "no-more-sessions@openssh.com";
        this.#forwarding.onClientRequest(event.request, (success, data) => {
          if (event.reply !== undefined)
            this.#client.connection.replyGlobal(event.reply, success, data);
          this.#client.touch();
        });
        return;
      default:
        this.#onChannelEvent(this.#ofClient, event);
    }
  }

  #onTargetEvent(event: SshEvent): void {
    const { connection } = this.#upstream;
    switch (event.kind) {
      case "channel-open":
        if (this.#draining !== undefined) {
          this.#refuse(this.#upstream, event.channel);
          return;
        }
        this.#forwarding.onTargetOpen(
          { peer: this.#upstream, channel: event.channel },
          event.open,
          (handler) => this.#ofTarget.set(event.channel, handler),
        );
        return;
      case "global-request":
        // Host keys a target announces are not learned (configuration has them).
        if (event.reply !== undefined) connection.replyGlobal(event.reply, false);
        this.#upstream.touch();
        return;
      case "global-reply":
        this.#forwarding.onTargetReply(event.tag, event.success, event.data);
        return;
      default:
        this.#onChannelEvent(this.#ofTarget, event);
    }
  }

  #onChannelEvent(handlers: Map<number, ChannelHandler>, event: SshEvent): void {
    if (!isOfChannel(event)) return;
    const handler = handlers.get(event.channel);
    if (isLast(event)) handlers.delete(event.channel);
    if (handler !== undefined) deliver(event, handler);
    if (event.kind === "channel-closed") this.#endIfDrained();
  }

  #onClientOpen(channel: number, open: ChannelOpen): void {
    if (this.#draining !== undefined) {
      this.#refuse(this.#client, channel);
      return;
    }
    if (open.kind === "session" && this.#areSessionsOver) {
      this.#refuse(this.#client, channel, "there were to be no more sessions");
      return;
    }
    const end = { peer: this.#client, channel };
    if (open.kind !== "session") {
      this.#forwarding.onClientOpen(end, open, (handler) => this.#ofClient.set(channel, handler));
      return;
    }
    this.#client.connection.acceptChannel(channel);
    const session: SessionChannel = new SessionChannel(this.#context, end, () => {
      this.#sessions.delete(session);
    });
    this.#sessions.add(session);
    this.#ofClient.set(channel, session);
    this.#client.touch();
  }

  #openUpstream(open: ChannelOpen, handler: ChannelHandler): ChannelEnd {
    const channel = this.#upstream.connection.openChannel(open);
    this.#ofTarget.set(channel, handler);
    this.#upstream.touch();
    return { peer: this.#upstream, channel };
  }

  #openToClient(open: ChannelOpen, handler: ChannelHandler): ChannelEnd {
    const channel = this.#client.connection.openChannel(open);
    this.#ofClient.set(channel, handler);
    this.#client.touch();
    return { peer: this.#client, channel };
  }

  #refuse(peer: SshPeer, channel: number, why = "the gateway is stopping"): void {
    const { administrativelyProhibited } = CHANNEL_OPEN_FAILURES;
    peer.connection.refuseChannel(channel, administrativelyProhibited, why);
    peer.touch();
  }

  #endIfDrained(): void {
    if (this.#draining !== undefined && this.#ofClient.size === 0) this.end(this.#draining);
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (thrown) {
      const error = toGatewayError(thrown);
      this.#context.log("an SSH session ended by a fault", error.cause ?? error);
      this.end(error);
    }
  }

  #inOrder(work: () => void): void {
    try {
      work();
    } catch (thrown) {
      this.#context.log("an SSH channel could not be closed in order", thrown);
    }
  }

  #finish(reason: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    for (const handler of [...this.#ofClient.values(), ...this.#ofTarget.values()])
      this.#inOrder(() => handler.onClosed());
    this.#inOrder(() => this.#forwarding.close());
    this.#inOrder(() => this.#context.commandConnections.close());
    this.#upstream.disconnect(DISCONNECT_REASON.revoked, "the session has ended");
    this.#client.destroySoon();
    this.#resolveEnd(this.#why ?? reason);
  }
}
