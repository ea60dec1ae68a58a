// The strict reader of a line: a small literal sublanguage of the POSIX shell language (IEEE Std 1003.1,
// Shell Command Language, sections 2.2, 2.3, 2.7 and 2.9), written from the standard and not from any
// shell, as a witness against the general parser in unbash-reading.ts. What it does not know it refuses.
//
// Words are made of plain characters, 'single quotes', "double quotes" without $ and `, and \escapes.
// Between them: ; & && || | and redirections with one digit. No newline outside of quotes.

import {
  type AndOr,
  type Assignment,
  accept,
  MAX_COMMANDS,
  MAX_WORDS,
  type Pipeline,
  type Redirect,
  type Refusal,
  type RefusalCode,
  type Result,
  type Script,
  type SimpleCommand,
} from "./script.ts";

export function tokenize(line: string): Result<Script> {
  const reader: Reader = { line, at: 0, words: 0, commands: 0 };
  try {
    return accept(readScript(reader));
  } catch (thrown) {
    if (thrown instanceof Refused) return { ok: false, refusal: thrown.refusal };
    throw thrown;
  }
}

/** Words that start a structure where a command's name is expected; in bash, zsh or ksh at least. */
export const KEYWORDS: ReadonlySet<string> = new Set([
  ...["if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for"],
  ...["in", "select", "function", "time", "coproc", "{", "}", "!", "[[", "]]", "repeat", "foreach"],
  ...["end", "namespace", "nocorrect", "noglob"],
]);

interface Reader {
  readonly line: string;
  at: number;
  words: number;
  commands: number;
}

interface Word {
  readonly value: string;
  readonly start: number;
  /** Nothing of it was quoted or escaped. */
  readonly plain: boolean;
  /** Length of an unquoted `NAME=` at the front; 0 without one. */
  readonly assigns: number;
}

/** Control flow of this file only: `tokenize` turns it into a value. */
class Refused extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

const NAME_ASSIGNED = /^[A-Za-z_][A-Za-z0-9_]*=/;
/** Characters that are themselves wherever they stand outside of quotes. */
const PLAIN = /[A-Za-z0-9_@%+:,./^-]/;

const NOT_LITERAL: Readonly<Record<string, string>> = {
  $: "an expansion or substitution, $…, is not literal",
  "`": "a command substitution, `…`, is not literal",
  "*": "a pattern, *, is not literal; quote it or name the files",
  "?": "a pattern, ?, is not literal; quote it or name the files",
  "[": "a pattern, [, is not literal; quote it",
  "]": "a pattern, ], is not literal; quote it",
  "{": "a brace expansion is not literal; quote it",
  "}": "a brace expansion is not literal; quote it",
  "~": "a home directory, ~, is not literal; name it in full",
  "!": "a history reference, !, is not literal; quote it",
  "=": "a word that starts with = is not literal everywhere; quote it",
};

function readScript(reader: Reader): Script {
  const lists: AndOr[] = [];
  skipBlanks(reader);
  while (reader.at < reader.line.length) {
    const list = readAndOr(reader);
    const ended = peek(reader);
    if (ended === "&" || ended === ";") reader.at++;
    if (ended === ";" && peek(reader) === ";")
      fail(reader, "structure", "the end of a case, ;;, is a control structure");
    lists.push({ ...list, background: ended === "&" });
    skipBlanks(reader);
  }
  if (lists.length === 0) fail(reader, "syntax", "the command is empty");
  return { lists };
}

function readAndOr(reader: Reader): Omit<AndOr, "background"> {
  const pipelines = [readPipeline(reader)];
  const operators: ("&&" | "||")[] = [];
  for (;;) {
    const two = reader.line.slice(reader.at, reader.at + 2);
    if (two !== "&&" && two !== "||") return { pipelines, operators };
    reader.at += 2;
    operators.push(two);
    pipelines.push(readPipeline(reader));
  }
}

function readPipeline(reader: Reader): Pipeline {
  const commands = [readSimple(reader)];
  while (peek(reader) === "|" && reader.line[reader.at + 1] !== "|") {
    if (reader.line[reader.at + 1] === "&")
      fail(reader, "syntax", "|& is not of every shell; use 2>&1 |");
    reader.at++;
    commands.push(readSimple(reader));
  }
  return { commands };
}

