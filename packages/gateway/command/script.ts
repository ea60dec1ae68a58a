// What a command line is once it was read: simple commands with literal words, in pipelines and lists.
// Nothing in here is left for a shell to expand. Plain data, no state.

/** Why a line is refused; the sentence beside it says where and what would help. */
export type RefusalCode =
  /** A bound on length, words, commands or depth. */
  | "limit"
  /** Not UTF-8, or characters that have no place on a line. */
  | "characters"
  /** A shell would compute it: expansions, substitutions, globs, braces, tildes, here-documents. */
  | "not_literal"
  /** Control structures, functions, subshells, keywords. */
  | "structure"
  /** Quotes or operators that do not fit. */
  | "syntax"
  /** The two readers do not agree. */
  | "disagreement"
  /** A builtin that changes what later words mean, or runs text. */
  | "builtin"
  /** A program that runs programs, used in a way its grammar does not know. */
  | "unknown_use"
  /** A variable that changes what a program does. */
  | "environment";

export interface Refusal {
  readonly code: RefusalCode;
  /** One sentence for the client, without control characters. */
  readonly message: string;
  /** In UTF-16 units of the line, where one place is to blame. */
  readonly offset: number | undefined;
}

export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly refusal: Refusal };

export interface FileRedirect {
  readonly kind: "file";
  /** 0 to 9: more than one digit is a word in dash. */
  readonly fd: number;
  readonly operator: "<" | ">" | ">>" | "<>" | ">|";
  readonly path: string;
}

export interface DescriptorRedirect {
  readonly kind: "descriptor";
  readonly fd: number;
  readonly operator: "<&" | ">&";
  /** undefined closes `fd`. */
  readonly from: number | undefined;
}

export type Redirect = FileRedirect | DescriptorRedirect;

export interface Assignment {
  readonly name: string;
  readonly value: string;
}

/** A program and its words: at least one word, the program, which is not empty. */
export interface SimpleCommand {
  readonly assignments: readonly Assignment[];
  readonly words: readonly string[];
  readonly redirects: readonly Redirect[];
}

export interface Pipeline {
  readonly commands: readonly SimpleCommand[];
}

/** Pipelines joined by && and ||: `operators` has one less than `pipelines`. */
export interface AndOr {
  readonly pipelines: readonly Pipeline[];
  readonly operators: readonly ("&&" | "||")[];
  /** Ended by &. */
  readonly background: boolean;
}

/** At least one list. */
export interface Script {
  readonly lists: readonly AndOr[];
}

export const MAX_LINE_BYTES = 64 * 1024;
export const MAX_WORDS = 1000;
export const MAX_COMMANDS = 100;
export const MAX_NESTING = 8;
/** Linux gives one argument 128 KiB, and the line is one of the login shell's. */
export const MAX_CANONICAL_BYTES = 120 * 1024;

export function accept<T>(value: T): Result<T> {
  return { ok: true, value };
}

export function refuse(
  code: RefusalCode,
  message: string,
  offset?: number,
): { readonly ok: false; readonly refusal: Refusal } {
  return { ok: false, refusal: { code, message, offset } };
}

/** A word for a message: short, quoted, and without what a terminal would act on. */
export function shown(word: string): string {
  const short = word.length > 60 ? `${word.slice(0, 57)}…` : word;
  return JSON.stringify(short).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
}
