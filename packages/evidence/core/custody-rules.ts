// What must hold between the leaves of a log, beyond that each is in the tree: nothing is missing from
// a worker's journal, and every command that was let through has an end.
//
// - each worker's records are numbered from 1 without a gap;
// - a worker's first record is `gateway.started`; at each later one, and at `gateway.stopped`, no session
//   and no intent of that worker is open (the start after a crash ends them first);
// - a session is opened once and closed once, and its records come in between (outcomes may follow);
// - an intent is unique, permitted or approved, belongs to an open session and has the session's chain;
// - an outcome or `indeterminate` ends exactly one intent, of the same session;
// - `log.closed` is followed by the next shard's `log.opened`, which knows how far each worker was. Where it is
//   the first that is read, sessions and requests of the shards before are taken at their word.

import type { Leaf } from "./leaf.ts";
import { LOG_WORKER, readClosed, readOpened } from "./log-shard.ts";

export interface LeafRules {
  /** What is wrong with the next leaf of the log, in words; empty when nothing is. */
  check(leaf: Leaf): readonly string[];
  /** So many records cannot be read: what may follow from that alone is not reported again. */
  skip(records: number): void;
  /** What goes on at the end of what was read: not wrong while the gateway runs. */
  open(): { readonly sessions: readonly string[]; readonly intents: readonly string[] };
}

interface Session {
  readonly worker: number;
  readonly chain: string;
}

interface State {
  /** Origin of the shard that has to begin next. */
  next: string | undefined;
  hasBegun: boolean;
  /** Records that were skipped and no gap was found for yet. */
  skipped: number;
  hasSkipped: boolean;
  readonly nextSeq: Map<number, number>;
  readonly sessions: Map<string, Session>;
  readonly closed: Set<string>;
  readonly intents: Map<string, { readonly worker: number; readonly session: string | undefined }>;
  readonly requests: Set<string>;
}

export function createLeafRules(): LeafRules {
  const state: State = {
    next: undefined,
    hasBegun: false,
    skipped: 0,
    hasSkipped: false,
    nextSeq: new Map(),
    sessions: new Map(),
    closed: new Set(),
    intents: new Map(),
    requests: new Set(),
  };
  return {
    check(leaf) {
      const problems: string[] = [];
      checkSeam(state, leaf, problems);
      checkPlace(state, leaf, problems);
      state.hasBegun = true;
      RULES[leaf.event]?.(state, leaf, problems);
      return problems;
    },
    skip(records) {
      state.skipped += records;
      state.hasSkipped = true;
    },
    open: () => ({ sessions: [...state.sessions.keys()], intents: [...state.intents.keys()] }),
  };
}

type Rule = (state: State, leaf: Leaf, problems: string[]) => void;

const RULES: Partial<Record<Leaf["event"], Rule>> = {
  "gateway.started": nothingOpen,
  "gateway.stopped": nothingOpen,
  "session.opened": (state, leaf, problems) => {
    const session = leaf.session ?? "";
    if (session === "") problems.push("names no session");
    else if (state.sessions.has(session) || state.closed.has(session)) {
      problems.push(`session ${session} was opened before`);
    } else if (leaf.chain === undefined) problems.push("has no chain");
    state.sessions.set(session, { worker: leaf.worker, chain: JSON.stringify(leaf.chain) });
  },
  "session.closed": (state, leaf, problems) => {
    const session = leaf.session ?? "";
    const isOpen = state.sessions.delete(session);
    if (!isOpen && !state.hasSkipped) problems.push(`session ${session} is not open`);
    state.closed.add(session);
  },
  "command.intent": (state, leaf, problems) => {
    inSession(state, leaf, problems);
    const request = leaf.request ?? "";
    if (request === "") problems.push("names no request");
    if (state.requests.has(request)) problems.push(`request ${request} had an intent before`);
    if (leaf.decision !== "permit" && leaf.decision !== "approved") {
      problems.push(`goes on with the decision "${leaf.decision ?? "none"}"`);
    }
    if (leaf.command === undefined) problems.push("has no digest of its command");
    state.requests.add(request);
    state.intents.set(request, { worker: leaf.worker, session: leaf.session });
  },
  "command.denied": inSession,
  "command.prepared": inSession,
  "command.outcome": endIntent,
  "command.indeterminate": endIntent,
};