function readSimple(reader: Reader): SimpleCommand {
  const assignments: Assignment[] = [];
  const words: string[] = [];
  const redirects: Redirect[] = [];
  if (++reader.commands > MAX_COMMANDS)
    fail(reader, "limit", `more than ${MAX_COMMANDS} commands on one line`);
  for (skipBlanks(reader); !atEndOfSimple(reader); skipBlanks(reader)) {
    if (++reader.words > MAX_WORDS) fail(reader, "limit", `more than ${MAX_WORDS} words`);
    const redirect = readRedirect(reader);
    if (redirect !== undefined) {
      redirects.push(redirect);
      continue;
    }
    const word = readWord(reader, words.length > 0);
    if (words.length > 0) words.push(word.value);
    else if (word.assigns > 0)
      assignments.push({
        name: word.value.slice(0, word.assigns - 1),
        value: word.value.slice(word.assigns),
      });
    else words.push(programOf(reader, word));
  }
  if (words.length === 0) failEmpty(reader, assignments.length + redirects.length > 0);
  return { assignments, words, redirects };
}

function programOf(reader: Reader, word: Word): string {
  if (word.plain && KEYWORDS.has(word.value))
    fail(reader, "structure", `${word.value} is a keyword of the shell`, word.start);
  if (word.value === "") fail(reader, "syntax", "the name of a program is empty", word.start);
  return word.value;
}

function failEmpty(reader: Reader, hasOther: boolean): never {
  if (peek(reader) === "(" || peek(reader) === ")")
    fail(reader, "structure", "a subshell or function, ( ), is a control structure");
  if (hasOther)
    fail(reader, "structure", "assignments or redirections without a program change the shell");
  return fail(reader, "syntax", "a command is missing");
}

/** Also at ( ), which no rule takes: the caller then finds something it does not know. */
function atEndOfSimple(reader: Reader): boolean {
  const next = peek(reader);
  if (next === "(" || next === ")")
    fail(reader, "structure", "a subshell or function, ( ), is a control structure");
  if (next === "&" && reader.line[reader.at + 1] === ">")
    fail(reader, "syntax", "&> is not of every shell; use > file 2>&1");
  return next === undefined || next === ";" || next === "&" || next === "|";
}

function readRedirect(reader: Reader): Redirect | undefined {
  const found = /^([0-9]*)(<<|<>|<&|<|>>|>\||>&|>)/.exec(
    reader.line.slice(reader.at, reader.at + 12),
  );
  if (found === null) return undefined;
  const [all, digits = "", operator = ""] = found;
  if (operator === "<<")
    fail(
      reader,
      "not_literal",
      "here-documents and here-strings are not literal; use standard input",
    );
  if (digits.length > 1)
    fail(reader, "syntax", "a descriptor of more than one digit is a word in some shells");
  reader.at += all.length;
  if (peek(reader) === "(") fail(reader, "not_literal", "a process substitution is not literal");
  const fd = digits === "" ? (operator.startsWith("<") ? 0 : 1) : Number(digits);
  if (operator === "<&" || operator === ">&") return readDescriptor(reader, fd, operator);
  skipBlanks(reader);
  if (atEndOfSimple(reader) || "<>".includes(peek(reader) ?? ""))
    fail(reader, "syntax", "a redirection has no file");
  const word = readWord(reader, true);
  if (word.value === "") fail(reader, "syntax", "a redirection has an empty file", word.start);
  return {
    kind: "file",
    fd,
    operator: operator as "<" | ">" | ">>" | "<>" | ">|",
    path: word.value,
  };
}

function readDescriptor(reader: Reader, fd: number, operator: "<&" | ">&"): Redirect {
  const found = /^([0-9]|-)(?=$|[ \t;&|<>)])/.exec(reader.line.slice(reader.at, reader.at + 2));
  if (found === null)
    return fail(reader, "syntax", `${operator} takes one digit or -; to a file, use > file 2>&1`);
  reader.at += 1;
  return {
    kind: "descriptor",
    fd,
    operator,
    from: found[1] === "-" ? undefined : Number(found[1]),
  };
}

