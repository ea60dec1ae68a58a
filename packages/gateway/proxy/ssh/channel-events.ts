// What happens on one channel, told to whoever handles it.

import type { SshEvent } from "@custody/wire/ssh/events.ts";
import type { ChannelHandler } from "./relay-context.ts";

export type ChannelEvent = Extract<SshEvent, { readonly channel: number }>;

export function isOfChannel(event: SshEvent): event is ChannelEvent {
  return "channel" in event;
}

/** The last of a channel: its handler hears no more. */
export function isLast(event: ChannelEvent): boolean {
  return event.kind === "channel-refused" || event.kind === "channel-closed";
}

export function deliver(event: ChannelEvent, handler: ChannelHandler): void {
  switch (event.kind) {
    case "channel-data":
      handler.onData(event.stream, event.data);
      return;
    case "channel-eof":
      handler.onEof();
      return;
    case "channel-writable":
      handler.onWritable();
      return;
    case "channel-request":
      handler.onRequest(event.request, event.reply);
      return;
    case "channel-reply":
      handler.onReply(event.tag, event.success);
      return;
    case "channel-opened":
      handler.onOpened();
      return;
    case "channel-refused":
      handler.onRefused(event.text);
      return;
    case "channel-closed":
      handler.onClosed();
      return;
    default:
  }
}
