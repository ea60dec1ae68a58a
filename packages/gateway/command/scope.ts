// What a command inherits from what it is in, and what comes out for each: shared by effects.ts, which
// goes from command to command, and interpret.ts, which goes into one program's words.

import type { Grammars } from "./load-grammars.ts";
import {
  type Assignment,
  type Redirect,
  type Refusal,
  type RefusalCode,
  refuse,
  type Script,
  shown,
} from "./script.ts";

/**
 * One program that runs, or one redirection to or from a file, which is an effect of its own with `>` or
 * `<` as its program: what permits a program does not permit where its output goes. `exec_code`: it runs
 * what nobody here reads (an interpreter, an editor, a shell without a line) or is a program without a
 * grammar, so a permit for programs does not cover it.
 */
export interface CommandEffect {
  readonly kind: "exec" | "exec_code";
  /** `systemctl`; the whole path where it is named by one outside of the system's directories. */
  readonly program: string;
  /** In order, without the program. */
  readonly arguments: readonly string[];
  /** What a program of many uses does: `restart` of systemctl, `log` of git. */
  readonly subcommand: string | undefined;
  /**
   * Options by the first name their grammar has for them, so that rm -fr, rm -r -f and rm --recursive
   * --force are all -r and -f. Without a grammar there are none.
   */
  readonly options: readonly string[];
  /** `systemctl status nginx`; canonical.ts `readable`. */
  readonly line: string;
  /** Who runs it, where a launcher says so; undefined: the account. */
  readonly user: string | undefined;
  /** Where it runs, below ssh, as it was named; undefined: the target. */
  readonly host: string | undefined;
  /** Absolute, without . and doubled slashes; a directory stands for what is below it. */
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** False where `reads` and `writes` say too little. */
  readonly pathsKnown: boolean;
  /** There is a grammar for the program. */
  readonly known: boolean;
  /** Further words come from the input when it runs (xargs). */
  readonly open: boolean;
  /** `NAME=value`, set for it. */
  readonly environment: readonly string[];
  /** 0: on the line itself. */
  readonly depth: number;
  /** Programs that lead to it, outermost first. */
  readonly launchers: readonly string[];
  /** It may go on when the command has ended. */
  readonly background: boolean;
}

/** What a command inherits from what it is in. */
export interface Scope {
  readonly grammars: Grammars;
  readonly depth: number;
  readonly launchers: readonly string[];
  readonly user: string | undefined;
  readonly host: string | undefined;
  readonly environment: readonly string[];
  /** Absolute; undefined: not known. */
  readonly directory: string | undefined;
  /** The line chose the folder this runs in. */
  readonly moved: boolean;
  readonly background: boolean;
  /** What stands for words of the input; `path`: only paths below an operand, so never an option. */
  readonly placeholder: { readonly text: string; readonly path: boolean } | undefined;
  /** Words of the input are put behind the command. */
  readonly open: boolean;
  /** Collects; its length is bounded. */
  readonly effects: CommandEffect[];
}

/** Control flow below decide-command.ts, which turns it into a value. */
export class CommandRefused extends Error {
  readonly refusal: Refusal;
  constructor(code: RefusalCode, message: string) {
    super(message);
    this.refusal = refuse(code, message).refusal;
  }
}

/** How interpret.ts goes down again; given to it, since the two call each other. */
export interface Deciders {
  readonly script: (script: Script, scope: Scope) => Script;
  readonly words: (
    words: readonly string[],
    redirects: readonly Redirect[],
    scope: Scope,
  ) => readonly string[];
}

/** Whether a word has in it what stands for words of the input. */
export function isPartOpen(word: string, scope: Scope): boolean {
  return scope.placeholder !== undefined && word.includes(scope.placeholder.text);
}

/** The variables a command is started with, each allowed by name and value. */
export function checkAssignments(
  assignments: readonly Assignment[],
  scope: Scope,
): readonly string[] {
  return assignments.map(({ name, value }) => {
    const form = scope.grammars.environment.get(name);
    if (form === undefined)
      throw new CommandRefused(
        "environment",
        `the variable ${shown(name)} is not among those a command may set`,
      );
    if (!form.test(value) || isPartOpen(value, scope))
      throw new CommandRefused(
        "environment",
        `the variable ${name} may not be set to ${shown(value)}`,
      );
    return `${name}=${value}`;
  });
}
