// A terminal without a window (@xterm/headless), and its state as sequences that draw it on another one: both
// screens cell by cell, then what sequences still to come depend on: modes, scrolling region, character set,
// colours, saved cursor. Of these what the library does not tell is watched on its way.
//
// What it reads was written by whoever runs a program at the target, and few bytes may ask for much: it reads in
// a thread of its own (terminal-thread.ts), in pieces between which other terminals have their turn, and nothing
// is repeated more often than the screen has cells.
//
// Who owns the state: one a screen, in the thread.

import type { IBuffer, IBufferCell, Terminal } from "@xterm/headless";

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** `bytes` draw it on a terminal of this size that was reset. */
export interface ShownScreen extends TerminalSize {
  readonly bytes: Buffer;
}

export type Came = Uint8Array | TerminalSize;

export interface KeptTerminal {
  readonly size: TerminalSize;
  take(came: Came): Promise<void>;
  /** Throws RangeError when there is no end to what the screen shows. */
  drawn(): string;
  close(): void;
}

const CSI = "\u001b[";
const SHOWN_MODES = [
  ["applicationCursorKeysMode", "?1h"],
  ["applicationKeypadMode", "?66h"],
  ["bracketedPasteMode", "?2004h"],
  ["insertMode", "4h"],
  ["reverseWraparoundMode", "?45h"],
  ["sendFocusMode", "?1004h"],
] as const;
const MOUSE = { none: "", x10: "?9h", vt200: "?1000h", drag: "?1002h", any: "?1003h" } as const;
/** Colours and looks set one by one; a program that goes on for ever sets all of them anew. */
const MAX_LOOKS = 256;
/** What is read in one turn. Clearing a large screen costs a millisecond, and is asked for by four bytes. */
const PIECE_BYTES = 2048;
/**
 * A cell holds any number of accents, each of which takes a piece of memory many times its size until the cell is read
 * as one. Of a screen, beyond one character a cell; the rest of it is bounded by its size.
 */
const MAX_COMBINED = 1 << 18;
/** Repeated so often as their first parameter says, 2,147,483,647 times if it says so. */
const REPEATED = ["b", "I", "L", "M", "S", "T", "Z"].map((final) => ({ final }));
/** Columns put in, taken out and moved. */
const COLUMNS = [
  ...["@", "A"].map((final) => ({ intermediates: " ", final })),
  ...["}", "~"].map((final) => ({ intermediates: "'", final })),
];

/** `progressed`: after each piece. */
export async function openTerminal(
  { columns, rows }: TerminalSize,
  progressed: () => void,
): Promise<KeptTerminal> {
  // CommonJS, whose names cannot be imported; and megabytes that most processes never need.
  const { default: headless } = await import("@xterm/headless");
  const options = { cols: columns, rows, scrollback: 0, allowProposedApi: true };
  const terminal = new headless.Terminal({ ...options, logLevel: "off" });
  boundRepeats(terminal);
  const unseen = watchUnseen(terminal);
  return {
    get size() {
      return { columns: terminal.cols, rows: terminal.rows };
    },
    async take(came) {
      if (came instanceof Uint8Array) await write(terminal, came, progressed);
      else {
        terminal.resize(came.columns, came.rows);
        unseen.resized();
      }
    },
    drawn: () => draw(terminal, unseen),
    close: () => terminal.dispose(),
  };
}

/** All pieces at once: the library gives up its turn between them when it has taken long enough. */
function write(terminal: Terminal, bytes: Uint8Array, progressed: () => void): Promise<void> {
  return new Promise((done) => {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES)
      terminal.write(bytes.subarray(at, at + PIECE_BYTES), progressed);
    terminal.write("", done);
  });
}

/** The library's own parser. Its public one gives handlers a copy of the parameters, which changes nothing. */
interface OwnParser {
  readonly _core: {
    readonly _inputHandler: {
      readonly _parser: {
        registerCsiHandler(
          sequence: { readonly intermediates?: string; readonly final: string },
          handler: (parameters: { readonly params: Int32Array }) => boolean,
        ): void;
      };
    };
  };
}

/** More than fills the screen shows no more than that. */
function boundRepeats(terminal: Terminal): void {
  const parser = (terminal as unknown as OwnParser)._core._inputHandler._parser;
  for (const sequence of [...REPEATED, ...COLUMNS])
    parser.registerCsiHandler(sequence, ({ params }) => {
      const { cols, rows } = terminal;
      const most = sequence.final === "b" ? cols * rows : Math.max(cols, rows);
      params[0] = Math.min(params[0] ?? 0, most);
      return false;
    });
}

