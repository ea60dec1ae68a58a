// What sensitive values look like: the patterns that look for them in text nobody classified, in values
// that are there as a whole (detect.ts) and in streams that come in pieces (stream-mask.ts).
//
// Patterns have bounded repetitions only, so that no text takes more than linear time, and are the
// project's own; operators' patterns would need an engine without backtracking.

export type DetectionKind = "card-number" | "email" | "provider-key";

export interface Detection {
  readonly class: string;
  readonly kind: DetectionKind;
}

/** For text of one character a byte. */
export interface Net {
  /** Cheap; false for most texts. */
  readonly mayHold: (text: Buffer | string) => boolean;
  /** Global. Whether it matches at a place depends on one character before and `longest` + 1 from there. */
  readonly pattern: RegExp;
  /** How much of what the pattern found, from its beginning, is a value; 0: nothing. */
  readonly holds: (found: string) => number;
  /** No match is longer. */
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

const whole = (found: string) => found.length;

const CARD: Net = {
  // ISO/IEC 7812: 13 to 19 digits, the last of which checks the others; written with spaces or dashes too.
  mayHold: (text) => text.length >= 13,
  pattern: /(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])/g,
  holds: (found) => {
    if (isCard(found)) return found.length;
    // Another number may follow it.
    const first = ALONE.exec(found)?.[0];
    return first !== undefined && isCard(first) ? first.length : 0;
  },
  longest: 37,
  follow: followNumbers,
};

/** A card's number at the beginning of more digits: of one piece, or in the groups that are usual. */
const ALONE =
  /^(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{5})(?![0-9])/;

const EMAIL: Net = {
  mayHold: (text) => text.includes("@"),
  pattern: /[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}/g,
  holds: whole,
  longest: 64 + 1 + 63 + 8 * 64,
  follow: () => followRun(/[A-Za-z0-9._%+@-]/),
};

const TOKEN: Net = {
  // AWS, GitHub, GitLab, Slack, Stripe, Google, JSON web tokens.
  mayHold: (text) => text.length >= 20,
  pattern:
    /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,251}|\bgithub_pat_[A-Za-z0-9_]{60,100}|\bglpat-[A-Za-z0-9_-]{20,64}|\bxox[abeoprs]-[A-Za-z0-9-]{10,250}|\b[rs]k_live_[A-Za-z0-9]{16,250}|\bAIza[A-Za-z0-9_-]{35}|\beyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,2048}/g,
  holds: whole,
  longest: 3 + 4096 + 4 + 8192 + 1 + 2048,
  follow: () => followRun(/[A-Za-z0-9_.-]/),
};

const PRIVATE_KEY: Net = {
  // RFC 7468, also where its line ends are written as \n.
  mayHold: (text) => text.includes("PRIVATE KEY-----"),
  pattern: /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]{0,16384}/g,
  holds: whole,
  longest: 11 + 30 + 16 + 16_384,
  follow: followPrivateKeys,
};

const NETS: Readonly<Record<DetectionKind, readonly Net[]>> = {
  "card-number": [CARD],
  email: [EMAIL],
  "provider-key": [TOKEN, PRIVATE_KEY],
};

function isCard(written: string): boolean {
  const digits = written.replaceAll(/[ -]/g, "");
  return !/^(.)\1*$/.test(digits) && isLuhn(digits);
}

function isLuhn(digits: string): boolean {
  let sum = 0;
  for (let index = 0; index < digits.length; index++) {
    const digit = Number(digits[digits.length - 1 - index]);
    const doubled = index % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
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

function tableOf(kind: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) =>
    kind.test(String.fromCharCode(code)) ? 1 : 0,
  );
}
