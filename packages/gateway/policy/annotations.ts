// What an operator may say about a policy besides the policy: a closed set of annotations with typed
// values. A misspelt @quorum would otherwise be an approval by one.

/** What the audit keeps of a command and its answer, the strictest first (recording/recorder.ts). */
export const RECORDING_LEVELS = ["full", "commands", "digest"] as const;
export type RecordingLevel = (typeof RECORDING_LEVELS)[number];

/**
 * How far what the client gets may be ahead of the recording on disk (recording/ahead.ts). strict: not at all.
 * bounded: `aheadBytes`; and a session whose recording is not on disk after `aheadMs` is closed.
 */
export type RecordingMode =
  | { readonly mode: "strict" }
  | { readonly mode: "bounded"; readonly aheadMs: number; readonly aheadBytes: number };

/** What `bounded` means where it does not say. */
const DEFAULT_AHEAD_MS = 1000;
const DEFAULT_AHEAD_BYTES = 1 << 20;
/** A flush in good order takes so long with all that is before it. */
const MIN_AHEAD_MS = 10;
const MAX_AHEAD_MS = 3_600_000;
/** No more is on its way to the disk of one session, whatever policies say. */
const MAX_AHEAD_BYTES = DEFAULT_AHEAD_BYTES;

export interface PolicyTerms {
  readonly message: string | undefined;
  readonly quorum: number;
  readonly approvers: readonly string[];
  readonly approvalTtlMs: number;
  readonly justificationRequired: boolean;
  readonly maxRows: number | undefined;
  readonly maxBytes: number | undefined;
  readonly timeoutMs: number | undefined;
  readonly record: RecordingLevel | undefined;
  readonly recordMode: RecordingMode | undefined;
  /** Classes that are looked for in what is answered, and replaced. */
  readonly mask: readonly string[];
  /** Of what is listed only what may be read one by one is shown. */
  readonly filter: boolean;
}

/** Where an annotation means something. */
export type PolicyForm = "permit" | "forbid" | "hold";

export interface AnnotationProblem {
  readonly name: string;
  readonly message: string;
}

const MAX_MESSAGE_LENGTH = 500;
const MAX_QUORUM = 10;
const DEFAULT_APPROVAL_TTL_MS = 15 * 60_000;
const MAX_APPROVAL_TTL_MS = 7 * 86_400_000;
const MAX_TIMEOUT_MS = 86_400_000;

const ID = /^[a-z0-9-]{1,64}$/;
const CLASS = /^[a-z0-9]+([.-][a-z0-9]+)*$/;
const GROUP = /^[^\s,/]+\/[^\s,]+$/;
const MS_PER = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const BYTES_PER = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

interface AnnotationRule {
  readonly expected: string;
  /** Forms of policy it may stand on. */
  readonly on: readonly PolicyForm[];
  /** What goes into the terms; undefined when the value is not what was expected. */
  readonly read: (value: string) => Partial<PolicyTerms> | undefined;
}

const EVERYWHERE: readonly PolicyForm[] = ["permit", "forbid", "hold"];

const RULES: Readonly<Record<string, AnnotationRule>> = {
  id: {
    expected: "1 to 64 of a-z, 0-9 and -",
    on: EVERYWHERE,
    read: (value) => (ID.test(value) ? {} : undefined),
  },
  message: {
    expected: `a sentence of at most ${MAX_MESSAGE_LENGTH} characters, without control characters`,
    on: EVERYWHERE,
    read: (value) => {
      const fits = value !== "" && value.length <= MAX_MESSAGE_LENGTH && !/\p{Cc}/u.test(value);
      return fits ? { message: value } : undefined;
    },
  },
  quorum: {
    expected: `a whole number from 1 to ${MAX_QUORUM}`,
    on: ["hold"],
    read: (value) => bounded(whole(value), MAX_QUORUM, (quorum) => ({ quorum })),
  },
  approvers: {
    expected: "groups by provider, separated by commas: corp/dba, corp/leads",
    on: ["hold"],
    read: (value) => {
      const groups = value.split(",").map((group) => group.trim());
      return groups.every((group) => GROUP.test(group)) ? { approvers: groups } : undefined;
    },
  },
  approval_ttl: {
    expected: "a duration of at most 7d: 15m",
    on: ["hold"],
    read: (value) =>
      bounded(measure(value, MS_PER), MAX_APPROVAL_TTL_MS, (approvalTtlMs) => ({ approvalTtlMs })),
  },
  justification: {
    expected: '"required"',
    on: ["hold"],
    read: (value) => (value === "required" ? { justificationRequired: true } : undefined),
  },
  max_rows: {
    expected: "a whole number of at least 1",
    on: ["permit"],
    read: (value) => bounded(whole(value), Number.MAX_SAFE_INTEGER, (maxRows) => ({ maxRows })),
  },
  max_bytes: {
    expected: "a size: 500000B, 64KiB, 10MiB, 1GiB",
    on: ["permit"],
    read: (value) =>
      bounded(measure(value, BYTES_PER), Number.MAX_SAFE_INTEGER, (maxBytes) => ({ maxBytes })),
  },
  timeout: {
    expected: "a duration of at most 24h: 500ms, 30s, 5m",
    on: ["permit"],
    read: (value) =>
      bounded(measure(value, MS_PER), MAX_TIMEOUT_MS, (timeoutMs) => ({ timeoutMs })),
  },
  record: {
    expected: '"full", "commands" or "digest"',
    on: ["permit"],
    read: (value) => {
      const record = RECORDING_LEVELS.find((level) => level === value);
      return record && { record };
    },
  },
  record_mode: {
    expected: '"strict", or "bounded" with a time from 10ms to 1h, a size of at most 1MiB, or both',
    on: ["permit"],
    read: (value) => {
      const recordMode = modeOf(value);
      return recordMode && { recordMode };
    },
  },
  mask: {
    expected: "classes the target detects, separated by commas: pii.card, secret.key",
    on: ["permit"],
    read: (value) => {
      const mask = value.split(",").map((name) => name.trim());
      return mask.every((name) => CLASS.test(name)) ? { mask } : undefined;
    },
  },
  filter: {
    expected: '"items"',
    on: ["permit"],
    read: (value) => (value === "items" ? { filter: true } : undefined),
  },
};