function readWord(reader: Reader, isArgument: boolean): Word {
  const start = reader.at;
  const whole = wholeWord(reader);
  // [ and ] as words of their own are the test program; ! is its negation, and find's.
  if (isArgument && (whole === "!" || whole === "!=" || whole === "[" || whole === "]"))
    return { value: whole, start, plain: true, assigns: advance(reader, whole) };
  if (whole === "[") return { value: whole, start, plain: true, assigns: advance(reader, whole) };
  let value = "";
  let plain = true;
  let literal = "";
  while (!atEndOfWord(reader)) {
    const char = peek(reader) as string;
    if (char === "'") {
      value += readSingle(reader);
      plain = false;
    } else if (char === '"') {
      value += readDouble(reader);
      plain = false;
    } else if (char === "\\") {
      value += readEscape(reader);
      plain = false;
    } else {
      const taken = readPlain(reader, start);
      value += taken;
      if (plain) literal += taken;
    }
  }
  return { value, start, plain, assigns: NAME_ASSIGNED.exec(literal)?.[0].length ?? 0 };
}

function advance(reader: Reader, text: string): 0 {
  reader.at += text.length;
  return 0;
}

/** The characters up to the next blank or operator, whatever they are. */
function wholeWord(reader: Reader): string {
  return /^[^ \t\n;&|<>()]*/.exec(reader.line.slice(reader.at, reader.at + 3))?.[0] ?? "";
}

function atEndOfWord(reader: Reader): boolean {
  const next = peek(reader);
  if (next === "(" || next === ")")
    fail(reader, "structure", "a subshell, function or pattern, ( ), is not literal");
  return next === undefined || " \t;&|<>".includes(next);
}

function readPlain(reader: Reader, start: number): string {
  const char = String.fromCodePoint(reader.line.codePointAt(reader.at) ?? 0);
  const before = reader.line[reader.at - 1] ?? " ";
  const isFirst = reader.at === start;
  if (char === "\n") return fail(reader, "syntax", "a line break outside of quotes; use ;");
  if (char === "#" && isFirst)
    return fail(reader, "syntax", "a comment, #, has no place in a command");
  const isLiteral =
    PLAIN.test(char) ||
    char === "#" ||
    (char === "=" && !isFirst) ||
    (char === "~" && !isFirst && before !== "=" && before !== ":");
  if (isLiteral) return take(reader, char);
  // {} is what find and xargs put a name for; no shell makes anything of it.
  if (char === "{" && reader.line[reader.at + 1] === "}" && reader.line[reader.at + 2] !== "}")
    return take(reader, "{}");
  const why = NOT_LITERAL[char];
  if (why !== undefined) return fail(reader, "not_literal", why);
  if (/\p{Z}/u.test(char))
    return fail(reader, "characters", "a character that looks like a space is not one; quote it");
  if (/^[ -~]$/.test(char)) return fail(reader, "syntax", `${char} has no place here; quote it`);
  return take(reader, char);
}

function readSingle(reader: Reader): string {
  const end = reader.line.indexOf("'", reader.at + 1);
  if (end === -1) return fail(reader, "syntax", "a single quote is not closed");
  const value = reader.line.slice(reader.at + 1, end);
  reader.at = end + 1;
  return value;
}

/** Section 2.2.3: a backslash escapes $ ` " \ and stays otherwise. */
function readDouble(reader: Reader): string {
  const opened = reader.at++;
  let value = "";
  for (;;) {
    const char = peek(reader);
    if (char === undefined) return fail(reader, "syntax", "a double quote is not closed", opened);
    if (char === '"') {
      reader.at++;
      return value;
    }
    if (char === "$" || char === "`") return fail(reader, "not_literal", NOT_LITERAL[char] ?? "");
    if (char !== "\\") {
      value += take(reader, char);
      continue;
    }
    const next = reader.line[reader.at + 1];
    if (next === "\n")
      return fail(reader, "syntax", "a line continuation has no place in a command");
    if (next !== undefined && '$`"\\'.includes(next)) {
      value += next;
      reader.at += 2;
    } else value += take(reader, char);
  }
}

/** Section 2.2.1. */
function readEscape(reader: Reader): string {
  const code = reader.line.codePointAt(reader.at + 1);
  if (code === undefined) return fail(reader, "syntax", "a backslash at the end of the line");
  const char = String.fromCodePoint(code);
  if (char === "\n") return fail(reader, "syntax", "a line continuation has no place in a command");
  reader.at += 1;
  return take(reader, char);
}

function take(reader: Reader, text: string): string {
  reader.at += text.length;
  return text;
}

function peek(reader: Reader): string | undefined {
  return reader.line[reader.at];
}

function skipBlanks(reader: Reader): void {
  while (peek(reader) === " " || peek(reader) === "\t") reader.at++;
}

function fail(reader: Reader, code: RefusalCode, message: string, at: number = reader.at): never {
  throw new Refused({ code, message, offset: at });
}
