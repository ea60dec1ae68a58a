// What a delegation carries. A closed vocabulary: an exact string or a prefix that ends in "*",
// nothing else, so that "is a subset of" is total and what it cannot decide is not a subset (I3).
//
// On the wire a grant is an array of RFC 9396 authorization_details of type "custody":
//   {"type":"custody","targets":["orders"],"accounts":["ro"],"actions":["sql:read"],
//    "resources":["shop/public/*"],"unmask":[],"limits":{"max_rows":1000}}
// Nothing but `unmask` and `limits` may be left out: a grant that names no resource must not come to
// mean all of them. Unknown members are refused (RFC 9396 section 5), not skipped.

import { GatewayError } from "../base/errors.ts";
import { actionNamed, expandAction, namesAction } from "./actions.ts";

/** An exact value, or a prefix followed by one "*" at the end ("*" alone: any). */
export type Pattern = string;

export interface GrantEntry {
  /** Target names. */
  readonly targets: readonly Pattern[];
  /** Accounts of these targets. */
  readonly accounts: readonly Pattern[];
  /** `connect`, `sql:select`, or a group: `sql:read`, `sql:write`, `sql:schema`, `sql:privilege`, `sql:*`. */
  readonly actions: readonly Pattern[];
  /** Resource paths below the target: `shop/public/orders`, `shop/public/*`, `*`. */
  readonly resources: readonly Pattern[];
  /** Classes that may be seen unmasked. Empty unless named. */
  readonly unmask: readonly Pattern[];
  /** Upper bounds; undefined is unbounded. */
  readonly limits: GrantLimits;
}

export interface GrantLimits {
  readonly maxRows?: number;
  readonly maxBytes?: number;
  readonly timeoutMs?: number;
}

/** An effect is granted when one entry covers all of it. */
export type Grant = readonly GrantEntry[];

/** What is asked of a grant: one effect and where it happens. */
export interface GrantQuestion {
  readonly target: string;
  readonly account: string;
  /** `sql:select`; never a group. */
  readonly action: string;
  /** The resource's path below the target. */
  readonly resource: string;
}

/** `first`: the first thing that does not fit, for people. */
export type SubsetResult = { readonly ok: true } | { readonly ok: false; readonly first: string };

export type NarrowResult =
  | { readonly ok: true; readonly grant: Grant }
  | { readonly ok: false; readonly first: string };

const MAX_ENTRIES = 16;
const MAX_PATTERNS = 32;
const MAX_PATTERN_LENGTH = 256;
/** Bounds what `isSubset` looks at for one entry. */
const MAX_COMBINATIONS = 4096;

const FORMS = {
  targets: { form: /^[a-z0-9-]*\*?$/, of: "a-z, 0-9 and -" },
  accounts: { form: /^[a-z0-9-]*\*?$/, of: "a-z, 0-9 and -" },
  actions: { form: /^[a-z0-9_:]*\*?$/, of: "a-z, 0-9, _ and :" },
  resources: { form: /^[^*\p{Cc}]*\*?$/u, of: "anything but control characters" },
  unmask: { form: /^[a-z0-9_.-]*\*?$/, of: "a-z, 0-9, _, . and -" },
} as const;

const LIMIT_NAMES = {
  max_rows: "maxRows",
  max_bytes: "maxBytes",
  timeout_ms: "timeoutMs",
} as const satisfies Record<string, keyof GrantLimits>;

/**
 * Reads RFC 9396 authorization_details. Throws GatewayError "invalid" that names the first thing
 * that does not fit.
 */
export function parseGrant(details: unknown): Grant {
  if (!Array.isArray(details)) throw invalid("authorization_details: expected an array");
  if (details.length === 0) throw invalid("authorization_details: expected at least one entry");
  if (details.length > MAX_ENTRIES) {
    throw invalid(`authorization_details: expected at most ${MAX_ENTRIES} entries`);
  }
  return details.map((detail, index) => parseEntry(detail, `authorization_details[${index}]`));
}

/** The wire form; `parseGrant` of it gives the same grant. */
export function grantToDetails(grant: Grant): readonly Readonly<Record<string, unknown>>[] {
  return grant.map((entry) => {
    const limits: Record<string, number> = {};
    for (const [wire, name] of Object.entries(LIMIT_NAMES)) {
      const value = entry.limits[name];
      if (value !== undefined) limits[wire] = value;
    }
    const { targets, accounts, actions, resources, unmask } = entry;
    return { type: "custody", targets, accounts, actions, resources, unmask, limits };
  });
}

