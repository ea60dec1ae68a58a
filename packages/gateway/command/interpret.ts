// One program and its words by its grammar: what it reads and writes, whether it runs code, and the
// commands it starts, which are decided in turn. What the grammar does not know is refused.

import { emit } from "./canonical.ts";
import type { Grammar, Operand, Tail, Value } from "./grammar.ts";
import { parseNestedLine } from "./parse-line.ts";
import { readPath } from "./paths.ts";
import { type OptionsRead, type Placed, readOptions } from "./read-options.ts";
import {
  CommandRefused,
  checkAssignments,
  type Deciders,
  isPartOpen,
  type Scope,
} from "./scope.ts";
import { type Result, shown } from "./script.ts";
import { onlyEdits } from "./sed-script.ts";

export interface Interpreted {
  /** With inner lines rewritten. */
  readonly words: readonly string[];
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  readonly pathsKnown: boolean;
  readonly code: boolean;
  readonly known: boolean;
  readonly subcommand: string | undefined;
  readonly options: readonly string[];
}

/** Throws CommandRefused. `name`: as policies know the program; `base`: its grammar's name. */
export function interpret(
  name: string,
  base: string,
  words: readonly string[],
  scope: Scope,
  deciders: Deciders,
): Interpreted {
  const work: Work = {
    ...{
      name,
      deciders,
      words: [...words],
      scope,
      reads: [],
      writes: [],
      pathsKnown: true,
      code: false,
    },
    ...{ user: undefined, host: undefined, directory: scope.directory, environment: [] },
    ...{ subcommand: undefined, options: new Set() },
    ...{ placeholder: undefined, moved: false, userNamed: false, removes: false },
  };
  const grammar = grammarOf(base, scope);
  if (grammar === undefined) work.pathsKnown = false;
  else readUse(grammar, work, 1);
  return {
    ...{ words: work.words, reads: work.reads, writes: work.writes, code: work.code },
    // A grammar of its kind tells what it may not be; only its own tells what it is.
    ...{ pathsKnown: work.pathsKnown, known: scope.grammars.programs.has(base) },
    ...{ subcommand: work.subcommand, options: [...work.options] },
  };
}

/** python3.11 is python3, and vim.tiny is vim: what is another version is of the same kind. */
function grammarOf(base: string, { grammars }: Scope): Grammar | undefined {
  const { programs } = grammars;
  const unversioned = base.slice(0, endOfName(base));
  return (
    programs.get(base) ??
    programs.get(unversioned) ??
    programs.get(base.replace(/\.[a-z0-9-]+$/, "")) ??
    programs.get(unversioned.replace(/\.[a-z0-9-]+$/, ""))
  );
}

/** Where a version at the end begins: numbers with one dot or dash before each. */
function endOfName(base: string): number {
  let end = base.length;
  for (let at = base.length; ; ) {
    const digits = at;
    while (at > 0 && isDigit(base, at - 1)) at--;
    if (at === digits) return end;
    end = at;
    if (at === 0 || (base[at - 1] !== "." && base[at - 1] !== "-")) return end;
    at--;
    end = at;
  }
}

function isDigit(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 0x30 && code <= 0x39;
}

interface Work {
  readonly name: string;
  readonly deciders: Deciders;
  readonly words: string[];
  readonly scope: Scope;
  readonly reads: string[];
  readonly writes: string[];
  readonly options: Set<string>;
  subcommand: string | undefined;
  pathsKnown: boolean;
  code: boolean;
  /** For the commands it starts. */
  user: string | undefined;
  userNamed: boolean;
  host: string | undefined;
  directory: string | undefined;
  /** `directory` is not the one it was started in. */
  moved: boolean;
  environment: readonly string[];
  placeholder: Scope["placeholder"];
  /** Of find: what is below its operands is removed. */
  removes: boolean;
}

function refused(work: Work, why: string): CommandRefused {
  return new CommandRefused("unknown_use", `${work.name}: ${why}`);
}

function taken<T>(work: Work, result: Result<T>): T {
  if (result.ok) return result.value;
  const { code, message } = result.refusal;
  throw new CommandRefused(code, `${work.name}: ${message}`);
}