function checkSeam(state: State, leaf: Leaf, problems: string[]): void {
  if (leaf.event === "log.opened") {
    checkOpened(state, leaf, problems);
    state.next = undefined;
  } else if (state.next !== undefined && !state.hasSkipped) {
    problems.push(`comes after the end of its shard, where ${state.next} begins`);
  }
  if (leaf.event !== "log.closed") return;
  state.next = readClosed(leaf);
  if (state.next === undefined) problems.push("does not name the next shard");
}

function checkOpened(state: State, leaf: Leaf, problems: string[]): void {
  const begin = readOpened(leaf);
  if (begin === undefined) {
    problems.push("is not the begin of a shard");
    return;
  }
  if (state.hasBegun) {
    if (state.hasSkipped) return;
    if (state.next === undefined) problems.push("the shard before has no end");
    const due = [...state.nextSeq].filter(([worker]) => worker !== LOG_WORKER);
    const isSame =
      due.length === begin.workers.size &&
      due.every(([worker, seq]) => begin.workers.get(worker) === seq - 1);
    if (!isSame) problems.push("it names other numbers of workers than the shard before ends with");
  } else if (begin.previous !== undefined) {
    for (const [worker, seq] of begin.workers) state.nextSeq.set(worker, seq + 1);
    state.nextSeq.set(LOG_WORKER, leaf.seq);
    // What began before cannot be known here.
    state.hasSkipped = true;
  }
}

function checkPlace(state: State, leaf: Leaf, problems: string[]): void {
  const due = state.nextSeq.get(leaf.worker) ?? 1;
  const gap = leaf.seq - due;
  if (gap > 0 && gap <= state.skipped) state.skipped -= gap;
  else if (gap > 0) {
    const missing = gap === 1 ? `record ${due}` : `records ${due} to ${leaf.seq - 1}`;
    problems.push(`${missing} of worker ${leaf.worker} missing before it`);
  } else if (gap < 0) {
    problems.push(`record ${leaf.seq} of worker ${leaf.worker} comes again`);
  }
  const isJournal = leaf.worker !== LOG_WORKER;
  if (due === 1 && isJournal && !state.hasSkipped && leaf.event !== "gateway.started") {
    problems.push(`worker ${leaf.worker} does not begin with gateway.started`);
  }
  state.nextSeq.set(leaf.worker, Math.max(due, leaf.seq + 1));
}

function nothingOpen(state: State, leaf: Leaf, problems: string[]): void {
  for (const [session, { worker }] of state.sessions) {
    if (worker !== leaf.worker) continue;
    if (!state.hasSkipped) problems.push(`session ${session} was never closed`);
    state.sessions.delete(session);
  }
  for (const [request, { worker }] of state.intents) {
    if (worker !== leaf.worker) continue;
    if (!state.hasSkipped)
      problems.push(`the intent ${request} has neither outcome nor indeterminate`);
    state.intents.delete(request);
  }
}

function inSession(state: State, leaf: Leaf, problems: string[]): void {
  const session = state.sessions.get(leaf.session ?? "");
  if (session === undefined) {
    if (!state.hasSkipped) problems.push(`session ${leaf.session ?? ""} is not open`);
  } else if (JSON.stringify(leaf.chain) !== session.chain)
    problems.push("has not its session's chain");
}

function endIntent(state: State, leaf: Leaf, problems: string[]): void {
  const request = leaf.request ?? "";
  const intent = state.intents.get(request);
  if (intent === undefined) {
    if (!state.hasSkipped) problems.push(`request ${request} has no open intent`);
  } else if (intent.session !== leaf.session) {
    problems.push(`request ${request} belongs to session ${intent.session ?? ""}`);
  }
  state.intents.delete(request);
}
