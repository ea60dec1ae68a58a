// Typed events and streams of a recording in a transcript: what ran, what it read and wrote, files, requests.

import type { RecordingLine } from "@custody/contract/sessions.ts";
import { harmless, oneLine, type Palette } from "./output.ts";
import { createTerminalFilter } from "./terminal-filter.ts";

const MAX_SHOWN_BYTES = 4096;

/** One line about a typed event; undefined for a kind that is none. */
export function typedText(palette: Palette, line: RecordingLine): string | undefined {
  switch (line.kind) {
    case "exec": {
      const place = said(line.place) === "" ? "" : ` in ${said(line.place)}`;
      const words = listed(line.argv).map(quoted).join(" ");
      return palette.bold(oneLine(`▶ ${said(line.mode)}${place} ${words}`.trimEnd()));
    }
    case "terminal": {
      const name = said(line.name) === "" ? "" : ` (${said(line.name)})`;
      return palette.dim(oneLine(`terminal ${line.columns}×${line.rows}${name}`));
    }
    case "exit": {
      const how = line.signal === undefined ? `status ${line.code}` : `signal ${line.signal}`;
      return palette.dim(oneLine(`ended with ${how}`));
    }
    case "sftp": {
      const to = said(line.to) === "" ? "" : ` → ${said(line.to)}`;
      const range = line.length === undefined ? "" : ` ${line.length} bytes at ${line.offset ?? 0}`;
      const status = said(line.status);
      const paint = status === "ok" || status === "eof" ? palette.dim : palette.red;
      const what = oneLine(`sftp ${said(line.operation)} ${said(line.path)}${to}${range}`);
      return `${what} ${paint(oneLine(status))}`;
    }
    case "http-request":
      return palette.bold(oneLine(`${said(line.method)} ${said(line.path)}`));
    case "http-response": {
      const paint = Number(line.status) < 400 ? palette.dim : palette.red;
      return paint(oneLine(`← ${line.status}`));
    }
    case "command-digest":
      return palette.yellow(
        oneLine(`a command of ${line.length} bytes was not kept, SHA-256 ${said(line.sha256)}`),
      );
    default:
      return undefined;
  }
}

/** The bytes of a stream, text as text, a line each; cut. */
export function dataText(palette: Palette, line: RecordingLine): readonly string[] {
  const bytes = Buffer.from(said(line.bytes), "base64");
  const stream = said(line.stream);
  const mark = { stdin: "‹", stdout: "│", stderr: "!", upload: "↑", download: "↓" }[stream] ?? "│";
  const cut = bytes.subarray(0, MAX_SHOWN_BYTES);
  const isText = !cut.includes(0) && !cut.toString("utf8").slice(0, -1).includes("\ufffd");
  const body = isText
    ? withoutSequences(cut).replace(/\n$/, "").split("\n").map(harmless)
    : [`${bytes.length} bytes`];
  const rest = isText && bytes.length > MAX_SHOWN_BYTES ? [`… ${bytes.length} bytes`] : [];
  const paint = stream === "stderr" ? palette.yellow : (text: string) => text;
  return [...body, ...rest].map((text) => `${palette.dim(mark)} ${paint(text.trimEnd())}`);
}

/** As a line printer has it: no colours, no movement, no carriage returns. */
function withoutSequences(bytes: Buffer): string {
  const [first = "", ...rest] = createTerminalFilter()(bytes).toString("utf8").split("\u001b");
  const plain = rest.map((text) => text.replace(/^(?:\[[0-9;:?]*[@-~]|[78DEM])/, ""));
  return (first + plain.join("")).replaceAll("\r", "");
}

function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function said(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function listed(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
