// One event of the log: who, through which chain, did what, and what was decided. Small (aim at 500
// bytes, at most 65,535: the entry length of C2SP tlog-tiles is 16 bits). No SQL text, no parameter,
// no response and no person's name: those are in the encrypted content, which can be erased while the
// log stays whole. Serialised as JSON with the keys in the order of this interface.
//
// An entry of the log is exactly what `encodeLeaf` gives: `decodeLeaf` refuses every other spelling of
// the same value, unknown keys and unknown versions, so that no two readers can see two things.

export interface LeafHop {
  /** Delegation id. */
  readonly d: string;
  /** `<provider>/<stable subject id>`; agents: the delegation id. */
  readonly s: string;
  readonly k: "user" | "workload" | "agent";
  readonly p: "attested" | "possession" | "bearer" | "asserted";
}

export const LEAF_EVENTS = [
  "gateway.started",
  "gateway.stopped",
  /** First and last record of a shard of the log, by the log itself (log-shard.ts). */
  "log.opened",
  "log.closed",
  "configuration.loaded",
  "configuration.refused",
  "delegation.created",
  "delegation.refused",
  "delegation.renewed",
  "delegation.revoked",
  /** An SSH client's key was certified for a delegation; `detail.key` is its fingerprint. */
  "certificate.issued",
  "session.opened",
  "session.refused",
  "session.closed",
  /** Somebody watches or takes part in a shell of the session; `chain` is theirs, `detail.mode` how. */
  "session.joined",
  "session.left",
  /** A statement was sent to be prepared; running it is an intent of its own. */
  "command.prepared",
  "command.intent",
  "command.denied",
  "command.outcome",
  "command.indeterminate",
  "hold.requested",
  "hold.voted",
  "hold.vote_refused",
  "hold.ended",
  "recording.read",
  /** It was not on disk in the time that policies give it; `session` was closed. */
  "recording.behind",
  /** `session`, or all of `detail.subject`. */
  "recording.erased",
  "audit.read",
  /** A bundle was given to somebody; `detail.digest` is that of its parts (bundle.ts). */
  "evidence.exported",
] as const;

export type LeafEvent = (typeof LEAF_EVENTS)[number];

export interface Leaf {
  readonly v: 1;
  readonly event: LeafEvent;
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
  /** The worker whose journal this came from, and the place in it, from 1 without gaps. */
  readonly worker: number;
  readonly seq: number;
  readonly session?: string;
  /** `r-…`: one command. */
  readonly request?: string;
  readonly target?: string;
  readonly account?: string;
  /** Root first. */
  readonly chain?: readonly LeafHop[];
  /** `sql:delete orders/shop/public/orders`, one an effect, at most 32, then "+N". */
  readonly effects?: readonly string[];
  readonly decision?: "permit" | "deny" | "hold" | "approved";
  /** @ids of the policies that decided. */
  readonly policies?: readonly string[];
  readonly policyVersion?: string;
  /** SHA-256, base64url, of the exact command bytes; of the bound parameters. */
  readonly command?: string;
  readonly parameters?: string;
  /** Classes masked in the answer. */
  readonly masked?: readonly string[];
  /** How it ended: `ok`, an SQLSTATE, `cancelled`, `skipped`, `indeterminate`, … */
  readonly outcome?: string;
  readonly rows?: number;
  readonly bytes?: number;
  /** Anything an event needs besides; small, no personal data, no secret. */
  readonly detail?: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}

export const MAX_LEAF_BYTES = 65_535;

/**
 * What a writer gives; the journal adds version, time, worker and place. Members may be undefined: those
 * whose leaves are many give all of them, so that their objects are of one shape.
 */
export type LeafFields = Pick<Leaf, "event"> & {
  readonly [Member in Exclude<keyof Leaf, "v" | "event" | "at" | "worker" | "seq">]?:
    | Leaf[Member]
    | undefined;
};

export class LeafError extends Error {
  override readonly name = "LeafError";
}

/** The leaf as JSON text. Arrays are remembered by identity: a session's leaves share them. */
export function leafText(fields: LeafFields, at: number, worker: number, seq: number): string {
  const { event, session, request, command, parameters, masked, outcome, rows, bytes } = fields;
  let text = `{"v":1,"event":"${event}","at":${at},"worker":${worker},"seq":${seq}`;
  if (session !== undefined) text += `,"session":${quote(session)}`;
  if (request !== undefined) text += `,"request":${quote(request)}`;
  text += circumstances(fields);
  if (command !== undefined) text += `,"command":${quote(command)}`;
  if (parameters !== undefined) text += `,"parameters":${quote(parameters)}`;
  if (masked !== undefined) text += `,"masked":${stringsText(masked)}`;
  if (outcome !== undefined) text += `,"outcome":${quote(outcome)}`;
  if (rows !== undefined) text += `,"rows":${rows}`;
  if (bytes !== undefined) text += `,"bytes":${bytes}`;
  if (fields.detail !== undefined) text += `,"detail":${JSON.stringify(fields.detail)}`;
  return `${text}}`;
}

/** The bytes of the log's entry. Throws LeafError when they are too many. */
export function encodeLeaf(leaf: Leaf): Uint8Array {
  const bytes = new TextEncoder().encode(leafText(leaf, leaf.at, leaf.worker, leaf.seq));
  if (bytes.length > MAX_LEAF_BYTES) throw new LeafError(`leaf of ${bytes.length} bytes`);
  return bytes;
}