/** Does one entry of the grant carry all of this effect? */
export function covers(grant: Grant, question: GrantQuestion): boolean {
  return grant.some((entry) => entryCovers(entry, question));
}

/** The entries that carry the effect, for their limits and classes. */
export function coveringEntries(grant: Grant, question: GrantQuestion): readonly GrantEntry[] {
  return grant.filter((entry) => entryCovers(entry, question));
}

/** Does the entry name the class among those that may be seen unmasked? */
export function unmasks(entry: GrantEntry, className: string): boolean {
  return entry.unmask.some((pattern) => matches(pattern, className));
}

/** The lower of the two bounds, each for itself. */
export function strictestLimits(one: GrantLimits, other: GrantLimits): GrantLimits {
  const strictest: { -readonly [name in keyof GrantLimits]: number } = {};
  for (const name of Object.values(LIMIT_NAMES)) {
    const bound = Math.min(
      one[name] ?? Number.POSITIVE_INFINITY,
      other[name] ?? Number.POSITIVE_INFINITY,
    );
    if (bound !== Number.POSITIVE_INFINITY) strictest[name] = bound;
  }
  return strictest;
}

/**
 * Is everything the child carries carried by the parent? Exact, not merely safe: each combination of
 * the child's patterns needs one entry of the parent that covers it, and since a prefix stands for
 * names nobody has thought of yet, no union of narrower patterns could cover it either.
 * `parent` undefined is a root, which has no grant to narrow.
 */
export function isSubset(child: Grant, parent: Grant | undefined): SubsetResult {
  if (parent === undefined) return { ok: true };
  for (const entry of child) {
    const fit = fitEntry(entry, parent, limitsWithin);
    if (!fit.ok) return fit;
  }
  return { ok: true };
}

/**
 * What a child gets that asks for `requested`: the request, with the parent's limits where it named
 * none. Wider than the parent is refused, never cut down unseen.
 */
export function narrowGrant(parent: Grant | undefined, requested: Grant): NarrowResult {
  if (parent === undefined) return { ok: true, grant: requested };
  const grant: GrantEntry[] = [];
  for (const entry of requested) {
    const fit = fitEntry(entry, parent, namedLimitsWithin);
    if (!fit.ok) return fit;
    grant.push({ ...entry, limits: fit.parents.reduce(strictestOf, entry.limits) });
  }
  return { ok: true, grant };
}

function strictestOf(limits: GrantLimits, entry: GrantEntry): GrantLimits {
  return strictestLimits(limits, entry.limits);
}

function entryCovers(entry: GrantEntry, question: GrantQuestion): boolean {
  const action = actionNamed(question.action);
  if (action === undefined) return false;
  if (!matchesAny(entry.targets, question.target)) return false;
  if (!matchesAny(entry.accounts, question.account)) return false;
  if (action.session) return true;
  if (!entry.actions.some((pattern) => namesAction(pattern, action))) return false;
  return matchesAny(entry.resources, question.resource);
}

function matchesAny(patterns: readonly Pattern[], value: string): boolean {
  return patterns.some((pattern) => matches(pattern, value));
}

function matches(pattern: Pattern, value: string): boolean {
  return pattern.endsWith("*") ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}

/** Does every value `narrow` stands for match one of the wider patterns? */
function patternWithin(narrow: Pattern, wide: readonly Pattern[]): boolean {
  return wide.some((pattern) => {
    if (!pattern.endsWith("*")) return pattern === narrow;
    const literal = narrow.endsWith("*") ? narrow.slice(0, -1) : narrow;
    return literal.startsWith(pattern.slice(0, -1));
  });
}

type LimitsFit = (child: GrantLimits, parent: GrantLimits) => string | undefined;

/** The first limit that is wider than the parent's; none named is unbounded. */
function limitsWithin(child: GrantLimits, parent: GrantLimits): string | undefined {
  for (const [wire, name] of Object.entries(LIMIT_NAMES)) {
    const bound = parent[name];
    const asked = child[name];
    if (bound === undefined) continue;
    if (asked === undefined) return `limit ${wire}: unbounded, the parent has ${bound}`;
    if (asked > bound) return `limit ${wire}: ${asked} is more than the parent's ${bound}`;
  }
  return undefined;
}

/** The same for a request, which inherits the limits it does not name. */
function namedLimitsWithin(child: GrantLimits, parent: GrantLimits): string | undefined {
  return limitsWithin({ ...parent, ...child }, parent);
}

type EntryFit =
  /** One of the parent's entries for each combination. */
  | { readonly ok: true; readonly parents: readonly GrantEntry[] }
  | { readonly ok: false; readonly first: string };

