// A script as the text that is sent: each word in single quotes, each descriptor written out, one blank
// between everything. Inside of single quotes no POSIX shell gives a byte a meaning but the quote itself
// (IEEE Std 1003.1, Shell Command Language, section 2.2.2), a quoted word is no keyword (2.4), no alias
// (2.3.1), no assignment (2.9.1) and no descriptor (2.7), so every shell reads what was decided (I4).

import type { AndOr, Redirect, Script, SimpleCommand } from "./script.ts";

/** The text for a shell. Reading it gives an equal script. */
export function emit(script: Script): string {
  return script.lists
    .map(emitList)
    .reduce((before, list, index) =>
      script.lists[index - 1]?.background === true ? `${before} ${list}` : `${before} ; ${list}`,
    );
}

/** A word as it can stand in any shell's line. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * Words for people, policies and grants: quotes only where they are needed, so that
 * `systemctl status nginx` can be matched as it looks. Different words never look the same: what is not
 * quoted has no blank, quote or backslash in it, and between quotes backslash, quote, tab and line break
 * are escaped as in JSON. On one line, without control characters.
 */
export function readable(words: readonly string[]): string {
  return words.map((word) => (READABLE.test(word) ? word : readableQuoted(word))).join(" ");
}

const READABLE = /^[A-Za-z0-9_@%+=:,./^~{}#!-]+$/;

function readableQuoted(word: string): string {
  const escaped = word.replace(/[\\'\t\n]/g, (char) => ESCAPES[char] ?? char);
  return `'${escaped}'`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "'": "\\'",
  "\t": "\\t",
  "\n": "\\n",
};

function emitList(list: AndOr): string {
  const text = list.pipelines
    .map(({ commands }) => commands.map(emitSimple).join(" | "))
    .reduce((before, pipeline, index) => `${before} ${list.operators[index - 1]} ${pipeline}`);
  return list.background ? `${text} &` : text;
}

function emitSimple(command: SimpleCommand): string {
  return [
    ...command.assignments.map(({ name, value }) => `${name}=${quote(value)}`),
    ...command.words.map(quote),
    ...command.redirects.map(emitRedirect),
  ].join(" ");
}

function emitRedirect(redirect: Redirect): string {
  if (redirect.kind === "descriptor")
    return `${redirect.fd}${redirect.operator}${redirect.from ?? "-"}`;
  return `${redirect.fd}${redirect.operator}${quote(redirect.path)}`;
}
