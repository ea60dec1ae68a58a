// What PostgreSQL's lexer cannot read in time that grows with the text (src/backend/parser/scan.l): it takes a run
// of operator characters as a whole, gives all of it back but the part it wanted (the beginning of a comment, one
// `+`), and begins anew behind that. 16 KB of `+` take half a second, a megabyte ten minutes.

/** Of operator characters, long enough to be worth a look: `op_chars`. */
const RUNS = /[~!@#^&|`?+\-*/%<>=]{64,}/g;

/** Characters read again: some 50 ms. A line of 4,000 times `+` in a string is still taken. */
const MAX_READ_AGAIN = 20_000_000;

export function isReadAgainAndAgain(text: string): boolean {
  let characters = 0;
  for (const [run] of text.matchAll(RUNS)) {
    characters += run.length * timesGivenBack(run);
    if (characters > MAX_READ_AGAIN) return true;
  }
  return false;
}

/** A `-` is given back in front of a `+` only: two of them begin a comment. */
function timesGivenBack(run: string): number {
  let times = 0;
  for (let at = 0; at < run.length; at++) {
    const code = run.charCodeAt(at);
    if (code === PLUS || (code === SLASH && run.charCodeAt(at + 1) === STAR)) times += 1;
  }
  return times;
}

const PLUS = 0x2b;
const SLASH = 0x2f;
const STAR = 0x2a;