function readUse(grammar: Grammar, work: Work, from: number): void {
  const rest = work.words.slice(from);
  const isKnown = !work.scope.open && !rest.some((word) => isPartOpen(word, work.scope));
  if (isKnown && grammar.exactly.some((one) => sameWords(one, rest))) return;
  const [word = ""] = rest;
  const first = isPartOpen(word, work.scope) ? undefined : grammar.first?.get(word);
  if (grammar.user !== undefined) work.user = grammar.user;
  if (grammar.otherPaths && first === undefined) work.pathsKnown = false;
  if (first !== undefined) {
    work.subcommand = word;
    readUse(first, work, from + 1);
  } else if (grammar.opaque) becomeCode(work);
  else if (grammar.test) readTest(work, from);
  else if (grammar.assignments !== undefined) readAssigned(grammar.assignments, work, from);
  else if (grammar.expression !== undefined) readExpression(grammar, work, from);
  else readOptionsAndOperands(grammar, work, from);
}

function readOptionsAndOperands(grammar: Grammar, work: Work, from: number): void {
  const stop = grammar.subcommands !== undefined;
  const read = taken(work, readOptions(grammar, work.words, from, openness(work), stop));
  if (read.unlisted.length > 0 || read.otherPaths) work.pathsKnown = false;
  for (const name of [...read.present, ...read.unlisted]) work.options.add(name);
  const together = grammar.apart.find((names) => names.every((name) => read.present.has(name)));
  if (together !== undefined)
    throw refused(work, `${together.join(" and ")} are not understood beside each other`);
  for (const one of read.values)
    if (one.value !== "line") readValue(one, work, work.scope.directory);
  if (grammar.heedsFolder && (work.moved || work.scope.moved)) becomeCode(work);
  if (grammar.subcommands !== undefined) readSubcommand(grammar, read, work);
  else {
    checkOpen(grammar, read, work);
    readOperands(operandsOf(grammar, read), read.operands, grammar, work);
  }
  // Last, for what the options say of who and where.
  for (const one of read.values) if (one.value === "line") readValue(one, work, undefined);
}

/** Words of the input may follow only where they cannot be options. */
function checkOpen(grammar: Grammar, read: OptionsRead, work: Work): void {
  if (work.scope.open && !grammar.harmless && !read.ended)
    throw refused(work, "words of the input would be options; put -- at the end");
}

function readSubcommand(grammar: Grammar, read: OptionsRead, work: Work): void {
  const [index] = read.operands;
  const name = index === undefined ? undefined : (work.words[index] ?? "");
  if (name === undefined ? work.scope.open : isPartOpen(name, work.scope))
    throw refused(work, "what it does would come from the input");
  const sub = name === undefined ? undefined : grammar.subcommands?.get(name);
  work.subcommand = name;
  if (sub !== undefined) readUse(sub, work, (index ?? 0) + 1);
  else if (grammar.otherwise === "opaque") becomeCode(work);
  else if (name !== undefined)
    throw refused(work, `${shown(name)} is not among the uses that are understood`);
}

function operandsOf(grammar: Grammar, read: OptionsRead): readonly Operand[] {
  return (
    grammar.when.find(({ has }) => has.every((name) => read.present.has(name)))?.operands ??
    grammar.operands
  );
}

interface Spec {
  readonly what: Value | Tail;
  readonly many: boolean;
  readonly optional: boolean;
}

function specOf(operand: Operand): Spec {
  const many = operand.endsWith("...");
  const optional = operand.endsWith("?");
  return { what: operand.replace(/\.\.\.$|\?$/, "") as Value | Tail, many, optional };
}

