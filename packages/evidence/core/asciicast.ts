// A terminal of a recording as an asciicast (docs.asciinema.org, formats v2 and v3), which stock players play:
// a header, then events [time, code, data]; "o" output, "i" input, "r" a new size, "x" the exit status. Times are
// seconds, since the start in v2 and since the event before in v3.

import type { RecordingEvent } from "./recording.ts";

export class AsciicastError extends Error {
  override readonly name = "AsciicastError";
}

export interface AsciicastOptions {
  readonly version: 2 | 3;
  /** Which terminal: the first one that was opened, when left out. */
  readonly request?: string;
  /** What was typed, too. It may hold what the terminal did not show. */
  readonly withInput?: boolean;
}

type Decoder = InstanceType<typeof TextDecoder>;
type Screen = Extract<RecordingEvent, { kind: "screen" }>;
type Terminal = Extract<RecordingEvent, { kind: "terminal" }> | Screen;

/** Lines with their newlines. Throws AsciicastError when there was no terminal. */
export async function* toAsciicast(
  events: AsyncIterable<RecordingEvent>,
  options: AsciicastOptions,
): AsyncGenerator<string> {
  let terminal: Terminal | undefined;
  let lastMs = 0;
  const decoders = new Map<string, Decoder>();
  const line = (event: RecordingEvent, code: string, data: string): string => {
    const { t: startMs } = terminal ?? { t: 0 };
    const sinceMs = options.version === 2 ? event.t - startMs : event.t - lastMs;
    lastMs = event.t;
    return `${JSON.stringify([sinceMs / 1000, code, data])}\n`;
  };
  for await (const event of events) {
    if (terminal === undefined) {
      const isIt =
        (event.kind === "terminal" || event.kind === "screen") &&
        (options.request === undefined || options.request === event.request);
      if (!isIt) continue;
      terminal = event;
      lastMs = event.t;
      yield header(event, options.version);
      // From the middle of a recording: what was there before.
      if (event.kind === "screen") yield line(event, "o", decoded(decoders, "stdout", event.bytes));
      continue;
    }
    if (!("channel" in event) || event.channel !== terminal.channel) continue;
    if (event.request !== terminal.request) continue;
    if (event.kind === "terminal") yield line(event, "r", `${event.columns}x${event.rows}`);
    if (event.kind === "exit" && options.version === 3) {
      yield line(event, "x", String(event.code ?? 1));
    }
    if (event.kind !== "data") continue;
    const isInput = event.stream === "stdin";
    if (isInput && options.withInput !== true) continue;
    const data = decoded(decoders, event.stream, event.bytes);
    if (data !== "") yield line(event, isInput ? "i" : "o", data);
  }
  if (terminal === undefined) throw new AsciicastError("there was no terminal in this session");
}

function header(terminal: Terminal, version: 2 | 3): string {
  const { columns, rows } = terminal;
  const name = terminal.kind === "terminal" ? terminal.name : undefined;
  const type = name === undefined ? {} : { type: name };
  const about =
    version === 3
      ? { version, term: { cols: columns, rows, ...type } }
      : { version, width: columns, height: rows, env: name === undefined ? {} : { TERM: name } };
  return `${JSON.stringify(about)}\n`;
}

/** A character that is cut between two events comes with the second. */
function decoded(decoders: Map<string, Decoder>, stream: string, base64: string): string {
  let decoder = decoders.get(stream);
  if (decoder === undefined) {
    decoder = new TextDecoder("utf-8");
    decoders.set(stream, decoder);
  }
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return decoder.decode(bytes, { stream: true });
}
