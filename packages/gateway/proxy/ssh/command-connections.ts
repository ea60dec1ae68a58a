// Connections to the host for one command each: what people consented to is run with a certificate that runs
// nothing else (force-command, PROTOCOL.certkeys), is taken for two minutes, and opens no forwarding. Whoever
// got hold of it could run that command and no other.
//
// Who owns the state: one a session; it owns the connections, which end with their command or the session.

import { CHANNEL_OPEN_FAILURES } from "@custody/wire/ssh/requests.ts";
import type { UpstreamCredential } from "../../session/control.ts";
import { deliver, isLast, isOfChannel } from "./channel-events.ts";
import type { SshPeer } from "./peer.ts";
import type { ChannelHandler, OpenUpstream } from "./relay-context.ts";
import { DISCONNECT_REASON } from "./wording.ts";

export interface CommandConnectionsDeps {
  /** undefined: the account signs in with something that cannot be bound to a command. */
  readonly credentialFor: (line: string) => Promise<UpstreamCredential | undefined>;
  readonly connect: (credential: UpstreamCredential) => Promise<SshPeer>;
}

export class CommandConnections {
  readonly #deps: CommandConnectionsDeps;
  readonly #peers = new Set<SshPeer>();
  #isClosed = false;

  constructor(deps: CommandConnectionsDeps) {
    this.#deps = deps;
  }

  /**
   * A way to the host on which only this line runs, once; undefined: there is none for this account, or
   * for a line that is no text. Throws GatewayError: target_unavailable, not_found, dependency_unavailable.
   */
  async open(line: Buffer): Promise<OpenUpstream | undefined> {
    const text = line.toString("utf8");
    if (!Buffer.from(text, "utf8").equals(line)) return undefined;
    const credential = await this.#deps.credentialFor(text);
    if (credential === undefined) return undefined;
    const peer = await this.#deps.connect(credential);
    this.#peers.add(peer);
    if (this.#isClosed) this.close();
    return (open, handler) => {
      const channel = peer.connection.openChannel(open);
      this.#relay(peer, channel, handler);
      peer.touch();
      return { peer, channel };
    };
  }

  close(): void {
    this.#isClosed = true;
    for (const peer of this.#peers)
      peer.disconnect(DISCONNECT_REASON.revoked, "the session has ended");
    this.#peers.clear();
  }

  #relay(peer: SshPeer, channel: number, handler: ChannelHandler): void {
    const { connection } = peer;
    let isOver = false;
    const over = () => {
      this.#peers.delete(peer);
      if (isOver) return;
      isOver = true;
      handler.onClosed();
    };
    peer.handle({
      onEvent: (event) => {
        if (event.kind === "channel-open") {
          const { administrativelyProhibited } = CHANNEL_OPEN_FAILURES;
          connection.refuseChannel(event.channel, administrativelyProhibited, "one command alone");
        } else if (event.kind === "global-request" && event.reply !== undefined)
          connection.replyGlobal(event.reply, false);
        if (!isOfChannel(event) || event.channel !== channel || isOver) return;
        isOver = isLast(event);
        deliver(event, handler);
        if (isOver) peer.disconnect(DISCONNECT_REASON.shutdown, "the command has ended");
      },
      onGone: over,
    });
  }
}
