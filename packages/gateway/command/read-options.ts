// A program's words by its grammar: which are options, which are values and which are operands. As
// getopt_long of the GNU C library reads them (IEEE Std 1003.1, Utility Conventions, section 12.2), but
// exact: no abbreviations, and nothing that is not on the grammar's list.

import type { Grammar, Option, Value } from "./grammar.ts";
import { accept, type Result, refuse, shown } from "./script.ts";

/** A value and where it stands: in word `index`, from `offset` on. */
export interface Placed {
  readonly value: Value;
  readonly text: string;
  readonly index: number;
  readonly offset: number;
}

export interface OptionsRead {
  /** The first names of the options that are there. */
  readonly present: ReadonlySet<string>;
  readonly values: readonly Placed[];
  /** Indices of words. */
  readonly operands: readonly number[];
  /** No word behind these can be an option. */
  readonly ended: boolean;
  /** Options of a lenient grammar that are not listed, as they stand. */
  readonly unlisted: readonly string[];
  /** An option is there that touches paths that are not named. */
  readonly otherPaths: boolean;
}

/** A word that is not known before it runs, wholly or in part (find's and xargs' {}). */
export type IsOpen = (word: string) => "no" | "part" | "start";

/** Reads `words` from `from` on; `stop`: the first operand ends options whatever the grammar says. */
export function readOptions(
  grammar: Grammar,
  words: readonly string[],
  from: number,
  isOpen: IsOpen,
  stop: boolean,
): Result<OptionsRead> {
  const state: State = {
    ...{ grammar, words, at: from, unlisted: [], ended: false, otherPaths: false },
    ...{ present: new Set(), found: [], operands: [] },
  };
  const bundle = grammar.bundle ? readBundle(state, isOpen) : undefined;
  if (bundle !== undefined) return bundle;
  while (state.at < words.length) {
    const word = words[state.at] ?? "";
    if (grammar.shell && (word === "-" || word === "--" || word.startsWith("+")) && !state.ended)
      return unknown(word);
    if (!state.ended && isOpen(word) !== "no" && !grammar.harmless && mayBeOption(word, isOpen))
      return refuse("unknown_use", `${shown(word)} could be another option; put -- before it`);
    if (state.ended || word === "-" || !word.startsWith("-")) {
      state.operands.push(state.at++);
      if (stop || !grammar.permute) state.ended = true;
    } else if (word === "--") {
      state.ended = true;
      state.at++;
    } else {
      const wrong = word.startsWith("--") ? readLong(state, word) : readShort(state, word);
      if (wrong !== undefined) return wrong;
    }
  }
  const { present, operands, ended, unlisted, otherPaths } = state;
  return accept({ present, values: place(state), operands, ended, unlisted, otherPaths });
}

interface State {
  readonly grammar: Grammar;
  readonly words: readonly string[];
  readonly present: Set<string>;
  /** What a value is for can depend on options that come later. */
  readonly found: { option: Option; index: number; offset: number }[];
  readonly operands: number[];
  at: number;
  ended: boolean;
  otherPaths: boolean;
  readonly unlisted: string[];
}

/** Of a word that is not all known: it starts with what is not, or is an option of which a part is not. */
function mayBeOption(word: string, isOpen: IsOpen): boolean {
  return word.startsWith("-") || isOpen(word) === "start";
}

type Wrong = ReturnType<typeof refuse> | undefined;

function unknown(word: string): ReturnType<typeof refuse> {
  return refuse("unknown_use", `the option ${shown(word)} is not among those that are understood`);
}

function readLong(state: State, word: string): Wrong {
  const equals = word.indexOf("=");
  const name = equals === -1 ? word : word.slice(0, equals);
  const option = state.grammar.options.get(name);
  if (option === undefined) return unlisted(state, word);
  if (equals !== -1) {
    if (option.takes === "flag") return refuse("unknown_use", `${name} takes no value`);
    return add(state, option, state.at++, equals + 1);
  }
  if (option.takes === "flag" || option.optional) return flag(state, option);
  return addNext(state, option);
}

/** -abc: flags up to the first that takes a value, which the rest of the word is, or the next word. */
function readShort(state: State, word: string): Wrong {
  // Some programs have long names behind one dash; listed, they are taken as they are.
  const whole = word.length > 2 ? state.grammar.options.get(word) : undefined;
  if (whole !== undefined) {
    if (whole.takes === "flag") return flag(state, whole);
    return addNext(state, whole);
  }
  for (let at = 1; at < word.length; at++) {
    const option = state.grammar.options.get(`-${word[at]}`);
    if (option === undefined) return unlisted(state, word);
    if (option.takes === "flag") {
      state.present.add(option.name);
      state.otherPaths ||= option.otherPaths === "given";
      continue;
    }
    if (at + 1 < word.length) return add(state, option, state.at++, at + 1);
    return option.optional ? flag(state, option) : addNext(state, option);
  }
  state.at++;
  return undefined;
}

/** tar xzf archive: the letters' values are the words behind, in order. */
function readBundle(state: State, isOpen: IsOpen): Wrong {
  const word = state.words[state.at] ?? "";
  if (isOpen(word) !== "no") return unknown(word);
  if (word === "" || word.startsWith("-")) return undefined;
  state.at++;
  for (const letter of word) {
    const option = state.grammar.options.get(`-${letter}`);
    if (option === undefined) return unknown(word);
    if (option.takes === "flag" || option.optional) state.present.add(option.name);
    else {
      if (state.at >= state.words.length) return missing(option);
      const wrong = add(state, option, state.at++, 0);
      if (wrong !== undefined) return wrong;
    }
  }
  return undefined;
}

function unlisted(state: State, word: string): Wrong {
  if (!state.grammar.lenient) return unknown(word);
  state.unlisted.push(word);
  state.at++;
  return undefined;
}

function missing(option: Option): ReturnType<typeof refuse> {
  return refuse("unknown_use", `the option ${option.name} has no value`);
}

function flag(state: State, option: Option): undefined {
  state.at++;
  state.present.add(option.name);
  state.otherPaths ||= option.otherPaths === "given";
  return undefined;
}

function addNext(state: State, option: Option): Wrong {
  if (state.at + 1 >= state.words.length) return missing(option);
  state.at += 2;
  return add(state, option, state.at - 1, 0);
}

function add(state: State, option: Option, index: number, offset: number): Wrong {
  const text = (state.words[index] ?? "").slice(offset);
  if (option.matches !== undefined && !option.matches.test(text))
    return refuse("unknown_use", `the value ${shown(text)} of ${option.name} is not understood`);
  state.present.add(option.name);
  state.found.push({ option, index, offset });
  state.otherPaths ||= option.otherPaths !== undefined;
  return undefined;
}

function place(state: State): Placed[] {
  return state.found.flatMap(({ option, index, offset }) => {
    let value = option.takes;
    for (const [other, instead] of option.with)
      if (state.present.has(other)) {
        value = instead;
        break;
      }
    const text = (state.words[index] ?? "").slice(offset);
    return value === "flag" ? [] : [{ value, text, index, offset }];
  });
}
