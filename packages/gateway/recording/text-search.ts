// Was this said in a session? Looks at commands, answers and streams as bytes, across the places where a
// recording cuts them.

import type { RecordingEvent } from "@custody/evidence/core/recording.ts";

export async function holdsText(
  events: AsyncIterable<RecordingEvent>,
  text: string,
): Promise<boolean> {
  const wanted = Buffer.from(text, "utf8");
  /** The end of what was seen of each stream, one byte shorter than what is looked for. */
  const tails = new Map<string, Buffer>();
  for await (const event of events) {
    for (const { stream, bytes } of bytesOf(event)) {
      const joined = Buffer.concat([tails.get(stream) ?? Buffer.alloc(0), bytes]);
      if (joined.includes(wanted)) return true;
      tails.set(stream, joined.subarray(Math.max(0, joined.length - wanted.length + 1)));
    }
    if (tails.size > MAX_STREAMS) tails.clear();
  }
  return false;
}

const MAX_STREAMS = 4096;

function bytesOf(event: RecordingEvent): { stream: string; bytes: Buffer }[] {
  switch (event.kind) {
    case "command": {
      const values = [event.bytes, ...(event.parameters ?? [])];
      return values.map((value, at) => ({
        stream: `command ${event.request} ${at}`,
        bytes: Buffer.from(value ?? "", "base64"),
      }));
    }
    case "response":
      return [{ stream: "response", bytes: Buffer.from(event.bytes, "base64") }];
    case "data": {
      const stream = `${event.request} ${event.channel} ${event.stream}`;
      return [{ stream, bytes: Buffer.from(event.bytes, "base64") }];
    }
    case "start":
    case "end":
    case "truncated":
    case "command-digest":
    case "screen":
      return [];
    default:
      return [{ stream: event.kind, bytes: Buffer.from(JSON.stringify(event), "utf8") }];
  }
}
