// Ways of replaying: at once or with the time it took, from a command on, only what holds a text, a
// terminal as a terminal, an asciicast for other players.

import { setTimeout as delay } from "node:timers/promises";
import type { RecordingLine } from "@custody/contract/sessions.ts";
import { toAsciicast } from "@custody/evidence/core/asciicast.ts";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";

import { CliError } from "./faults.ts";
import type { Io } from "./output.ts";
import { createTerminalFilter } from "./terminal-filter.ts";
import { createTranscript } from "./transcript.ts";

export interface ReplayOptions {
  readonly rows: string;
  readonly timing?: boolean;
  readonly speed?: string;
  readonly maxPause?: string;
  readonly from?: string;
  readonly search?: string;
  readonly terminal?: boolean;
  readonly asciicast?: "2" | "3";
}

type Sleep = (milliseconds: number) => Promise<void>;

/** `lines` as the gateway sends them. */
export async function replayLines(
  io: Pick<Io, "stdout" | "colour" | "columns">,
  lines: AsyncIterable<RecordingLine>,
  options: ReplayOptions,
  sleep: Sleep = delay,
): Promise<void> {
  if (options.asciicast !== undefined) {
    const version = options.asciicast === "2" ? 2 : 3;
    // The stream's last line may be an error, which the client has thrown by then.
    const events = lines as AsyncIterable<RecordingEvent>;
    for await (const line of toAsciicast(events, { version })) io.stdout(line);
    return;
  }
  if (options.terminal === true) {
    const { all, fromMs } = terminalFrom(lines, options.from);
    await replayTerminal(io, pace(all, options, sleep, fromMs));
    return;
  }
  const paced = pace(begin(lines, options.from), options, sleep);
  if (options.search === undefined) await replayTranscript(io, paced, options);
  else await replayMatches(io, paced, options, options.search);
}

async function replayTranscript(
  io: Pick<Io, "stdout" | "colour" | "columns">,
  lines: AsyncIterable<RecordingLine>,
  options: ReplayOptions,
): Promise<void> {
  const transcript = createTranscript(io, { rows: rowsOf(options) });
  for await (const line of lines) io.stdout(transcript.line(line));
  io.stdout(transcript.end());
}

/** Each command with what followed it, when the text is anywhere in that. */
async function replayMatches(
  io: Pick<Io, "stdout" | "colour" | "columns">,
  lines: AsyncIterable<RecordingLine>,
  options: ReplayOptions,
  search: string,
): Promise<void> {
  const rows = rowsOf(options);
  let transcript = createTranscript(io, { rows });
  let text = "";
  let found = 0;
  const close = (): void => {
    if (!text.toLowerCase().includes(search.toLowerCase())) return;
    found++;
    io.stdout(text);
  };
  for await (const line of lines) {
    if (line.kind === "command" || line.kind === "command-digest") {
      // What is left of an answer belongs to the command before; its closing words do not matter here.
      text += transcript.line({ t: line.t, kind: "event", type: "next", data: {} });
      close();
      transcript = createTranscript(io, { rows });
      text = "";
    }
    text += transcript.line(line);
  }
  close();
  if (found === 0) throw new CliError("refused", `"${search}" is nowhere in this recording`);
}

async function replayTerminal(
  io: Pick<Io, "stdout">,
  lines: AsyncIterable<RecordingLine>,
): Promise<void> {
  const filters = new Map<string, (bytes: Buffer) => Buffer>();
  let isBegun = false;
  for await (const { kind, stream, request, channel, bytes } of lines) {
    // What was there before: where a recording is entered in the middle, it begins with it.
    if (kind === "screen" && !isBegun) {
      const drawn = createTerminalFilter()(Buffer.from(String(bytes), "base64"));
      io.stdout(`\u001b[0m\u001b[?1049l\u001b[2J\u001b[H${drawn.toString("utf8")}`);
    }
    isBegun ||= kind === "screen" || kind === "data";
    if (kind !== "data" || (stream !== "stdout" && stream !== "stderr")) continue;
    const key = `${String(request)} ${String(channel)} ${stream}`;
    const filter = filters.get(key) ?? createTerminalFilter();
    filters.set(key, filter);
    io.stdout(filter(Buffer.from(String(bytes), "base64")).toString("utf8"));
  }
  // Colours and the alternate screen end with the replay, whatever the recording left on.
  io.stdout("\u001b[0m\u001b[?1049l\u001b[?25h\n");
}

/** Of a terminal everything is drawn that comes, and from this second of the session on in its time. */
function terminalFrom(
  lines: AsyncIterable<RecordingLine>,
  from: string | undefined,
): { readonly all: AsyncIterable<RecordingLine>; readonly fromMs: number } {
  if (from === undefined || from.startsWith("r-")) return { all: begin(lines, from), fromMs: 0 };
  return { all: lines, fromMs: secondsOf(from) * 1000 };
}

/** From this request, or this second of the session, on. */
async function* begin(
  lines: AsyncIterable<RecordingLine>,
  from: string | undefined,
): AsyncGenerator<RecordingLine> {
  const seconds = from === undefined || from.startsWith("r-") ? undefined : secondsOf(from);
  let hasBegun = from === undefined;
  for await (const line of lines) {
    hasBegun ||= seconds === undefined ? line.request === from : line.t >= seconds * 1000;
    if (hasBegun) yield line;
  }
  if (!hasBegun) throw new CliError("refused", `the recording does not get to ${from}`);
}

/** Keeps the time between lines: divided by the speed, and no longer than the longest pause. */
async function* pace(
  lines: AsyncIterable<RecordingLine>,
  { timing, speed, maxPause }: ReplayOptions,
  sleep: Sleep,
  fromMs = 0,
): AsyncGenerator<RecordingLine> {
  const factor = numberOf("--speed", speed ?? "1");
  const longestMs = numberOf("--max-pause", maxPause ?? "3") * 1000;
  const isTimed = timing === true || speed !== undefined;
  let lastMs: number | undefined;
  for await (const line of lines) {
    const pauseMs = Math.min((line.t - (lastMs ?? line.t)) / factor, longestMs);
    if (isTimed && pauseMs >= 1) await sleep(pauseMs);
    lastMs = Math.max(line.t, fromMs);
    yield line;
  }
}

function secondsOf(from: string): number {
  const seconds = Number(from);
  if (seconds >= 0) return seconds;
  throw new CliError("usage", "--from is a request (r-…) or seconds since the start");
}

function rowsOf({ rows }: ReplayOptions): number {
  return Number.parseInt(rows, 10) || 0;
}

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new CliError("usage", `${name} is a number above 0`);
}
