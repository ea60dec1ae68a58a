// Which sessions: by what the store knows of them (root, agent, target), by what the log says was decided in
// them or masked, and by what was said in them. The last opens recordings, so it is for who may replay
// them, each is on record as read, and how many are opened at a time is bounded.

import { setImmediate as turn } from "node:timers/promises";
import type { Leaf } from "@custody/evidence/core/leaf.ts";
import type { Chain } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { SessionRow } from "../session/store.ts";
import type { ApiDeps } from "./deps.ts";

export interface SessionQuery {
  readonly root?: string | undefined;
  readonly agent?: string | undefined;
  readonly target?: string | undefined;
  readonly class?: string | undefined;
  readonly decision?: "permit" | "deny" | "hold" | undefined;
  readonly text?: string | undefined;
}

export interface FoundSessions {
  readonly rows: readonly SessionRow[];
  /** Recordings that were opened to look for the text; undefined when none was asked for. */
  readonly searched: number | undefined;
}

const MAX_SEARCHED = 100;
/** Read of the store before others have their turn. */
const ROWS_A_TURN = 100;
const DECIDED = {
  permit: "command.intent",
  deny: "command.denied",
  hold: "hold.requested",
} as const;

/** `clientAddress`: whence who asks does. */
export async function searchSessions(
  deps: ApiDeps,
  { chain, clientAddress }: { readonly chain: Chain; readonly clientAddress: string },
  candidates: readonly string[],
  query: SessionQuery,
): Promise<FoundSessions> {
  let rows: SessionRow[] = [];
  for (const [at, id] of candidates.entries()) {
    const row = deps.sessions.store.find(id);
    if (row !== undefined && isAbout(row, query)) rows.push(row);
    if (at % ROWS_A_TURN === ROWS_A_TURN - 1) await turn();
  }
  if (query.class !== undefined || query.decision !== undefined) {
    const found = await decidedIn(deps, rows, query);
    rows = rows.filter(({ id }) => found.has(id));
  }
  if (query.text === undefined) return { rows, searched: undefined };
  const mayUnmask = (row: SessionRow) => (name: string) =>
    deps.authority.mayUnmask(chain, row, clientAddress, name);
  return saidIn(deps, chain, rows, { text: query.text, mayUnmask });
}

function isAbout({ chain, target }: SessionRow, query: SessionQuery): boolean {
  const [root, ...rest] = chain.hops;
  const names = (hop: typeof root): readonly unknown[] =>
    hop === undefined ? [] : [hop.id, hop.name, hop.delegationId];
  return (
    (query.target === undefined || query.target === target) &&
    (query.root === undefined || names(root).includes(query.root)) &&
    (query.agent === undefined || rest.some((hop) => names(hop).includes(query.agent)))
  );
}

async function decidedIn(
  deps: ApiDeps,
  rows: readonly SessionRow[],
  query: SessionQuery,
): Promise<ReadonlySet<string>> {
  const events = new Set<string>();
  const classes = new Set<string>();
  if (rows.length === 0) return events;
  const now = deps.outside.clock.nowMs();
  const window = {
    fromMs: Math.min(...rows.map(({ openedAtMs }) => openedAtMs)),
    toMs: Math.max(...rows.map(({ closedAtMs }) => closedAtMs ?? now)),
  };
  const event = query.decision === undefined ? undefined : DECIDED[query.decision];
  const words = [
    ...(event === undefined ? [] : [`"${event}"`]),
    ...(query.class === undefined ? [] : [JSON.stringify(query.class)]),
  ];
  for await (const leaf of deps.evidence.leaves(window, words)) {
    if (leaf.session === undefined) continue;
    if (leaf.event === event) events.add(leaf.session);
    if (query.class !== undefined && touches(leaf, query.class)) classes.add(leaf.session);
  }
  if (event === undefined) return classes;
  return query.class === undefined ? events : events.intersection(classes);
}

interface TextQuery {
  readonly text: string;
  /** What an answer shows that the reader may not unmask is not looked into. */
  readonly mayUnmask: (row: SessionRow) => (className: string) => boolean;
}

/** Masked in an answer, or shown in one as it is. */
function touches({ masked, detail }: Leaf, className: string): boolean {
  const shown = detail?.unmasked;
  return (
    masked?.includes(className) === true || (Array.isArray(shown) && shown.includes(className))
  );
}

async function saidIn(
  deps: ApiDeps,
  chain: Chain,
  rows: readonly SessionRow[],
  { text, mayUnmask }: TextQuery,
): Promise<FoundSessions> {
  const { journal } = deps.evidence;
  // Policies say it of a target.
  const may = new Map<string, boolean>();
  const readable: SessionRow[] = [];
  for (const row of rows) {
    const mayReplay = may.get(row.target) ?? deps.authority.mayReplay(chain, row.target);
    may.set(row.target, mayReplay);
    if (mayReplay) readable.push(row);
    if (readable.length >= MAX_SEARCHED) break;
  }
  for (const row of readable) {
    const about = { session: row.id, target: row.target, chain: leafChain(chain) };
    journal.append({ event: "recording.read", ...about, detail: { search: true } });
  }
  await journal.settled();
  const found: SessionRow[] = [];
  for (const row of readable) {
    // A recording that cannot be read does not have it; a replay says why.
    const isIn = deps.evidence.saidIn(row.id, text, mayUnmask(row)).catch((thrown: unknown) => {
      deps.outside.onFault(thrown);
      return false;
    });
    if (await isIn) found.push(row);
  }
  return { rows: found, searched: readable.length };
}