/** Throws LeafError, with what was wrong, for everything `encodeLeaf` would not have written. */
export function decodeLeaf(bytes: Uint8Array): Leaf {
  if (bytes.length > MAX_LEAF_BYTES) throw new LeafError(`leaf of ${bytes.length} bytes`);
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw new LeafError("not JSON in UTF-8");
  }
  if (!isRecord(value)) throw new LeafError("not an object");
  for (const [key, member] of Object.entries(value)) {
    const check = Object.hasOwn(MEMBERS, key) ? MEMBERS[key as keyof Leaf] : undefined;
    if (check === undefined) throw new LeafError(`unknown key "${key.slice(0, 64)}"`);
    if (!check(member)) throw new LeafError(`"${key}" is not what it must be`);
  }
  for (const key of REQUIRED) {
    if (!Object.hasOwn(value, key)) throw new LeafError(`"${key}" is missing`);
  }
  const leaf = value as unknown as Leaf;
  if (leafText(leaf, leaf.at, leaf.worker, leaf.seq) !== text) {
    throw new LeafError("not in the canonical form");
  }
  return leaf;
}

/** `command.intent r-7f3k`: how messages name a record. Works on altered bytes too. */
export function summarizeLeaf(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes.subarray(0, 4096));
  const event = /"event":"([a-z_.]{1,40})"/.exec(text)?.[1];
  if (event === undefined) return "unreadable";
  const id = /"request":"([ -~]{1,40}?)"/.exec(text) ?? /"session":"([ -~]{1,40}?)"/.exec(text);
  return id?.[1] === undefined ? event : `${event} ${id[1]}`;
}

const REQUIRED = ["v", "event", "at", "worker", "seq"] as const;
const HOP_KINDS = new Set<unknown>(["user", "workload", "agent"]);
const PROVENANCES = new Set<unknown>(["attested", "possession", "bearer", "asserted"]);
const DECISIONS = new Set<unknown>(["permit", "deny", "hold", "approved"]);
const EVENTS = new Set<unknown>(LEAF_EVENTS);

type Check = (value: unknown) => boolean;
const isString: Check = (value) => typeof value === "string";
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isStrings: Check = (value) => Array.isArray(value) && value.every(isString);
const isDetail: Check = (value) =>
  isRecord(value) &&
  Object.values(value).every(
    (member) =>
      isString(member) ||
      typeof member === "boolean" ||
      (typeof member === "number" && Number.isFinite(member)) ||
      isStrings(member),
  );
const isHop: Check = (value) =>
  isRecord(value) &&
  Object.keys(value).join() === "d,s,k,p" &&
  isString(value.d) &&
  isString(value.s) &&
  HOP_KINDS.has(value.k) &&
  PROVENANCES.has(value.p);

const MEMBERS: Readonly<Record<keyof Leaf, Check>> = {
  v: (value) => value === 1,
  event: (value) => EVENTS.has(value),
  at: isCount,
  worker: isCount,
  seq: (value) => isCount(value) && value !== 0,
  session: isString,
  request: isString,
  target: isString,
  account: isString,
  chain: (value) => Array.isArray(value) && value.length > 0 && value.every(isHop),
  effects: isStrings,
  decision: (value) => DECISIONS.has(value),
  policies: isStrings,
  policyVersion: isString,
  command: isString,
  parameters: isString,
  masked: isStrings,
  outcome: isString,
  rows: isCount,
  bytes: isCount,
  detail: isDetail,
};

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON of a string; printable ASCII without quote or backslash, which is nearly all, in one pass. */
function quote(value: string): string {
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if (code < 0x20 || code > 0x7e || code === 0x22 || code === 0x5c) return JSON.stringify(value);
  }
  return `"${value}"`;
}

// A session's chain and an operation's effects are the same objects in every leaf about them, and mostly
// what was decided too: written out once, as one flat string.
interface Circumstances {
  readonly target: Leaf["target"] | undefined;
  readonly account: Leaf["account"] | undefined;
  readonly decision: Leaf["decision"] | undefined;
  readonly policies: Leaf["policies"] | undefined;
  readonly policyVersion: Leaf["policyVersion"] | undefined;
  readonly text: string;
}
const known = new WeakMap<object, WeakMap<object, Circumstances>>();

/** From `target` to `policyVersion`. */
function circumstances(fields: LeafFields): string {
  const { target, account, chain, effects, decision, policies, policyVersion } = fields;
  if (chain === undefined || effects === undefined) return circumstancesText(fields);
  let byEffects = known.get(chain);
  if (byEffects === undefined) {
    byEffects = new WeakMap();
    known.set(chain, byEffects);
  }
  const last = byEffects.get(effects);
  if (
    last !== undefined &&
    last.target === target &&
    last.account === account &&
    last.decision === decision &&
    last.policies === policies &&
    last.policyVersion === policyVersion
  )
    return last.text;
  const text = circumstancesText(fields);
  byEffects.set(effects, { target, account, decision, policies, policyVersion, text });
  return text;
}

function circumstancesText(fields: LeafFields): string {
  const { target, account, chain, effects, decision, policies, policyVersion } = fields;
  const parts: string[] = [];
  if (target !== undefined) parts.push(',"target":', quote(target));
  if (account !== undefined) parts.push(',"account":', quote(account));
  if (chain !== undefined) parts.push(',"chain":', chainText(chain));
  if (effects !== undefined) parts.push(',"effects":', stringsText(effects));
  if (decision !== undefined) parts.push(',"decision":"', decision, '"');
  if (policies !== undefined) parts.push(',"policies":', stringsText(policies));
  if (policyVersion !== undefined) parts.push(',"policyVersion":', quote(policyVersion));
  return parts.join("");
}

function chainText(chain: readonly LeafHop[]): string {
  return `[${chain.map((hop) => `{"d":${quote(hop.d)},"s":${quote(hop.s)},"k":"${hop.k}","p":"${hop.p}"}`).join()}]`;
}

function stringsText(strings: readonly string[]): string {
  return `[${strings.map(quote).join()}]`;
}