interface SavedCursor {
  readonly x: number;
  readonly y: number;
  readonly looks: string;
}

interface Region {
  readonly top: number;
  readonly bottom: number;
}

/** Of one of the two screens. */
interface Unseen {
  /** undefined: all of it. */
  region: Region | undefined;
  saved: SavedCursor | undefined;
}

interface Watched {
  readonly normal: Unseen;
  readonly alternate: Unseen;
  readonly looks: () => string;
  readonly charset: () => string;
  readonly isHidden: () => boolean;
  /** What the library's terminal makes anew. */
  resized(): void;
}

function watchUnseen(terminal: Terminal): Watched {
  const { parser } = terminal;
  const normal: Unseen = { region: undefined, saved: undefined };
  const alternate: Unseen = { region: undefined, saved: undefined };
  const here = () => (terminal.buffer.active.type === "normal" ? normal : alternate);
  let looks: string[] = [];
  let charset = "B";
  let isHidden = false;
  const looked = () => looks.join("");
  const save = (): false => {
    const { cursorX, cursorY } = terminal.buffer.active;
    here().saved = { x: cursorX, y: cursorY, looks: looked() };
    return false;
  };
  const reset = (): false => {
    for (const screen of [normal, alternate]) {
      screen.region = undefined;
      screen.saved = undefined;
    }
    looks = [];
    charset = "B";
    isHidden = false;
    return false;
  };
  parser.registerCsiHandler({ final: "r" }, (parameters) => {
    const [top = 1, bottom = 0] = parameters.map(Number);
    const last = bottom < 1 || bottom > terminal.rows ? terminal.rows : bottom;
    const isAll = top <= 1 && last === terminal.rows;
    here().region = isAll ? undefined : { top: Math.max(1, top), bottom: last };
    return false;
  });
  parser.registerCsiHandler({ final: "m" }, (parameters) => {
    if (parameters.length === 0 || parameters[0] === 0 || looks.length >= MAX_LOOKS) looks = [];
    const written = parameters.map((one) => (Array.isArray(one) ? `:${one.join(":")}` : `;${one}`));
    looks.push(`${CSI}${written.join("").slice(1)}m`);
    return false;
  });
  for (const isSet of [true, false])
    parser.registerCsiHandler({ prefix: "?", final: isSet ? "h" : "l" }, (parameters) => {
      if (parameters.includes(25)) isHidden = !isSet;
      if (isSet && (parameters.includes(1049) || parameters.includes(1048))) save();
      return false;
    });
  for (const final of ["0", "A", "B"])
    parser.registerEscHandler({ intermediates: "(", final }, () => {
      charset = final;
      return false;
    });
  parser.registerEscHandler({ final: "7" }, save);
  parser.registerCsiHandler({ final: "s" }, save);
  parser.registerEscHandler({ final: "c" }, reset);
  parser.registerCsiHandler({ intermediates: "!", final: "p" }, reset);
  return {
    ...{ normal, alternate, looks: looked, charset: () => charset, isHidden: () => isHidden },
    resized() {
      normal.region = undefined;
      alternate.region = undefined;
    },
  };
}

function draw(terminal: Terminal, watched: Watched): string {
  const { active, normal } = terminal.buffer;
  let text = drawBuffer(terminal, normal);
  let here = watched.normal;
  if (active.type === "alternate") {
    const before = watched.normal.saved ?? { x: normal.cursorX, y: normal.cursorY, looks: "" };
    text += `${regionText(watched.normal)}${cursorText(before.x, before.y)}${before.looks}`;
    text += `${CSI}?1049h${CSI}0m${drawBuffer(terminal, active)}`;
    here = watched.alternate;
  }
  text += regionText(here);
  const { saved } = here;
  if (saved !== undefined) text += `${cursorText(saved.x, saved.y)}${saved.looks}\u001b7${CSI}0m`;
  if (terminal.modes.originMode) text += `${CSI}?6h`;
  const above = terminal.modes.originMode ? (here.region?.top ?? 1) - 1 : 0;
  text += lastCell(terminal, active, above);
  text += watched.looks();
  if (watched.charset() !== "B") text += `\u001b(${watched.charset()}`;
  return text + modesText(terminal) + (watched.isHidden() ? `${CSI}?25l` : "");
}

