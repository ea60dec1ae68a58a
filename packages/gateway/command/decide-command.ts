// The entry: from what a client sent, a line for a shell (SSH exec) or a list of words (Kubernetes exec),
// to its effects for policies and to the exact text that is sent in its place (I1, I2, I4).

import { emit, readable } from "./canonical.ts";
import { decideScript, decideWords } from "./effects.ts";
import type { Grammars } from "./load-grammars.ts";
import { parseLine } from "./parse-line.ts";
import { type CommandEffect, CommandRefused, type Scope } from "./scope.ts";
import {
  MAX_CANONICAL_BYTES,
  MAX_LINE_BYTES,
  MAX_WORDS,
  type Refusal,
  refuse,
  type Script,
} from "./script.ts";
import { readText } from "./text.ts";

export interface DecidedCommand {
  /** What is sent to a shell, as UTF-8, in place of the client's bytes. */
  readonly line: string;
  /** Of a list of words: what is sent in its place. undefined: it was a line. */
  readonly argv: readonly string[] | undefined;
  /** Each must be permitted; at least one. In order, a launcher before what it launches. */
  readonly effects: readonly CommandEffect[];
  /** A part of it may go on when the command has ended. */
  readonly background: boolean;
}

export type CommandReading =
  | { readonly ok: true; readonly command: DecidedCommand }
  | { readonly ok: false; readonly refusal: Refusal };

/** The bytes of an exec request. Never throws GatewayError; a refusal must be a denial. */
export function readLine(line: Uint8Array, grammars: Grammars): CommandReading {
  return reading(() => {
    const parsed = parseLine(line);
    if (!parsed.ok) return parsed;
    const scope = topScope(grammars);
    return decided(decideScript(parsed.value, scope), undefined, scope);
  });
}

/** A command as a list of words, which no shell reads. */
export function readArgv(argv: readonly Uint8Array[], grammars: Grammars): CommandReading {
  return reading(() => {
    if (argv.length === 0) return refuse("syntax", "the command is empty");
    if (argv.length > MAX_WORDS) return refuse("limit", `more than ${MAX_WORDS} words`);
    if (argv.reduce((sum, { length }) => sum + length, 0) > MAX_LINE_BYTES)
      return refuse("limit", `the command is longer than ${MAX_LINE_BYTES} bytes`);
    const words: string[] = [];
    for (const bytes of argv) {
      const word = readText(bytes);
      if (!word.ok) return word;
      words.push(word.value);
    }
    const scope = topScope(grammars);
    const sent = decideWords(words, [], scope);
    const command = { assignments: [], words: sent, redirects: [] };
    const list = { pipelines: [{ commands: [command] }], operators: [], background: false };
    return decided({ lists: [list] }, sent, scope);
  });
}

/**
 * A line as one effect of code, for those who may have a shell do what it likes: the client's own bytes
 * are sent. undefined where they cannot be shown as they are.
 */
export function rawLineEffect(line: Uint8Array): CommandEffect | undefined {
  const text = readText(line);
  if (!text.ok) return undefined;
  return {
    ...{ kind: "exec_code", program: "sh", arguments: ["-c", text.value] },
    ...{ subcommand: undefined, options: [] },
    ...{ line: readable(["sh", "-c", text.value]), user: undefined, host: undefined },
    ...{ reads: [], writes: [], pathsKnown: false, known: true, open: false, environment: [] },
    ...{ depth: 0, launchers: [], background: true },
  };
}

/** The attributes of the resource that an effect is on, as the policy schema has them. */
export function attributesOf(effect: CommandEffect) {
  return {
    program: effect.program,
    line: effect.line,
    arguments: effect.arguments,
    subcommand: effect.subcommand ?? "",
    options: effect.options,
    user: effect.user ?? "",
    host: effect.host ?? "",
    reads: effect.reads,
    writes: effect.writes,
    pathsKnown: effect.pathsKnown,
    known: effect.known,
    open: effect.open,
    environment: effect.environment,
    depth: effect.depth,
    launchers: effect.launchers,
    background: effect.background,
  } satisfies Readonly<Record<string, string | boolean | number | readonly string[]>>;
}

function topScope(grammars: Grammars): Scope {
  return {
    ...{ grammars, depth: 0, launchers: [], user: undefined, host: undefined, environment: [] },
    ...{
      directory: undefined,
      moved: false,
      background: false,
      placeholder: undefined,
      open: false,
    },
    effects: [],
  };
}

function decided(
  script: Script,
  argv: readonly string[] | undefined,
  { effects }: Scope,
): CommandReading {
  const line = emit(script);
  if (Buffer.byteLength(line) > MAX_CANONICAL_BYTES)
    return refuse("limit", "the command is too long once every word is quoted");
  const background = effects.some((effect) => effect.background);
  return { ok: true, command: { line, argv, effects, background } };
}

function reading(read: () => CommandReading): CommandReading {
  try {
    return read();
  } catch (thrown) {
    if (thrown instanceof CommandRefused) return { ok: false, refusal: thrown.refusal };
    throw thrown;
  }
}
