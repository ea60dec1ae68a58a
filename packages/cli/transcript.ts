// A recording as people read it: each command, then what the client got for it, decoded from the
// server messages that were recorded (PostgreSQL), or as the streams and typed events that were
// (stream-text.ts). What cannot be decoded is said, never guessed.

import type { RecordingLine } from "@custody/contract/sessions.ts";
import {
  BACKEND,
  decodeCommandComplete,
  decodeErrorFields,
  decodeRowDescription,
} from "@custody/wire/postgres/backend.ts";
import { dataRowFields } from "@custody/wire/postgres/data-row.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { facts, harmless, type Io, oneLine, type Palette, paletteOf } from "./output.ts";
import { dataText, typedText } from "./stream-text.ts";

export interface TranscriptOptions {
  /** Rows shown of each answer; the others are counted. */
  readonly rows: number;
}

export interface Transcript {
  /** The text for one line of the recording; may be empty. */
  line(line: RecordingLine): string;
  /** What is left when there are no more lines. */
  end(): string;
}

const MAX_FRAME_BYTES = 1 << 30;
const MAX_COLUMNS = 1664;
const MAX_CELL = 40;
const INDENT = "          ";

export function createTranscript(
  io: Pick<Io, "colour" | "columns">,
  options: TranscriptOptions,
): Transcript {
  const palette = paletteOf(io);
  let answer: Answer | undefined;
  let ended = false;

  const closeAnswer = (): string => {
    const text = answer?.flush() ?? "";
    answer = undefined;
    return text;
  };
  return {
    line: (line) => {
      const request = text(line.request);
      switch (line.kind) {
        case "start":
          return startText(io, line.data);
        case "command":
          return closeAnswer() + commandText(palette, line);
        case "response": {
          const before = answer?.request === request ? "" : closeAnswer();
          answer ??= createAnswer(request, palette, options.rows);
          return before + answer.push(Buffer.from(text(line.bytes), "base64"));
        }
        case "truncated":
          return (
            closeAnswer() +
            note(
              palette.yellow,
              `… ${line.length} more bytes of the ${text(line.stream) || "answer"} were not kept, only their SHA-256 ${text(line.sha256)}`,
            )
          );
        case "event":
          return closeAnswer() + eventText(palette, line);
        case "screen":
          return "";
        case "end":
          ended = true;
          return closeAnswer() + palette.dim(`${stamp(line.t)}the session ended\n`);
        case "data":
          return (
            closeAnswer() +
            dataText(palette, line)
              .map((one) => `${INDENT}${one}\n`)
              .join("")
          );
        default: {
          const typed = typedText(palette, line);
          const said = typed ?? palette.yellow(`a record of kind ${oneLine(line.kind)}`);
          return `${closeAnswer()}${palette.dim(stamp(line.t))}${said}\n`;
        }
      }
    },
    end: () =>
      closeAnswer() +
      (ended ? "" : palette.dim("the recording goes on, or was cut off by a crash\n")),
  };
}

interface Answer {
  readonly request: string;
  push(bytes: Buffer): string;
  flush(): string;
}

/** The messages of one command's answer: rows gathered into a table, the rest a line each. */
function createAnswer(request: string, palette: Palette, limit: number): Answer {
  const cursor = new FrameCursor({ maxFrameBytes: MAX_FRAME_BYTES });
  const fields = new Int32Array(MAX_COLUMNS * 2);
  let names: readonly string[] = [];
  let rows: string[][] = [];
  let count = 0;
  let broken = false;

  const flushRows = (): string => {
    if (names.length === 0 && count === 0) return "";
    const shown = rowsText(palette, names, rows);
    const left = count - rows.length;
    names = [];
    rows = [];
    count = 0;
    return shown + (left > 0 ? note(palette.dim, `… ${left} more rows (--rows)`) : "");
  };
  const message = (): string => {
    const { type, buffer, start, end } = cursor;
    switch (type) {
      case BACKEND.rowDescription:
        names = decodeRowDescription(buffer, start, end).map((column) => column.name);
        return "";
      case BACKEND.dataRow: {
        count++;
        if (rows.length >= limit) return "";
        const columns = dataRowFields(buffer, start, end, fields);
        rows.push(Array.from({ length: columns }, (_, index) => cell(buffer, fields, index)));
        return "";
      }
      case BACKEND.copyData: {
        count++;
        if (rows.length < limit) rows.push([cellText(buffer.subarray(start + 5, end))]);
        return "";
      }
      case BACKEND.commandComplete:
        return flushRows() + note(palette.green, decodeCommandComplete(buffer, start, end).tag);
      case BACKEND.errorResponse:
      case BACKEND.noticeResponse:
        return flushRows() + saidText(palette, decodeErrorFields(buffer, start, end));
      default:
        return "";
    }
  };
  return {
    request,
    push: (bytes) => {
      if (broken) return "";
      let out = "";
      try {
        cursor.push(bytes);
        while (cursor.next()) out += message();
      } catch {
        broken = true;
        out += note(
          palette.yellow,
          "the rest of this answer cannot be decoded; --json has its bytes",
        );
      }
      return out;
    },
    flush: () =>
      flushRows() +
      (cursor.partial && !broken ? note(palette.dim, "… the answer breaks off here") : ""),
  };
}