function regionText({ region }: Unseen): string {
  return region === undefined ? "" : `${CSI}${region.top};${region.bottom}r`;
}

function cursorText(x: number, y: number): string {
  return `${CSI}${y + 1};${x + 1}H`;
}

/** The cursor; where it waits behind the last column the cell there is written once more, which takes it there. */
function lastCell(terminal: Terminal, buffer: IBuffer, above: number): string {
  const { cursorX, cursorY } = buffer;
  if (cursorX < terminal.cols) return cursorText(cursorX, cursorY - above);
  const line = buffer.getLine(buffer.baseY + cursorY);
  const last = line?.getCell(terminal.cols - 1);
  const isWide = last?.getWidth() === 0;
  const cell = isWide ? line?.getCell(terminal.cols - 2) : last;
  if (cell === undefined) return cursorText(terminal.cols - 1, cursorY - above);
  const column = terminal.cols - (isWide ? 2 : 1);
  return `${cursorText(column, cursorY - above)}${looksOf(cell)}${cell.getChars() || " "}${CSI}0m`;
}

function modesText({ modes }: Terminal): string {
  let text = "";
  for (const [name, sequence] of SHOWN_MODES) if (modes[name]) text += CSI + sequence;
  const mouse = MOUSE[modes.mouseTrackingMode];
  if (mouse !== "") text += CSI + mouse;
  return modes.wraparoundMode ? text : `${text}${CSI}?7l`;
}

/** Every cell that is not blank, on a screen that is; lines that go on in the next one are written so. */
function drawBuffer(terminal: Terminal, buffer: IBuffer): string {
  let text = "";
  let looks = "";
  let combined = 0;
  const spare = buffer.getNullCell();
  for (let row = 0; row < terminal.rows; row++) {
    const line = buffer.getLine(buffer.baseY + row);
    if (line === undefined) continue;
    const goesOn = buffer.getLine(buffer.baseY + row + 1)?.isWrapped === true;
    let last = goesOn ? terminal.cols - 1 : -1;
    for (let column = terminal.cols - 1; column > last; column--) {
      const cell = line.getCell(column, spare);
      if (cell !== undefined && !isBlank(cell)) last = column;
    }
    if (last < 0) continue;
    if (!line.isWrapped || row === 0) text += cursorText(0, row);
    for (let column = 0; column <= last; column++) {
      const cell = line.getCell(column, spare);
      // The second half of a wide character.
      if (cell === undefined || cell.getWidth() === 0) continue;
      const own = looksOf(cell);
      if (own !== looks) text += own;
      looks = own;
      const shown = cell.getChars() || " ";
      combined += shown.length - 1;
      if (combined > MAX_COMBINED) throw new RangeError("the screen is too large");
      text += shown;
    }
  }
  return looks === "" ? text : `${text}${CSI}0m`;
}

function isBlank(cell: IBufferCell): boolean {
  return (cell.getChars() || " ") === " " && cell.isAttributeDefault();
}

/** Everything, from a clean slate. */
function looksOf(cell: IBufferCell): string {
  if (cell.isAttributeDefault()) return `${CSI}0m`;
  const parts = ["0"];
  if (cell.isBold()) parts.push("1");
  if (cell.isDim()) parts.push("2");
  if (cell.isItalic()) parts.push("3");
  if (cell.isUnderline()) parts.push("4");
  if (cell.isBlink()) parts.push("5");
  if (cell.isInverse()) parts.push("7");
  if (cell.isInvisible()) parts.push("8");
  if (cell.isStrikethrough()) parts.push("9");
  if (cell.isOverline()) parts.push("53");
  if (cell.isFgRGB()) parts.push(`38;2;${rgb(cell.getFgColor())}`);
  else if (cell.isFgPalette()) parts.push(paletteText(3, cell.getFgColor()));
  if (cell.isBgRGB()) parts.push(`48;2;${rgb(cell.getBgColor())}`);
  else if (cell.isBgPalette()) parts.push(paletteText(4, cell.getBgColor()));
  return `${CSI}${parts.join(";")}m`;
}

/** `ground`: 3 in front, 4 behind. */
function paletteText(ground: 3 | 4, colour: number): string {
  if (colour < 8) return `${ground}${colour}`;
  return colour < 16 ? `${ground + 6}${colour - 8}` : `${ground}8;5;${colour}`;
}

function rgb(colour: number): string {
  return `${colour >>> 16};${(colour >>> 8) & 0xff};${colour & 0xff}`;
}
