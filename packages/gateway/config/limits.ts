// Every limit and time-out of the gateway, with its default and what it does: the one table from
// which the configuration's `limits`, its types and docs/reference/configuration.md are made.

interface LimitDefinition {
  readonly unit: "duration" | "size" | "count";
  /** Milliseconds, bytes or a number, as `unit` says. */
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly doc: string;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

export const LIMITS = {
  connections: count(1000, 1, 100_000, "Client connections at once, on each listener."),
  sessionsPerDelegation: count(
    100,
    1,
    10_000,
    "Live sessions one delegation may hold, those of its children not counted.",
  ),
  startupTimeout: duration(
    10 * SECOND,
    SECOND,
    5 * MINUTE,
    "From the accepted connection to the end of authentication, TLS included.",
  ),
  targetConnectTimeout: duration(
    10 * SECOND,
    SECOND,
    5 * MINUTE,
    "Connecting and signing in to a target.",
  ),
  sessionMax: duration(12 * HOUR, MINUTE, 7 * DAY, "The longest a session lives."),
  sessionIdle: duration(
    8 * HOUR,
    SECOND,
    7 * DAY,
    "A session that sent no command for this long is ended.",
  ),
  messageBytes: size(64 * MIB, 64 * KIB, GIB, "The longest message a client or a target may send."),
  statementBytes: size(
    MIB,
    KIB,
    64 * MIB,
    "The longest command text that is classified; a longer one is denied.",
  ),
  pipelineMessages: count(
    10_000,
    16,
    1_000_000,
    "Messages of one session that wait for their answer; beyond it the client is not read.",
  ),
  bufferBytes: size(
    MIB,
    64 * KIB,
    256 * MIB,
    "Bytes buffered in one direction of a session before the faster side is made to wait.",
  ),
  matchesPerHour: count(
    600,
    1,
    1_000_000,
    "Comparisons of a class with a constant (`match`) that one person or workload has in an hour, all their chains together; of each worker process.",
  ),
  holdWait: duration(
    5 * MINUTE,
    SECOND,
    HOUR,
    "How long a client waits on the wire for an approval.",
  ),
  holdWaitInTransaction: duration(
    30 * SECOND,
    SECOND,
    HOUR,
    "The same inside an open transaction, whose locks others wait for.",
  ),
  holdRepeat: duration(
    30 * SECOND,
    SECOND,
    HOUR,
    "How often a waiting client is told again that it waits, and for whom.",
  ),
  holdsPerDelegation: count(20, 1, 1000, "Requests of one delegation that wait for people."),
  approvalTtl: duration(
    15 * MINUTE,
    SECOND,
    DAY,
    "How long a request can be approved, and the approval used, where the policy does not say.",
  ),
  delegationDepth: count(8, 1, 32, "The longest chain: hops below the root."),
  delegationFanOut: count(100, 1, 10_000, "Live children of one delegation."),
  delegationTtl: duration(HOUR, MINUTE, 7 * DAY, "A delegation's life where none is asked for."),
  delegationMaxTtl: duration(12 * HOUR, MINUTE, 30 * DAY, "The longest life of a delegation."),
  signInTtl: duration(12 * HOUR, MINUTE, 7 * DAY, "The longest life of a sign-in, a chain's root."),
  clockSkew: duration(
    30 * SECOND,
    0,
    5 * MINUTE,
    "How far an identity provider's clock may be from ours.",
  ),
  providerStale: duration(
    12 * HOUR,
    0,
    7 * DAY,
    "How long an identity provider's known keys are used while it cannot be reached.",
  ),
  recordingResponseBytes: size(
    MIB,
    0,
    GIB,
    "Bytes of one command's answer that are recorded; of the rest, its length and digest.",
  ),
  secretTimeout: duration(
    10 * SECOND,
    SECOND,
    2 * MINUTE,
    "How long a program that gives a secret (`exec:`) may take.",
  ),
  decisionCacheEntries: count(512, 0, 100_000, "Decisions kept of each session."),
  planCacheBytes: size(
    32 * MIB,
    0,
    4 * GIB,
    "Command texts and their plans kept, for each database.",
  ),
  catalogueRefresh: duration(
    MINUTE,
    SECOND,
    DAY,
    "How old a target's catalogue may be before it is read again.",
  ),
  catalogueTimeout: duration(
    2 * MINUTE,
    SECOND,
    30 * MINUTE,
    "Each part of reading a target's catalogue. Sessions whose statements wait for it end when it is over.",
  ),
  apiBodyBytes: size(256 * KIB, KIB, 16 * MIB, "The largest body of a control API request."),
  apiRequestsPerMinute: count(
    1200,
    1,
    1_000_000,
    "Control API requests of one client address; of those for tokens a quarter.",
  ),
  journalSegmentBytes: size(64 * MIB, MIB, 4 * GIB, "Size of a journal segment."),
  journalLag: duration(
    SECOND,
    10,
    MINUTE,
    "How long a flush of the journal may take before plain reads, too, wait for it.",
  ),
  shutdownGrace: duration(
    10 * SECOND,
    0,
    10 * MINUTE,
    "How long running commands may go on once the gateway was told to stop.",
  ),
} as const satisfies Record<string, LimitDefinition>;

export type LimitName = keyof typeof LIMITS;

type Suffixed<Name extends LimitName> = (typeof LIMITS)[Name]["unit"] extends "duration"
  ? `${Name}Ms`
  : Name;

/** Durations in milliseconds (`holdWait` becomes `holdWaitMs`), sizes in bytes, counts as they are. */
export type Limits = { readonly [Name in LimitName as Suffixed<Name>]: number };

/** The limits an empty configuration has. */
export function defaultLimits(): Limits {
  return toLimits({});
}

export function toLimits(given: Readonly<Partial<Record<LimitName, number>>>): Limits {
  const limits: Record<string, number> = {};
  for (const [name, definition] of Object.entries(LIMITS)) {
    const key = definition.unit === "duration" ? `${name}Ms` : name;
    limits[key] = given[name as LimitName] ?? definition.value;
  }
  return limits as Limits;
}

function duration<Value extends number>(value: Value, min: number, max: number, doc: string) {
  return { unit: "duration", value, min, max, doc } as const;
}

function size<Value extends number>(value: Value, min: number, max: number, doc: string) {
  return { unit: "size", value, min, max, doc } as const;
}

function count<Value extends number>(value: Value, min: number, max: number, doc: string) {
  return { unit: "count", value, min, max, doc } as const;
}
