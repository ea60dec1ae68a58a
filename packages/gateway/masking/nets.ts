// What sensitive values look like: the patterns that look for them in text nobody classified, in values
// that are there as a whole (detect.ts) and in streams that come in pieces (stream-mask.ts).
//
// They are the project's own, and no text takes more than a few steps a character: what a pattern would look
// for over and over is found by find-values.ts. Operators' patterns would need an engine without backtracking.

import { type Find, findAddress, findCardNumber, findWebToken, tableOf } from "./find-values.ts";

export type DetectionKind = "card-number" | "email" | "provider-key";

export interface Detection {
  readonly class: string;
  readonly kind: DetectionKind;
}

/** For text of one character a byte. */
export interface Net {
  /** Cheap; false for most texts. */
  readonly mayHold: (text: Buffer | string) => boolean;
  /** Whether it finds one at a place depends on one character before and `longest` + 1 from there. */
  readonly find: Find;
  /** No value is longer. */
  readonly longest: number;
  /** For a text that comes in pieces. */
  readonly follow: () => Follower;
}

/** Reads a text from its beginning and knows where a match may have begun that is not over. */
export interface Follower {
  /** The next characters; `at`: where the first of them is in the text. */
  read(codes: Uint8Array, at: number): void;
  /** Matches that begin before are the same whatever follows; undefined: all are. */
  readonly openFrom: number | undefined;
}

export function netsOf(kind: DetectionKind): readonly Net[] {
  return NETS[kind];
}

const CARD: Net = {
  // ISO/IEC 7812: 13 to 19 digits, the last of which checks the others; written with spaces or dashes too.
  mayHold: (text) => text.length >= 13,
  find: findCardNumber,
  longest: 37,
  follow: followNumbers,
};

const EMAIL: Net = {
  mayHold: (text) => text.includes("@"),
  find: findAddress,
  longest: 64 + 1 + 63 + 8 * 64,
  follow: () => followRun(/[A-Za-z0-9._%+@-]/),
};

const WEB_TOKEN: Net = {
  mayHold: (text) => text.includes(".eyJ"),
  find: findWebToken,
  longest: 3 + 4096 + 4 + 8192 + 1 + 2048,
  follow: () => followRun(/[A-Za-z0-9_.-]/),
};

const TOKEN: Net = {
  // AWS, GitHub, GitLab, Slack, Stripe, Google.
  mayHold: (text) => text.length >= 20,
  find: byPattern(
    /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,251}|\bgithub_pat_[A-Za-z0-9_]{60,100}|\bglpat-[A-Za-z0-9_-]{20,64}|\bxox[abeoprs]-[A-Za-z0-9-]{10,250}|\b[rs]k_live_[A-Za-z0-9]{16,250}|\bAIza[A-Za-z0-9_-]{35}/g,
  ),
  longest: 4 + 251,
  follow: () => followRun(/[A-Za-z0-9_.-]/),
};

const PRIVATE_KEY: Net = {
  // RFC 7468, also where its line ends are written as \n.
  mayHold: (text) => text.includes("PRIVATE KEY-----"),
  find: byPattern(/-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]{0,16384}/g),
  longest: 11 + 30 + 16 + 16_384,
  follow: followPrivateKeys,
};

const NETS: Readonly<Record<DetectionKind, readonly Net[]>> = {
  "card-number": [CARD],
  email: [EMAIL],
  "provider-key": [WEB_TOKEN, TOKEN, PRIVATE_KEY],
};

/** Every character of a text is where at most one of them begins, or few. */
function byPattern(pattern: RegExp): Find {
  return (text, from, to) => {
    pattern.lastIndex = from;
    const found = pattern.exec(text);
    if (found === null || found.index >= to) return undefined;
    return { start: found.index, end: found.index + found[0].length, next: found.index + 1 };
  };
}

const DASH = 0x2d;
const SPACE = 0x20;

/** No match goes beyond characters of this kind. */
function followRun(kind: RegExp): Follower {
  const isOf = tableOf(kind);
  let openFrom: number | undefined;
  return {
    read(codes, at) {
      // Only the end of the text counts.
      let from = codes.length;
      while (from > 0 && isOf[codes[from - 1] ?? 0] === 1) from -= 1;
      if (from > 0) openFrom = from === codes.length ? undefined : at + from;
      else if (codes.length > 0) openFrom ??= at;
    },
    get openFrom() {
      return openFrom;
    },
  };
}

/** Digits with no more than one blank or dash between. */
function followNumbers(): Follower {
  let openFrom: number | undefined;
  let isApart = false;
  return {
    read(codes, at) {
      for (let index = 0; index < codes.length; index += 1) {
        const code = codes[index] ?? 0;
        const isDigit = code >= 0x30 && code <= 0x39;
        if (isDigit) openFrom ??= at + index;
        else if (isApart || (code !== SPACE && code !== DASH)) openFrom = undefined;
        isApart = !isDigit;
      }
    },
    get openFrom() {
      return openFrom;
    },
  };
}

const BEGIN = Buffer.from("-----BEGIN ", "latin1");
const DASHES = 5;
const MAX_NAME_LENGTH = 30 + "PRIVATE KEY".length;
const IN_NAME = tableOf(/[A-Z ]/);
const IN_BODY = tableOf(/[A-Za-z0-9+/=\s\\]/);

/** A header that is being read, and a body that goes on: the dashes that end one header may begin another. */
function followPrivateKeys(): Follower {
  let header: number | undefined;
  let body: number | undefined;
  let state: "begin" | "name" | "dashes" = "begin";
  /** Of BEGIN, or of the dashes behind the name. */
  let matched = 0;
  let name = "";
  const restart = (at: number, dashes: number) => {
    state = "begin";
    matched = dashes;
    header = dashes > 0 ? at - dashes + 1 : undefined;
  };
  const begin = (code: number, at: number) => {
    // Of many dashes the last five begin it.
    if (code === DASH && matched === DASHES) restart(at, DASHES);
    else if (code !== BEGIN[matched]) restart(at, code === DASH ? 1 : 0);
    else {
      header ??= at;
      matched += 1;
      if (matched < BEGIN.length) return;
      state = "name";
      name = "";
    }
  };
  const readName = (code: number, at: number) => {
    if (code === DASH && name.endsWith("PRIVATE KEY")) {
      state = "dashes";
      matched = 1;
    } else if (IN_NAME[code] !== 1 || name.length >= MAX_NAME_LENGTH)
      restart(at, code === DASH ? 1 : 0);
    else name += String.fromCharCode(code);
  };
  const endName = (code: number, at: number) => {
    if (code !== DASH) {
      restart(at, 0);
      return;
    }
    matched += 1;
    if (matched < DASHES) return;
    body = header;
    restart(at, DASHES);
  };
  return {
    read(codes, at) {
      for (let index = 0; index < codes.length; index += 1) {
        const code = codes[index] ?? 0;
        if (IN_BODY[code] !== 1) body = undefined;
        if (state === "begin") {
          // Most of a text is none of it.
          if (matched > 0 || code === DASH) begin(code, at + index);
        } else if (state === "name") readName(code, at + index);
        else endName(code, at + index);
      }
    },
    get openFrom() {
      return body ?? header;
    },
  };
}