/**
 * Finds for each combination of the entry's patterns one entry of the parent that covers it. Which entries
 * cover a pattern is found out once: there are many more combinations than patterns, and whoever has a
 * delegation can have them compared.
 */
function fitEntry(entry: GrantEntry, parent: Grant, limitsFit: LimitsFit): EntryFit {
  if (parent.length > MAX_ENTRIES)
    return { ok: false, first: `the parent's grant: more than ${MAX_ENTRIES} entries` };
  const fitting = entriesOf(parent, (one) => limitsFit(entry.limits, one.limits) === undefined);
  const parents = new Set<GrantEntry>();
  for (const { asked, entries } of combinationsOf(entry, parent)) {
    const carrying = entries & fitting;
    if (carrying === 0) return whyOutside(asked(), entry.limits, parent, limitsFit);
    // The lowest bit is the first of them.
    const found = parent[31 - Math.clz32(carrying & -carrying)];
    if (found !== undefined) parents.add(found);
  }
  return { ok: true, parents: [...parents] };
}

interface Combination {
  readonly target: Pattern;
  readonly account: Pattern;
  /** One action's name; undefined where every grant for target and account carries it. */
  readonly action: string | undefined;
  readonly resource: Pattern;
  readonly unmask: Pattern | undefined;
}

/** A set of the parent's entries: bit n for the nth. */
type Entries = number;

/** Something of the child's, and the entries of the parent that carry it. */
interface Carried<Asked> {
  readonly asked: Asked;
  readonly entries: Entries;
}

const ALL: Entries = (1 << MAX_ENTRIES) - 1;

function entriesOf(parent: Grant, carries: (entry: GrantEntry) => boolean): Entries {
  return parent.reduce((found, entry, at) => (carries(entry) ? found | (1 << at) : found), 0);
}

/** Of what the same entries carry, the first stands for the others. */
function carriedOnes<Asked>(
  list: Iterable<Asked>,
  carriedBy: (asked: Asked) => Entries,
): Carried<Asked>[] {
  const first = new Map<Entries, Carried<Asked>>();
  for (const asked of new Set(list)) {
    const entries = carriedBy(asked);
    if (!first.has(entries)) first.set(entries, { asked, entries });
  }
  return [...first.values()];
}

/** In the order in which they are named, each set of entries for what differs in it. */
function* combinationsOf(
  entry: GrantEntry,
  parent: Grant,
): Generator<{ readonly asked: () => Combination; readonly entries: Entries }> {
  const patterns = (name: "targets" | "accounts" | "resources" | "unmask") =>
    carriedOnes(entry[name], (pattern) =>
      entriesOf(parent, (one) => patternWithin(pattern, one[name])),
    );
  const [targets, accounts, resources] = [
    patterns("targets"),
    patterns("accounts"),
    patterns("resources"),
  ];
  const actions = actionsOf(entry, parent);
  const classes: readonly Carried<Pattern | undefined>[] =
    entry.unmask.length === 0 ? [{ asked: undefined, entries: ALL }] : patterns("unmask");
  const seen = new Set<Entries>();
  for (const target of targets)
    for (const account of accounts)
      for (const action of actions)
        for (const resource of resources)
          for (const unmask of classes) {
            const onResource = action.asked === undefined ? ALL : resource.entries;
            const entries =
              target.entries & account.entries & action.entries & onResource & unmask.entries;
            if (seen.has(entries)) continue;
            seen.add(entries);
            const asked = () => ({
              ...{ target: target.asked, account: account.asked, action: action.asked },
              ...{ resource: resource.asked, unmask: unmask.asked },
            });
            yield { asked, entries };
          }
}

function actionsOf(entry: GrantEntry, parent: Grant): readonly Carried<string | undefined>[] {
  const found: Carried<string | undefined>[] = [];
  for (const action of new Set(entry.actions.flatMap(expandAction))) {
    // Of these the resource is not asked: they are one of their own.
    const asked = action.session ? undefined : action.name;
    const entries = action.session
      ? ALL
      : entriesOf(parent, (one) => one.actions.some((pattern) => namesAction(pattern, action)));
    const isKnown = found.some(
      (one) => one.entries === entries && (one.asked === undefined) === action.session,
    );
    if (!isKnown) found.push({ asked, entries });
  }
  return found;
}

