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
  type FileRedirect,
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
  let { moved } = scope;
  const lists = script.lists.map((list) => {
    const decided = decideList(list, { ...scope, moved });
    moved ||= list.pipelines.some(({ commands }) => commands.some(isChange));
    return decided;
  });
  return { lists };
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
  // Where it is not the system's, its name says nothing of what it is.
  const known = done.known && program.name === program.base;
  scope.effects[at] = {
    kind: done.code || !known ? "exec_code" : "exec",
    program: program.name,
    arguments: rest,
    subcommand: done.subcommand,
    options: done.options,
    line: readable([program.name, ...rest]),
    reads: distinct([...done.reads, ...files.reads]),
    writes: distinct([...done.writes, ...files.writes]),
    pathsKnown: done.pathsKnown && files.known && !scope.open,
    known,
    open: scope.open || words.some((word) => isPartOpen(word, scope)),
    ...inheritedOf(scope),
  };
  for (const file of files.each) addRedirection(file, scope);
  return done.words;
}

const DECIDERS: Deciders = { script: decideScript, words: decideWords };

function decideList(list: AndOr, outer: Scope): AndOr {
  let { directory, moved } = outer;
  const pipelines = list.pipelines.map(({ commands }, index) => {
    // Behind || the commands before may or may not have run.
    if (list.operators[index - 1] === "||") directory = undefined;
    const scope = { ...outer, directory, moved, background: outer.background || list.background };
    const [only] = commands;
    const decided = commands.map((command) => decideSimple(command, scope));
    moved ||= commands.some(isChange);
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

/** Linux takes no longer path. */
const MAX_PROGRAM_LENGTH = 4096;

function readProgram(word: string, scope: Scope): Program {
  if (isPartOpen(word, scope))
    throw new CommandRefused("unknown_use", "the program itself would come from the input");
  // Before it is looked into: names are matched in more ways than one.
  if (word.length > MAX_PROGRAM_LENGTH || !PROGRAM.test(word))
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

interface RedirectedFile {
  readonly redirect: FileRedirect;
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  readonly exact: boolean;
}

function readRedirects(redirects: readonly Redirect[], scope: Scope) {
  const each = redirects.flatMap((redirect): RedirectedFile[] => {
    // What goes there is gone, and there is nothing to be had.
    if (redirect.kind !== "file" || redirect.path === "/dev/null") return [];
    const { path, exact } = readPath(redirect.path, scope.directory);
    const paths = path === undefined ? [] : [path];
    return [
      {
        redirect,
        exact,
        reads: redirect.operator.startsWith("<") ? paths : [],
        writes: redirect.operator === "<" ? [] : paths,
      },
    ];
  });
  return {
    each,
    reads: each.flatMap(({ reads }) => reads),
    writes: each.flatMap(({ writes }) => writes),
    known: each.every(({ exact }) => exact),
  };
}

function addRedirection({ redirect, reads, writes, exact }: RedirectedFile, scope: Scope): void {
  if (scope.effects.length >= MAX_COMMANDS)
    throw new CommandRefused("limit", `more than ${MAX_COMMANDS} commands`);
  const { environment: _, ...inherited } = inheritedOf(scope);
  scope.effects.push({
    ...{ ...inherited, kind: "exec", program: redirect.operator === "<" ? "<" : ">" },
    ...{ subcommand: undefined, options: [], arguments: [redirect.path], environment: [] },
    line: `${redirect.operator} ${readable([redirect.path])}`,
    ...{ reads, writes, pathsKnown: exact, known: true, open: false },
  });
}

function distinct(paths: readonly string[]): readonly string[] {
  return [...new Set(paths)];
}

function inheritedOf({ user, host, environment, depth, launchers, background }: Scope) {
  return { user, host, environment, depth, launchers, background };
}

function placeholderEffect(): CommandEffect {
  return {
    ...{ kind: "exec_code", program: "", arguments: [], line: "", user: undefined },
    ...{ subcommand: undefined, options: [] },
    ...{ host: undefined, reads: [], writes: [], pathsKnown: false, known: false, open: true },
    ...{ environment: [], depth: 0, launchers: [], background: false },
  };
}
