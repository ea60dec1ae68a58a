// What people read: tables that fit the terminal, quiet colours where there is one, times near enough
// to be understood. Everything from outside is made harmless first, since a name or a reason could
// carry terminal escapes.

export interface Io {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Colours and line widths are for people: a terminal, and NO_COLOR not set (no-color.org). */
  readonly colour: boolean;
  readonly columns: number;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the Unix epoch. */
  readonly nowMs: () => number;
  /** All of standard input. */
  readonly readStdin: () => Promise<string>;
  /** Keys as they are typed, unchanged and unechoed, until `stop`; undefined: nobody types here. */
  readonly typed?: ((onKeys: (keys: Buffer) => void) => { readonly stop: () => void }) | undefined;
}

export type Paint = (text: string) => string;

export interface Palette {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly red: Paint;
  readonly green: Paint;
  readonly yellow: Paint;
}

export function paletteOf(io: Pick<Io, "colour">): Palette {
  const sgr = (on: number, off: number): Paint =>
    io.colour ? (text) => `\u001b[${on}m${text}\u001b[${off}m` : (text) => text;
  return {
    bold: sgr(1, 22),
    dim: sgr(2, 22),
    red: sgr(31, 39),
    green: sgr(32, 39),
    yellow: sgr(33, 39),
  };
}

/** Control and invisible formatting characters, ESC and bidirectional overrides among them, as escapes. */
export function harmless(text: string): string {
  return text.replace(
    /(?![\n\t])[\p{Cc}\p{Cf}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}

/** The same on one line. */
export function oneLine(text: string): string {
  return harmless(text.replace(/\s+/g, " ").trim());
}

/**
 * The same value as JSON on one line, for programs, and for terminals all the same: JSON itself escapes the first
 * 32 control characters only.
 */
export function jsonLine(value: unknown): string {
  const text = JSON.stringify(value) ?? "null";
  return `${text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, escapedUnits)}\n`;
}

function escapedUnits(character: string): string {
  return Array.from({ length: character.length }, (_, at) => {
    const unit = character.charCodeAt(at).toString(16);
    return `\\u${unit.padStart(4, "0")}`;
  }).join("");
}

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  /** May be cut to make the table fit; ids and names one copies may not. */
  readonly flexible?: boolean;
  readonly paint?: (row: Row) => Paint | undefined;
}

const GAP = 2;
const LEAST = 8;

/** A table with its header, each row on one line of at most `io.columns`, as far as ids allow. */
export function table<Row>(
  io: Pick<Io, "colour" | "columns">,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
): string {
  const { bold } = paletteOf(io);
  const cells = rows.map((row) => columns.map((column) => oneLine(column.value(row))));
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...cells.map((line) => [...(line[index] ?? "")].length)),
  );
  shrink(widths, columns, io.columns);
  const lines = [columns.map((column, index) => bold(pad(column.title, widths[index] ?? 0)))];
  for (const [at, line] of cells.entries()) {
    const row = rows[at];
    lines.push(
      line.map((cell, index) => {
        const text = pad(cut(cell, widths[index] ?? 0), widths[index] ?? 0);
        const paint = row === undefined ? undefined : columns[index]?.paint?.(row);
        return paint ? paint(text) : text;
      }),
    );
  }
  return lines.map((line) => `${line.join(" ".repeat(GAP)).trimEnd()}\n`).join("");
}

function shrink<Row>(widths: number[], columns: readonly Column<Row>[], limit: number): void {
  const total = () => widths.reduce((sum, width) => sum + width, 0) + GAP * (widths.length - 1);
  while (total() > limit) {
    let widest = -1;
    for (const [index, column] of columns.entries())
      if (column.flexible && (widths[index] ?? 0) > Math.max(LEAST, widths[widest] ?? 0))
        widest = index;
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}

function pad(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - [...text].length));
}

function cut(text: string, width: number): string {
  const characters = [...text];
  return characters.length <= width ? text : `${characters.slice(0, width - 1).join("")}…`;
}

/** Label and value pairs, one a line, values lined up. */
export function facts(
  io: Pick<Io, "colour">,
  pairs: readonly (readonly [label: string, value: string | undefined])[],
): string {
  const { dim } = paletteOf(io);
  const given = pairs.filter(([, value]) => value !== undefined && value !== "");
  const width = Math.max(0, ...given.map(([label]) => label.length));
  return given
    .map(([label, value]) => `${dim(label.padEnd(width))}  ${oneLine(value ?? "")}\n`)
    .join("");
}

/** `in 9m`, `3h ago`; ISO 8601 in. */
export function relative(time: string, nowMs: number): string {
  const difference = Date.parse(time) - nowMs;
  if (Number.isNaN(difference)) return oneLine(time);
  const text = span(Math.abs(difference));
  return difference >= 0 ? `in ${text}` : `${text} ago`;
}

/** `45s`, `9m`, `3h`, `2d`. */
export function span(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  const minutes = Math.round(seconds / 60);
  const hours = Math.round(minutes / 60);
  if (seconds < 60) return `${seconds}s`;
  if (minutes < 60) return `${minutes}m`;
  if (hours < 48) return `${hours}h`;
  return `${Math.round(hours / 24)}d`;
}
