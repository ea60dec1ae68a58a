// A command line of a client's: what it does, and the bytes the host is given for it. What was read word
// by word goes on as the canonical text of exactly these words (I4). A line that only the host's shell
// can read goes on as it is, for whoever may run code that nobody has read, and for nobody else.

import type { Denial, Operation } from "../../access/operation.ts";
import { rawLineEffect, readLine } from "../../command/decide-command.ts";
import { type Judge, unknown } from "./judge.ts";
import { commandOperation, rawOperation } from "./operations.ts";
import type { RelayContext } from "./relay-context.ts";

export interface ReadCommand {
  readonly operation: Operation | Denial;
  /** What the host gets. */
  readonly line: Buffer;
  /** For replay: each simple command's words, or the line as a whole. */
  readonly argv: readonly string[];
}

const MAX_WORDS_SHOWN = 256;

export function readExec(
  context: Pick<RelayContext, "grammars" | "shell" | "site"> & {
    readonly judge: Pick<Judge, "mayBe">;
  },
  bytes: Buffer,
): ReadCommand {
  const { grammars, judge, shell, site } = context;
  const reading = readLine(bytes, grammars);
  let why: string;
  if (!reading.ok) why = reading.refusal.message;
  else if (reading.command.background) why = "what is started with & would outlive the session";
  else if (shell === undefined) why = "the login shell of this account is not declared";
  else
    return {
      operation: commandOperation(site, reading.command),
      line: Buffer.from(reading.command.line, "utf8"),
      argv: wordsOf(reading.command.effects),
    };
  const raw = rawLineEffect(bytes);
  const argv = [bytes.toString("utf8")];
  if (raw !== undefined) {
    const operation = rawOperation(site, raw);
    if (judge.mayBe(operation)) return { operation, line: bytes, argv };
  }
  return { operation: unknown("exec on a command line", why), line: bytes, argv };
}

/** Of a line typed into a shell: why it would not run as a command; undefined: it would, or is not read. */
export function whyNotExec(
  { grammars, judge, site }: Pick<RelayContext, "grammars" | "judge" | "site">,
  line: string,
): string | undefined {
  const reading = readLine(Buffer.from(line, "utf8"), grammars);
  if (!reading.ok) return undefined;
  const operation = commandOperation(site, reading.command);
  if (judge.permits(operation)) return undefined;
  return `Custody would not run this as a command: ${operation.summary}`;
}

function wordsOf(
  effects: readonly { readonly program: string; readonly arguments: readonly string[] }[],
): readonly string[] {
  const [first] = effects;
  if (first === undefined) return [];
  return [first.program, ...first.arguments].slice(0, MAX_WORDS_SHOWN);
}