/** Gives each operand its use: those before the repeated one from the front, those after from the back. */
function readOperands(
  operands: readonly Operand[],
  indices: readonly number[],
  grammar: Grammar,
  work: Work,
): void {
  const specs = operands.map(specOf);
  let left = [...indices];
  for (const [at, spec] of specs.entries()) {
    if (spec.what === "command" || spec.what === "line-words") {
      if (left.length > 0) startTail(spec.what, left[0] ?? 0, grammar, work);
      else missingTail(spec, work);
      return;
    }
    let count = Math.min(1, left.length);
    if (spec.many && spec.what === "assignment") count = leadingAssignments(left, work);
    else if (spec.many)
      count = Math.max(0, left.length - specs.slice(at + 1).filter((one) => !one.optional).length);
    else if (count === 0) missingOperand(spec, grammar, work);
    for (const index of left.slice(0, count)) readOperand(spec.what, index, work);
    left = left.slice(count);
  }
  if (left.length > 0 && grammar.harmless) work.pathsKnown = false;
  else if (left.length > 0)
    throw refused(work, `${shown(work.words[left[0] ?? 0] ?? "")} is an operand too many`);
  if (work.scope.open && !grammar.harmless && specs.at(-1)?.many !== true)
    throw refused(work, "words of the input have no place here");
}

function missingOperand(spec: Spec, grammar: Grammar, work: Work): void {
  // Without a script or line it reads one from its input.
  if (spec.what === "code" || spec.what === "line") becomeCode(work);
  else if (!spec.optional && !work.scope.open && !grammar.harmless)
    throw refused(work, "an operand is missing");
}

function leadingAssignments(indices: readonly number[], work: Work): number {
  const at = indices.findIndex((index) => !(work.words[index] ?? "").includes("="));
  return at === -1 ? indices.length : at;
}

function readOperand(value: Value, index: number, work: Work): void {
  readValue({ value, text: work.words[index] ?? "", index, offset: 0 }, work, work.directory);
}

/** Without its command: a line that is missing is a shell that reads its input. */
function missingTail(spec: Spec, work: Work): void {
  if (work.scope.open) throw refused(work, "the command would come from the input");
  if (!spec.optional) throw refused(work, "a command is missing");
  if (spec.what === "line-words") becomeCode(work);
}

function startTail(tail: Tail, index: number, grammar: Grammar, work: Work): void {
  if (tail === "line-words") {
    if (work.scope.open) throw refused(work, "words of the input would be read by a shell");
    const line = decideLine(work.words.slice(index).join(" "), work);
    work.words.splice(index, work.words.length - index, line);
    return;
  }
  const appends = grammar.appends && work.placeholder === undefined;
  const words = work.words.slice(index);
  const scope = { ...innerScope(work), open: work.scope.open || appends };
  work.words.splice(index, words.length, ...work.deciders.words(words, [], scope));
}

function innerScope(work: Work): Scope {
  const { scope } = work;
  return {
    ...scope,
    depth: scope.depth + 1,
    launchers: [...scope.launchers, work.name],
    user: work.user ?? scope.user,
    host: work.host ?? scope.host,
    environment: [...scope.environment, ...work.environment],
    // Another host or user starts where nobody here knows.
    directory: work.host === undefined ? work.directory : undefined,
    placeholder: work.placeholder ?? scope.placeholder,
    open: false,
    moved: scope.moved || work.moved,
  };
}

function decideLine(line: string, work: Work): string {
  if (isPartOpen(line, work.scope))
    throw refused(work, "words of the input would be read by a shell");
  // A login shell of somebody else starts in their home.
  const directory = work.user === undefined ? work.directory : undefined;
  const inner = { ...innerScope(work), directory, placeholder: undefined };
  return emit(work.deciders.script(taken(work, parseNestedLine(line)), inner));
}

function becomeCode(work: Work): void {
  work.code = true;
  work.pathsKnown = false;
}

/** `directory`: what its paths start from; a change of directory is for operands and what is started. */
function readValue(placed: Placed, work: Work, directory: string | undefined): void {
  const { value, text } = placed;
  const isOpen = isPartOpen(text, work.scope);
  if (value === "text") return;
  if (value === "code") becomeCode(work);
  else if (value === "sed") {
    if (isOpen || !onlyEdits(text)) becomeCode(work);
  } else if (value === "at") {
    if (text.startsWith("@") || isOpen) addPath("read", text.slice(1), isOpen, work, directory);
  } else if (value === "read" || value === "write" || value === "readwrite")
    addPath(value, text, isOpen, work, directory);
  else if (isOpen) throw refused(work, `words of the input cannot be its ${value}`);
  else if (value === "line") {
    const word = work.words[placed.index] ?? "";
    work.words[placed.index] = word.slice(0, placed.offset) + decideLine(text, work);
  } else if (value === "chdir") {
    // A second one is relative to the first for some programs and for some operands only.
    work.directory = work.moved ? undefined : readPath(text, directory).path;
    work.moved = true;
    if (directory !== undefined || text.startsWith("/"))
      addPath("read", text, false, work, directory);
  } else if (value === "copy") readCopy(text, work, directory);
  else readName(value, text, work);
}