function startText(io: Pick<Io, "colour">, data: unknown): string {
  const pairs = Object.entries(record(data)).map(([name, value]) => [name, shown(value)] as const);
  return pairs.length === 0 ? "" : `${facts(io, pairs)}\n`;
}

function commandText(palette: Palette, line: RecordingLine): string {
  const command = harmless(Buffer.from(text(line.bytes), "base64").toString("utf8"));
  const parameters = Array.isArray(line.parameters) ? line.parameters : [];
  const bound = parameters.map((value: unknown, index) => {
    const readable = typeof value === "string" ? cellText(Buffer.from(value, "base64")) : "null";
    return `${INDENT}${palette.dim(`$${index + 1} =`)} ${readable}\n`;
  });
  const body = command.trimEnd().replaceAll("\n", `\n${INDENT}`);
  const head = `${palette.dim(stamp(line.t))}${palette.bold(body)}`;
  return `${head}  ${palette.dim(oneLine(text(line.request)))}\n${bound.join("")}`;
}

function eventText(palette: Palette, line: RecordingLine): string {
  const details = Object.entries(record(line.data)).map(
    ([name, value]) => `${name}=${shown(value)}`,
  );
  const kind = text(line.type);
  const paint = /den|refus|revok|error/.test(kind) ? palette.red : palette.yellow;
  return `${palette.dim(stamp(line.t))}${paint(oneLine(kind))}  ${oneLine(details.join("  "))}\n`;
}

function saidText(palette: Palette, said: ReadonlyMap<string, string>): string {
  const severity = said.get("V") ?? said.get("S") ?? "ERROR";
  const paint = /ERROR|FATAL|PANIC/.test(severity) ? palette.red : palette.yellow;
  const lines = [`${severity} ${said.get("C") ?? ""}: ${said.get("M") ?? ""}`];
  if (said.has("D")) lines.push(`DETAIL: ${said.get("D")}`);
  if (said.has("H")) lines.push(`HINT: ${said.get("H")}`);
  return lines.map((one) => note(paint, oneLine(one))).join("");
}

function rowsText(palette: Palette, names: readonly string[], rows: readonly string[][]): string {
  const columns = Math.max(names.length, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, index) =>
    Math.max((names[index] ?? "").length, ...rows.map((row) => (row[index] ?? "").length)),
  );
  const join = (cells: readonly string[]) =>
    widths
      .map((width, index) => (cells[index] ?? "").padEnd(width))
      .join(" | ")
      .trimEnd();
  const head = names.length > 0 ? `${INDENT}${palette.dim(oneLine(join(names)))}\n` : "";
  return head + rows.map((row) => `${INDENT}${join(row)}\n`).join("");
}

function cell(buffer: Buffer, fields: Int32Array, index: number): string {
  const offset = fields[index * 2] ?? 0;
  const length = fields[index * 2 + 1] ?? -1;
  return length < 0 ? "null" : cellText(buffer.subarray(offset, offset + length));
}

/** Text as text, anything else as `\x` and hexadecimal; one line, cut. */
function cellText(bytes: Buffer): string {
  const decoded = bytes.toString("utf8");
  const isText = !/(?![\n\t\r])[\p{Cc}\ufffd]/u.test(decoded);
  const value = isText ? oneLine(decoded) : `\\x${bytes.toString("hex", 0, MAX_CELL)}`;
  return value.length <= MAX_CELL ? value : `${value.slice(0, MAX_CELL - 1)}…`;
}

function note(paint: (text: string) => string, said: string): string {
  return `${INDENT}${paint(said)}\n`;
}

/** Milliseconds since the session began, as seconds in a column of ten. */
function stamp(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(3)}s`.padEnd(INDENT.length);
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
