// From a script to its effects: each program with its words, and each program those run, however deep.
// While it goes down it rewrites lines inside of words (sh -c '…') to their canonical text, so that what
// comes out of `decideScript` is what was decided, at every depth (I4).

import { readable } from "./canonical.ts";
import { interpret } from "./interpret.ts";
import { readPath } from "./paths.ts";
import {
  type CommandEffect,
  CommandRefused,
  checkAssignments,
  type Deciders,
  isPartOpen,
  type Scope,
} from "./scope.ts";
import {
  type AndOr,
  MAX_COMMANDS,
  MAX_NESTING,
  type Redirect,
  type Script,
  type SimpleCommand,
  shown,
} from "./script.ts";

/** The script with its inner lines rewritten. Throws CommandRefused. */
export function decideScript(script: Script, scope: Scope): Script {
  if (scope.depth > MAX_NESTING)
    throw new CommandRefused("limit", `commands are nested more than ${MAX_NESTING} deep`);
  return { lists: script.lists.map((list) => decideList(list, scope)) };
}

/** The words with their inner lines rewritten. Throws CommandRefused. */
export function decideWords(
  words: readonly string[],
  redirects: readonly Redirect[],
  scope: Scope,
): readonly string[] {
  if (scope.depth > MAX_NESTING)
    throw new CommandRefused("limit", `commands are nested more than ${MAX_NESTING} deep`);
  const program = readProgram(words[0] ?? "", scope);
  const at = scope.effects.length;
  if (at >= MAX_COMMANDS) throw new CommandRefused("limit", `more than ${MAX_COMMANDS} commands`);
  // Kept at its place: a launcher comes before what it launches.
  scope.effects.push(placeholderEffect());
  const files = readRedirects(redirects, scope);
  const done = interpret(program.name, program.base, words, scope, DECIDERS);
  const rest = done.words.slice(1);
  scope.effects[at] = {
    kind: done.code ? "exec_code" : "exec",
    program: program.name,
    arguments: rest,
    subcommand: done.subcommand,
    options: done.options,
    line: readable([program.name, ...rest]),
    user: scope.user,
    host: scope.host,
    reads: distinct([...done.reads, ...files.reads]),
    writes: distinct([...done.writes, ...files.writes]),
    pathsKnown: done.pathsKnown && files.known && !scope.open,
    known: done.known,
    open: scope.open || words.some((word) => isPartOpen(word, scope)),
    environment: scope.environment,
    depth: scope.depth,
    launchers: scope.launchers,
    background: scope.background,
  };
  return done.words;
}

const DECIDERS: Deciders = { script: decideScript, words: decideWords };

function decideList(list: AndOr, outer: Scope): AndOr {
  let directory = outer.directory;
  const pipelines = list.pipelines.map(({ commands }, index) => {
    // Behind || the commands before may or may not have run.
    if (list.operators[index - 1] === "||") directory = undefined;
    const scope = { ...outer, directory, background: outer.background || list.background };
    const [only] = commands;
    const decided = commands.map((command) => decideSimple(command, scope));
    if (commands.length === 1 && only !== undefined && isChange(only)) {
      const [, path = "", ...more] = only.words;
      const isNext = list.operators[index] === "&&";
      directory =
        isNext && more.length === 0 && path.startsWith("/")
          ? readPath(path, undefined).path
          : undefined;
    }
    return { commands: decided };
  });
  return { ...list, pipelines };
}

function isChange({ words }: SimpleCommand): boolean {
  return words[0] === "cd";
}

function decideSimple(command: SimpleCommand, outer: Scope): SimpleCommand {
  const environment = checkAssignments(command.assignments, outer);
  const scope = { ...outer, environment: [...outer.environment, ...environment] };
  return { ...command, words: decideWords(command.words, command.redirects, scope) };
}

interface Program {
  /** As policies know it. */
  readonly name: string;
  /** Its last part, by which its grammar is found. */
  readonly base: string;
}

/** A name or a path of what names are made of: not an option, an assignment or a number of words. */
const PROGRAM = /^(\[{1,2}|[\p{L}\p{N}_./@:][\p{L}\p{N}\p{M}_./@:,+~-]*)$/u;

function readProgram(word: string, scope: Scope): Program {
  if (isPartOpen(word, scope))
    throw new CommandRefused("unknown_use", "the program itself would come from the input");
  if (!PROGRAM.test(word))
    throw new CommandRefused("unknown_use", `${shown(word)} is not the name of a program`);
  if (!word.includes("/")) {
    if (scope.grammars.builtins.has(word))
      throw new CommandRefused(
        "builtin",
        `${shown(word)} changes the shell itself, or runs text, and cannot be decided`,
      );
    return { name: word, base: word };
  }
  const { path, exact } = readPath(word, undefined);
  if (path !== word || !exact)
    throw new CommandRefused(
      "unknown_use",
      `${shown(word)}: name a program by its name alone or by its whole path, without . and ..`,
    );
  const slash = word.lastIndexOf("/");
  const base = word.slice(slash + 1);
  return { base, name: scope.grammars.directories.has(word.slice(0, slash)) ? base : word };
}

function readRedirects(redirects: readonly Redirect[], scope: Scope) {
  const reads: string[] = [];
  const writes: string[] = [];
  let known = true;
  for (const one of redirects) {
    if (one.kind !== "file") continue;
    const { path, exact } = readPath(one.path, scope.directory);
    known &&= exact;
    if (path === undefined) continue;
    if (one.operator === "<" || one.operator === "<>") reads.push(path);
    if (one.operator !== "<") writes.push(path);
  }
  return { reads, writes, known };
}

function distinct(paths: readonly string[]): readonly string[] {
  return [...new Set(paths)];
}

function placeholderEffect(): CommandEffect {
  return {
    ...{ kind: "exec_code", program: "", arguments: [], line: "", user: undefined },
    ...{ subcommand: undefined, options: [] },
    ...{ host: undefined, reads: [], writes: [], pathsKnown: false, known: false, open: true },
    ...{ environment: [], depth: 0, launchers: [], background: false },
  };
}