/** Narrows the parent's entries one dimension at a time; the one that leaves none is what is named. */
function whyOutside(
  asked: Combination,
  limits: GrantLimits,
  parent: Grant,
  limitsFit: LimitsFit,
): Extract<EntryFit, { readonly ok: false }> {
  const { target, account, action, resource, unmask } = asked;
  const place = `target "${target}"`;
  let left = parent.filter((entry) => patternWithin(target, entry.targets));
  if (left.length === 0) return outside(place);
  left = left.filter((entry) => patternWithin(account, entry.accounts));
  if (left.length === 0) return outside(`account "${account}" of ${place}`);
  if (action !== undefined) {
    left = left.filter((entry) => hasAction(entry, action));
    if (left.length === 0) return outside(`action ${action} on ${place}`);
    left = left.filter((entry) => patternWithin(resource, entry.resources));
    if (left.length === 0) return outside(`resource "${resource}" of ${place} for ${action}`);
  }
  if (unmask !== undefined) {
    left = left.filter((entry) => patternWithin(unmask, entry.unmask));
    if (left.length === 0) return outside(`unmask "${unmask}" on ${place}`);
  }
  const [entry] = left;
  const wider = entry === undefined ? undefined : limitsFit(limits, entry.limits);
  return { ok: false, first: wider ?? "nothing in the parent's grant fits" };
}

function hasAction(entry: GrantEntry, name: string): boolean {
  const action = actionNamed(name);
  return action !== undefined && entry.actions.some((pattern) => namesAction(pattern, action));
}

function outside(what: string): { readonly ok: false; readonly first: string } {
  return { ok: false, first: `${what}: not in the parent's grant` };
}

function parseEntry(detail: unknown, where: string): GrantEntry {
  const members = record(detail, where);
  if (members.type !== "custody") throw invalid(`${where}.type: expected "custody"`);
  for (const name of Object.keys(members)) {
    if (name !== "type" && name !== "limits" && !Object.hasOwn(FORMS, name)) {
      throw invalid(`${where}.${name}: not a member of a grant`);
    }
  }
  const entry: GrantEntry = {
    targets: patterns(members, "targets", where),
    accounts: patterns(members, "accounts", where),
    actions: patterns(members, "actions", where),
    resources: patterns(members, "resources", where),
    unmask: members.unmask === undefined ? [] : patterns(members, "unmask", where),
    limits: parseLimits(members.limits, `${where}.limits`),
  };
  for (const action of entry.actions) {
    if (expandAction(action).length === 0) {
      throw invalid(`${where}.actions: ${JSON.stringify(action)} is no action or group of actions`);
    }
  }
  const combinations =
    entry.targets.length *
    entry.accounts.length *
    entry.resources.length *
    Math.max(1, entry.unmask.length);
  if (combinations > MAX_COMBINATIONS) {
    throw invalid(
      `${where}: names more than ${MAX_COMBINATIONS} combinations; use several entries`,
    );
  }
  return entry;
}

function patterns(
  members: Readonly<Record<string, unknown>>,
  name: keyof typeof FORMS,
  where: string,
): readonly Pattern[] {
  const list = members[name];
  const path = `${where}.${name}`;
  if (!Array.isArray(list)) throw invalid(`${path}: expected a list of strings`);
  if (list.length === 0 && name !== "unmask") throw invalid(`${path}: expected at least one`);
  if (list.length > MAX_PATTERNS) throw invalid(`${path}: expected at most ${MAX_PATTERNS}`);
  const { form, of } = FORMS[name];
  const read: Pattern[] = [];
  for (const pattern of list) {
    if (typeof pattern !== "string" || pattern === "" || pattern.length > MAX_PATTERN_LENGTH) {
      throw invalid(`${path}: expected strings of 1 to ${MAX_PATTERN_LENGTH} characters`);
    }
    if (!form.test(pattern)) {
      throw invalid(
        `${path}: ${JSON.stringify(pattern)}: expected ${of}, with "*" only as its last character`,
      );
    }
    read.push(pattern);
  }
  return read;
}

function parseLimits(value: unknown, where: string): GrantLimits {
  if (value === undefined) return {};
  const limits: { -readonly [name in keyof GrantLimits]: number } = {};
  for (const [wire, bound] of Object.entries(record(value, where))) {
    const name = Object.entries(LIMIT_NAMES).find(([known]) => known === wire)?.[1];
    if (name === undefined) throw invalid(`${where}.${wire}: not a limit`);
    if (typeof bound !== "number" || !Number.isSafeInteger(bound) || bound < 1) {
      throw invalid(`${where}.${wire}: expected a whole number of at least 1`);
    }
    limits[name] = bound;
  }
  return limits;
}

function record(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(`${where}: expected an object`);
  }
  return { ...value };
}

function invalid(message: string): GatewayError {
  return new GatewayError("invalid", message);
}