const PLAIN: PolicyTerms = {
  message: undefined,
  quorum: 1,
  approvers: [],
  approvalTtlMs: DEFAULT_APPROVAL_TTL_MS,
  justificationRequired: false,
  maxRows: undefined,
  maxBytes: undefined,
  timeoutMs: undefined,
  record: undefined,
  recordMode: undefined,
  mask: [],
  filter: false,
};

/** Reads a policy's annotations; every one that does not fit is a problem. */
export function readAnnotations(
  annotations: Readonly<Record<string, string | null>>,
  form: PolicyForm,
): { readonly terms: PolicyTerms; readonly problems: readonly AnnotationProblem[] } {
  let terms = PLAIN;
  const problems: AnnotationProblem[] = [];
  if (annotations.id === undefined) {
    problems.push({ name: "id", message: 'expected an @id("…") before the policy' });
  }
  for (const [name, value] of Object.entries(annotations)) {
    const rule = Object.hasOwn(RULES, name) ? RULES[name] : undefined;
    if (rule === undefined) {
      const known = Object.keys(RULES).map((known) => `@${known}`);
      problems.push({ name, message: `@${name}: unknown; expected one of ${known.join(" ")}` });
      continue;
    }
    if (!rule.on.includes(form)) {
      problems.push({ name, message: `@${name}: ${misplaced(rule.on)}` });
      continue;
    }
    const read = value === null ? undefined : rule.read(value);
    if (read === undefined) {
      problems.push({ name, message: `@${name}: expected ${rule.expected}` });
      continue;
    }
    terms = { ...terms, ...read };
  }
  return { terms, problems };
}

/** Of two modes what keeps both. */
export function strictestMode(
  a: RecordingMode | undefined,
  b: RecordingMode | undefined,
): RecordingMode | undefined {
  if (a === undefined || b?.mode === "strict") return b;
  if (b === undefined || a.mode === "strict") return a;
  return {
    mode: "bounded",
    aheadMs: Math.min(a.aheadMs, b.aheadMs),
    aheadBytes: Math.min(a.aheadBytes, b.aheadBytes),
  };
}

function modeOf(value: string): RecordingMode | undefined {
  if (value === "strict") return { mode: "strict" };
  const parts = /^bounded(?: ([0-9]+(?:ms|s|m|h)))?(?: ([0-9]+(?:B|KiB|MiB)))?$/.exec(value);
  if (parts === null || value === "bounded") return undefined;
  const aheadMs = parts[1] === undefined ? DEFAULT_AHEAD_MS : measure(parts[1], MS_PER);
  const aheadBytes = parts[2] === undefined ? DEFAULT_AHEAD_BYTES : measure(parts[2], BYTES_PER);
  if (aheadMs === undefined || aheadMs < MIN_AHEAD_MS || aheadMs > MAX_AHEAD_MS) return undefined;
  if (aheadBytes === undefined || aheadBytes > MAX_AHEAD_BYTES) return undefined;
  return { mode: "bounded", aheadMs, aheadBytes };
}

function misplaced(on: readonly PolicyForm[]): string {
  return on.includes("hold")
    ? "only on a policy that asks for approval: forbid (…) unless { context.approved };"
    : "only on a permit";
}

function whole(value: string): number | undefined {
  return /^[1-9][0-9]{0,15}$/.test(value) ? Number(value) : undefined;
}

function measure(value: string, units: Readonly<Record<string, number>>): number | undefined {
  const parts = /^([1-9][0-9]{0,12})([A-Za-z]+)$/.exec(value);
  const unit = parts?.[2];
  if (parts === null || unit === undefined || !Object.hasOwn(units, unit)) return undefined;
  return Number(parts[1]) * (units[unit] ?? Number.NaN);
}

function bounded(
  value: number | undefined,
  most: number,
  terms: (value: number) => Partial<PolicyTerms>,
): Partial<PolicyTerms> | undefined {
  return value === undefined || value > most ? undefined : terms(value);
}
