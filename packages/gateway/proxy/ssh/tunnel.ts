// Two channels joined end to end: a forwarded connection. Data goes both ways with back-pressure, an end
// of one direction is passed on, a close of one closes the other.
//
// Who owns the state: the pair; each half handles the events of its own channel.

import type { ReplySlot } from "@custody/wire/ssh/events.ts";
import type { ChannelRequest } from "@custody/wire/ssh/requests.ts";
import { type ChannelEnd, Flow, type FlowRecorder } from "./flow.ts";
import type { ChannelHandler } from "./relay-context.ts";

export interface TunnelHooks {
  /** Either of them may be the client's: both directions wait for what was recorded of them. */
  readonly recorder: Required<FlowRecorder>;
  /** Data of the half that was there first, `stdin`, or of the other, `stdout`. */
  readonly onData: (stream: "stdin" | "stdout", data: Buffer) => void;
  /** The second channel is open: the first may be accepted. */
  readonly onOpened: () => void;
  readonly onRefused: (text: string) => void;
  /** Once, when the tunnel is over. */
  readonly onOver: () => void;
}

/** `open` asks the other peer for the second channel and is given its handler. */
export function joinChannels(
  first: ChannelEnd,
  open: (handler: ChannelHandler) => ChannelEnd,
  hooks: TunnelHooks,
): ChannelHandler {
  let isOver = false;
  const over = () => {
    if (isOver) return;
    isOver = true;
    hooks.onOver();
  };
  const ahead = new Flow(hooks.recorder).from(first);
  const back = new Flow(hooks.recorder);
  const half = (own: Flow, other: Flow, stream: "stdin" | "stdout"): ChannelHandler => ({
    onData(kind, data) {
      // Extended data has no meaning on such channels.
      if (kind === 0) hooks.onData(stream, data);
      own.push(0, kind === 0 ? data : NOTHING, data.length);
    },
    onEof: () => own.end(),
    onWritable: () => other.advance(),
    onRequest(_request: ChannelRequest, reply: ReplySlot | undefined) {
      const end = stream === "stdin" ? first : second;
      if (reply !== undefined) end.peer.connection.replyChannel(end.channel, reply, false);
    },
    onReply: () => undefined,
    onOpened() {
      hooks.onOpened();
      ahead.to(second);
      back.to(first);
    },
    onRefused(text) {
      hooks.onRefused(text);
      over();
    },
    onClosed() {
      const { sink } = own;
      // The first channel may not have been accepted yet: then there is nowhere to let anything out to.
      if (sink !== undefined) own.finish(() => close(sink));
      else if (stream === "stdin") close(second);
      over();
    },
  });
  const second: ChannelEnd = open(half(back, ahead, "stdout"));
  back.from(second);
  return half(ahead, back, "stdin");

  function close({ channel, peer }: ChannelEnd): void {
    if (peer.isGone) return;
    peer.connection.closeChannel(channel);
    peer.touch();
  }
}

const NOTHING = Buffer.alloc(0);
