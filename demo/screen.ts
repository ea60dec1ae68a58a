// What the demo prints: one step after the other, in plain words, at most 96 columns, colours only on a
// terminal that wants them (NO_COLOR is honoured).

import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

export interface Screen {
  title(text: string): void;
  /** Something about the stage: PostgreSQL is up, the gateway listens. */
  fact(label: string, text: string): void;
  step(number: number, title: string): void;
  /** A command or statement as it was given, and by whom. */
  asked(who: string, text: string): void;
  /** What came back, line by line. */
  answer(text: string): void;
  why(text: string): void;
  verdict(passed: boolean, text: string): void;
  /** The closing table. */
  table(rows: readonly TableRow[]): void;
  /** Text as it is. */
  plain(text: string): void;
}

export interface TableRow {
  readonly number: number;
  readonly title: string;
  readonly passed: boolean;
  readonly ms: number;
}

const WIDTH = 96;
const INDENT = "      ";
/** Wide enough for the longest name of who acts. */
const LABEL = 13;
const MAX_ANSWER_LINES = 14;

/** A screen on a stream; colours when it is a terminal. */
export function openScreen(out: NodeJS.WriteStream = process.stdout): Screen {
  const paint = (style: Style, text: string) => styleText(style, text, { stream: out });
  const line = (text = "") => out.write(`${text}\n`);
  const block = (label: string, style: Style, text: string, textStyle?: Style) => {
    const room = WIDTH - INDENT.length - LABEL - 1;
    wrap(text, room).forEach((part, index) => {
      const head = index === 0 ? paint(style, label.padEnd(LABEL)) : " ".repeat(LABEL);
      line(`${INDENT}${head} ${textStyle === undefined ? part : paint(textStyle, part)}`);
    });
  };
  return {
    title: (text) => line(`\n${paint("bold", text)}\n`),
    fact: (label, text) => line(`  ${paint("dim", label.padEnd(18))} ${text}`),
    step: (number, title) =>
      line(`\n${paint("cyan", `${number}`.padStart(3))}   ${paint("bold", title)}`),
    asked: (who, text) => block(who, "cyan", text, "cyan"),
    answer: (text) => {
      const lines = text.replace(/\s+$/, "").split("\n");
      const shown = lines.slice(0, MAX_ANSWER_LINES);
      if (lines.length > shown.length) shown.push(`… ${lines.length - shown.length} lines more`);
      block("answer", "dim", shown.join("\n"));
    },
    why: (text) => block("why", "dim", text, "dim"),
    verdict: (passed, text) =>
      block(passed ? "ok" : "FAILED", passed ? "green" : ["red", "bold"], text),
    table: (rows) => {
      line();
      for (const { number, title, passed, ms } of rows) {
        const mark = passed ? paint("green", "pass") : paint(["red", "bold"], "FAIL");
        const time = `${(ms / 1000).toFixed(1)} s`.padStart(7);
        line(`  ${mark}  ${`${number}`.padStart(2)}  ${title.padEnd(76)} ${paint("dim", time)}`);
      }
    },
    plain: (text) => line(text),
  };
}

/** Breaks at spaces; keeps the line breaks and the indentation that are there. */
function wrap(text: string, width: number): string[] {
  return text.split("\n").flatMap((line) => {
    const margin = /^\s*/.exec(line)?.[0].slice(0, width / 2) ?? "";
    const parts: string[] = [];
    let rest = line;
    while (rest.length > width) {
      const space = rest.lastIndexOf(" ", width);
      const cut = space > margin.length ? space : width;
      parts.push(rest.slice(0, cut));
      rest = `${margin}${rest.slice(cut).trimStart()}`;
    }
    return [...parts, rest];
  });
}