/** scp and rsync: a colon before the first slash makes it a path of another host. */
function readCopy(text: string, work: Work, directory: string | undefined): void {
  if (!/^[^/]*:/.test(text)) addPath("readwrite", text, false, work, directory);
  else if (!/^[A-Za-z0-9[][A-Za-z0-9_.@:[\]/~+,=%-]*$/.test(text) || text.includes("::"))
    throw refused(work, `${shown(text)} would be read by another host's shell`);
  else work.pathsKnown = false;
}

const FORMS = {
  name: { form: /^[^/\s-][^/\s]*$/, of: "a plain name" },
  remote: {
    form: /^(?!.*::)((https?|ssh|git):\/\/[A-Za-z0-9][^\s]*|[A-Za-z0-9][A-Za-z0-9._/@:-]*|\/[^\s:]*)$/,
    of: "a repository",
  },
  // su - is a login.
  user: { form: /^(-|[A-Za-z_][A-Za-z0-9_.-]*)$/, of: "a user" },
  host: { form: /^[A-Za-z0-9][A-Za-z0-9_.:@-]*$/, of: "a host" },
  url: { form: /^https?:\/\/[^\s/?#]/i, of: "an http address" },
  assignment: { form: /^[^=]+=/, of: "NAME=value" },
  placeholder: { form: /^./s, of: "a placeholder" },
} as const;

function readName(value: keyof typeof FORMS, text: string, work: Work): void {
  const { form, of } = FORMS[value];
  if (!form.test(text)) throw refused(work, `${shown(text)} is not ${of}`);
  if (value === "user") setUser(text, work);
  if (value === "host") work.host = text;
  if (value === "placeholder") setPlaceholder({ text, path: false }, work);
  if (value === "assignment") assign(text, work);
}

function setUser(text: string, work: Work): void {
  if (text === "-") return;
  if (work.userNamed) throw refused(work, "more than one user");
  work.userNamed = true;
  work.user = text;
}

/** One inside of another would be replaced twice, by things that are not alike. */
function setPlaceholder(placeholder: Scope["placeholder"], work: Work): void {
  if (work.scope.placeholder !== undefined)
    throw refused(work, "a placeholder within what already has one");
  work.placeholder = placeholder;
}

function assign(text: string, work: Work): void {
  const equals = text.indexOf("=");
  const assignment = { name: text.slice(0, equals), value: text.slice(equals + 1) };
  work.environment = [...work.environment, ...checkAssignments([assignment], work.scope)];
}

function addPath(
  value: "read" | "write" | "readwrite",
  text: string,
  isOpen: boolean,
  work: Work,
  directory: string | undefined,
): void {
  if (text === "-") return;
  const { path, exact } = readPath(text, directory);
  if (!exact || isOpen) work.pathsKnown = false;
  if (path === undefined || isOpen) return;
  if (value !== "write") work.reads.push(path);
  if (value !== "read") work.writes.push(path);
}

function readAssigned(known: Readonly<Record<string, Value>>, work: Work, from: number): void {
  if (work.scope.open) throw refused(work, "words of the input have no place here");
  for (const [at, word] of work.words.slice(from).entries()) {
    const equals = word.indexOf("=");
    const value = equals < 1 ? undefined : known[word.slice(0, equals)];
    if (isPartOpen(word, work.scope)) throw refused(work, "words of the input have no place here");
    if (value === undefined || !Object.hasOwn(known, word.slice(0, equals)))
      throw refused(work, `${shown(word)} is not among the operands that are understood`);
    const [index, offset] = [from + at, equals + 1];
    readValue({ value, text: word.slice(offset), index, offset }, work, work.directory);
  }
}

/**
 * test and [: bash computes what -v and -R name, and other shells compute numbers (a[$(…)] is one to
 * them), so neither may be anything else.
 */
function readTest(work: Work, from: number): void {
  if (work.scope.open) throw refused(work, "words of the input have no place here");
  const words = work.words.slice(from);
  for (const [index, word] of words.entries()) {
    if (word === "-v" || word === "-R") throw refused(work, `${word} is computed by the shell`);
    if (/^-(eq|ne|lt|le|gt|ge)$/.test(word))
      for (const side of [words[index - 1], words[index + 1]])
        if (side === undefined || !/^[+-]?[0-9]+$/.test(side) || isPartOpen(side, work.scope))
          throw refused(work, `${word} takes numbers only`);
    if (word === "-t" && !/^([0-9]+|\])?$/.test(words[index + 1] ?? ""))
      throw refused(work, `${word} takes a number only`);
    if (/^-[a-hkprsuwxzGLNOS]$/.test(word) && index + 1 < words.length)
      readOperand("read", from + index + 1, work);
  }
}

/** find: operands up to the first word that starts with - or is one of ( ) ! , and then the expression. */
function readExpression(grammar: Grammar, work: Work, from: number): void {
  if (work.scope.open) throw refused(work, "words of the input have no place here");
  let at = from;
  while (grammar.options.get(work.words[at] ?? "")?.takes === "flag") at++;
  const roots: number[] = [];
  while (at < work.words.length && !/^(-.*|[()!,])$/s.test(work.words[at] ?? "")) roots.push(at++);
  for (const index of roots) {
    if (openness(work)(work.words[index] ?? "") === "start")
      throw refused(work, "words of the input would be its expression");
    readOperand("read", index, work);
  }
  if (roots.length === 0) addPath("read", ".", false, work, work.directory);
  while (at < work.words.length) at = readClause(grammar, at, roots, work);
}

function readClause(grammar: Grammar, at: number, roots: readonly number[], work: Work): number {
  const name = work.words[at] ?? "";
  if (isPartOpen(name, work.scope))
    throw refused(work, "words of the input would be its expression");
  const clause = Object.hasOwn(grammar.expression ?? {}, name)
    ? grammar.expression?.[name]
    : undefined;
  if (clause === undefined) throw refused(work, `${shown(name)} is not among what is understood`);
  work.options.add(name);
  let next = at + 1;
  for (const part of clause) {
    if (part === "removes") {
      // However often it is said: roots and clauses together would be as many as their product.
      if (!work.removes) readRemoved(roots, work);
      work.removes = true;
    } else if (part === "command;") {
      // -execdir starts it in the folder of what was found.
      if (name.endsWith("dir")) work.moved = true;
      next = readClauseCommand(next, work);
    } else if (next >= work.words.length) throw refused(work, `${name} has no value`);
    else readOperand(part, next++, work);
  }
  return next;
}

function readRemoved(roots: readonly number[], work: Work): void {
  for (const index of roots) readOperand("write", index, work);
  if (roots.length === 0) addPath("write", ".", false, work, work.directory);
}

/** Up to ; or {} +. What stands between is a command with {} for a path that starts as an operand does. */
function readClauseCommand(from: number, work: Work): number {
  const rest = work.words.slice(from);
  const end = rest.findIndex(
    (word, index) => word === ";" || (word === "+" && rest[index - 1] === "{}"),
  );
  const words = rest.slice(0, end);
  if (end < 1 || words.includes("+")) throw refused(work, "a command has no end that all agree on");
  setPlaceholder({ text: "{}", path: true }, work);
  const scope = innerScope(work);
  const decided = work.deciders.words(words, [], scope);
  work.words.splice(from, words.length, ...decided);
  return from + decided.length + 1;
}

function openness(work: Work) {
  const { placeholder } = work.scope;
  return (word: string): "no" | "part" | "start" => {
    if (placeholder === undefined || !word.includes(placeholder.text)) return "no";
    return !placeholder.path && word.startsWith(placeholder.text) ? "start" : "part";
  };
}

function sameWords(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((word, index) => word === other[index]);
}
