// Sensitive values where nobody expects them: an extra net over text columns without a class, switched on for
// a target (`detect`). What is found is replaced inside the text it stands in. It is a net and no wall: a value
// that is cut, encoded or spelt otherwise goes through it; columns that hold sensitive values want a class.
//
// Patterns have bounded repetitions only, so that no text takes more than linear time, and are the project's
// own; operators' patterns would need an engine without backtracking.

export type DetectionKind = "card-number" | "email" | "provider-key";

export interface Detection {
  readonly class: string;
  readonly kind: DetectionKind;
}

/** The text with what was found replaced; undefined when nothing was. */
export type Detector = (value: Buffer) => Buffer | undefined;

export function createDetector(detections: readonly Detection[]): Detector {
  const nets = detections.map((one) => ({ ...NETS[one.kind], mask: `[masked ${one.class}]` }));
  return (value) => {
    let text: string | undefined;
    for (const { mayHold, pattern, holds, mask } of nets) {
      if (!mayHold(text ?? value)) continue;
      // One character a byte: what is not ASCII stays as it is.
      text ??= value.toString("latin1");
      text = text.replaceAll(pattern, (found) => (holds(found) ? mask : found));
    }
    if (text === undefined) return undefined;
    const replaced = Buffer.from(text, "latin1");
    return replaced.equals(value) ? undefined : replaced;
  };
}

interface Net {
  /** Cheap; false for most values. */
  readonly mayHold: (value: Buffer | string) => boolean;
  readonly pattern: RegExp;
  readonly holds: (found: string) => boolean;
}

const NETS: Readonly<Record<DetectionKind, Net>> = {
  // ISO/IEC 7812: 13 to 19 digits, the last of which checks the others; written with spaces or dashes too.
  "card-number": {
    mayHold: (value) => value.length >= 13,
    pattern: /(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])/g,
    holds: (found) => {
      const digits = found.replaceAll(/[ -]/g, "");
      return !/^(.)\1*$/.test(digits) && isLuhn(digits);
    },
  },
  email: {
    mayHold: (value) => value.includes("@"),
    pattern: /[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}/g,
    holds: () => true,
  },
  // AWS, GitHub, GitLab, Slack, Stripe, Google, private keys in PEM, JSON web tokens.
  "provider-key": {
    mayHold: (value) => value.length >= 20,
    pattern:
      /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,251}|\bgithub_pat_[A-Za-z0-9_]{60,100}|\bglpat-[A-Za-z0-9_-]{20,64}|\bxox[abeoprs]-[A-Za-z0-9-]{10,250}|\b[rs]k_live_[A-Za-z0-9]{16,250}|\bAIza[A-Za-z0-9_-]{35}|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]{0,16384}|\beyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,2048}/g,
    holds: () => true,
  },
};

function isLuhn(digits: string): boolean {
  let sum = 0;
  for (let index = 0; index < digits.length; index++) {
    const digit = Number(digits[digits.length - 1 - index]);
    const doubled = index % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}
