// Where in a text the values of nets.ts are whose patterns an engine with backtracking would look for from
// every character anew: a text of `eyJ-eyJ-…` or of `1 1 1 …` would hold up everybody. Each is looked for from
// what no text has much of (a dot, an "@", a digit after none), and no character is looked at more often than
// a few times, whatever the text.
//
// Owns no state. Each says its pattern; masking/find-values.test.ts holds it to that.

/** `next`: one that is not inside of this one begins there or behind. */
export interface Place {
  readonly start: number;
  readonly end: number;
  readonly next: number;
}

/** The first in `text`, of one character a byte, that begins at `from` or behind and before `to`. */
export type Find = (text: string, from: number, to: number) => Place | undefined;

/** `\beyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,2048}`: RFC 7519. */
export const findWebToken: Find = (text, from, to) => {
  for (let dot = text.indexOf(".eyJ", from); dot >= 0; dot = text.indexOf(".eyJ", dot + 1)) {
    // The nearest that it can begin: those before are further away than a header is long.
    const nearest = Math.max(from, dot - BEGIN_LENGTH - MAX_HEADER);
    if (nearest >= to) return undefined;
    const start = headerBefore(text, nearest, dot);
    if (start === undefined) continue;
    const second = endOfRun(text, dot + 1, BEGIN_LENGTH + MAX_PAYLOAD, IN_TOKEN);
    const payload = second - dot - 1 - BEGIN_LENGTH;
    if (payload < MIN_PART || text.charCodeAt(second) !== DOT) continue;
    const end = endOfRun(text, second + 1, MAX_SIGNATURE, IN_TOKEN);
    if (end - second - 1 < MIN_PART) continue;
    return start < to ? { start, end, next: dot + 1 } : undefined;
  }
  return undefined;
};

/** `[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}` */
export const findAddress: Find = (text, from, to) => {
  for (let at = text.indexOf("@", from); at >= 0; at = text.indexOf("@", at + 1)) {
    const nearest = Math.max(from, at - MAX_LOCAL);
    if (nearest >= to) return undefined;
    const start = beginOfRun(text, at, nearest, IN_LOCAL);
    if (start === at) continue;
    const end = endOfDomain(text, at + 1);
    if (end === undefined) continue;
    return start < to ? { start, end, next: at + 1 } : undefined;
  }
  return undefined;
};

/**
 * `(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])`, as many digits as can be, whose last one checks the others;
 * or what of that is written in one piece or in the groups that are usual, where another number follows it.
 */
export const findCardNumber: Find = (text, from, to) => {
  for (let start = from; start < to && start <= text.length - MIN_DIGITS; start += 1) {
    if (!isDigit(text, start) || isDigit(text, start - 1)) continue;
    const end = endOfCard(text, start);
    if (end !== undefined) return { start, end, next: start + 1 };
  }
  return undefined;
};

const BEGIN_LENGTH = "eyJ".length;
const MIN_PART = 8;
const MAX_HEADER = 4096;
const MAX_PAYLOAD = 8192;
const MAX_SIGNATURE = 2048;
const MAX_LOCAL = 64;
const MAX_LABEL = 63;
const MAX_LABELS = 8;
const MIN_DIGITS = 13;
const MAX_DIGITS = 19;
const DOT = 0x2e;
const DASH = 0x2d;
const SPACE = 0x20;
const IN_TOKEN = tableOf(/[A-Za-z0-9_-]/);
const IN_LOCAL = tableOf(/[A-Za-z0-9._%+-]/);
const IN_LABEL = tableOf(/[A-Za-z0-9-]/);
const IN_WORD = tableOf(/\w/);

/** The first `eyJ` of a word of its own from which on nothing but a header stands before the dot. */
function headerBefore(text: string, nearest: number, dot: number): number | undefined {
  const run = beginOfRun(text, dot, nearest, IN_TOKEN);
  const last = dot - MIN_PART - BEGIN_LENGTH;
  for (let at = text.indexOf("eyJ", run); at >= 0 && at <= last; at = text.indexOf("eyJ", at + 1))
    if (!isIn(IN_WORD, text, at - 1)) return at;
  return undefined;
}

/** undefined: no domain of more than one label. */
function endOfDomain(text: string, from: number): number | undefined {
  let end = endOfRun(text, from, MAX_LABEL, IN_LABEL);
  if (end === from) return undefined;
  for (let labels = 0; labels < MAX_LABELS; labels += 1) {
    const next = text.charCodeAt(end) === DOT ? endOfRun(text, end + 1, MAX_LABEL, IN_LABEL) : 0;
    if (next <= end + 1) return labels === 0 ? undefined : end;
    end = next;
  }
  return end;
}

/** Of the text at hand, and used at once. */
const digits = new Uint8Array(MAX_DIGITS);

function endOfCard(text: string, start: number): number | undefined {
  let count = 0;
  /** Behind the last digit that may be the last. */
  let end: number | undefined;
  let atEnd = 0;
  for (let at = start; count < MAX_DIGITS; at += 1) {
    if (!isDigit(text, at)) {
      const code = text.charCodeAt(at);
      const isApart = (code === SPACE || code === DASH) && isDigit(text, at + 1);
      if (!isApart) break;
      at += 1;
    }
    digits[count] = text.charCodeAt(at) & 0x0f;
    count += 1;
    if (count >= MIN_DIGITS && !isDigit(text, at + 1)) {
      end = at + 1;
      atEnd = count;
    }
  }
  if (end === undefined || isCard(atEnd)) return end;
  const alone = ALONE.exec(text.slice(start, end))?.[0].length;
  if (alone === undefined) return undefined;
  return isCard(digitsIn(text, start, start + alone)) ? start + alone : undefined;
}

/** A card's number at the beginning of more digits: of one piece, or in the groups that are usual. */
const ALONE =
  /^(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{5})(?![0-9])/;

function digitsIn(text: string, from: number, to: number): number {
  let count = 0;
  for (let at = from; at < to; at += 1) if (isDigit(text, at)) count += 1;
  return count;
}

/** Of the first so many digits: not all the same, and the last one checks (ISO/IEC 7812-1, annex B). */
function isCard(count: number): boolean {
  let sum = 0;
  let isSame = true;
  for (let index = 0; index < count; index += 1) {
    const digit = digits[count - 1 - index] ?? 0;
    isSame &&= digit === digits[0];
    const doubled = index % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return !isSame && sum % 10 === 0;
}

function isDigit(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 0x30 && code <= 0x39;
}

function isIn(table: Uint8Array, text: string, at: number): boolean {
  return at >= 0 && at < text.length && table[text.charCodeAt(at)] === 1;
}

function endOfRun(text: string, from: number, most: number, table: Uint8Array): number {
  let at = from;
  while (at < from + most && isIn(table, text, at)) at += 1;
  return at;
}

function beginOfRun(text: string, end: number, least: number, table: Uint8Array): number {
  let at = end;
  while (at > least && isIn(table, text, at - 1)) at -= 1;
  return at;
}

/** By the code of a character: 1 for those of this kind. */
export function tableOf(kind: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) =>
    kind.test(String.fromCharCode(code)) ? 1 : 0,
  );
}
