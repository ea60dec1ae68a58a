// The settings a session has at the target: what the gateway pins, so that the text it judged means
// the same there (THREATS.md, "Lexing differs", "Names resolve otherwise"), and what the client chose
// among the free ones. All go into the StartupMessage, which outranks ALTER ROLE and ALTER DATABASE.

import { type Chain, leafOf, rootOf } from "../../delegation/chain.ts";
import type { PostgresTarget } from "../../target/target.ts";

/** What the server reports of itself and must not change while statements are judged by it. */
const PINNED_REPORTS = new Map([
  ["client_encoding", "UTF8"],
  ["standard_conforming_strings", "on"],
]);

export function upstreamSettings(
  target: PostgresTarget,
  sessionId: string,
  chain: Chain,
  chosen: ReadonlyMap<string, string>,
): Map<string, string> {
  return new Map([
    ...chosen,
    ["client_encoding", "UTF8"],
    ["standard_conforming_strings", "on"],
    // Named last, it is not searched first: a temporary object shadows nothing.
    ["search_path", [...target.searchPath, "pg_temp"].map(quoteIdentifier).join(", ")],
    ["application_name", upstreamName(sessionId, chain)],
  ]);
}

/** A sentence when a pinned setting is not what it must be; then the session closes. */
export function settingDrift(name: string, value: string): string | undefined {
  const pinned = PINNED_REPORTS.get(name);
  if (pinned === undefined || pinned === value) return undefined;
  return `the target changed ${name}, which is pinned; the session was closed`;
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

const APPLICATION_NAME_BYTES = 63;

/**
 * `custody s-7f3k… corp/engineer@example.com>reviewer`: the session, the root and the leaf, in the 63
 * bytes PostgreSQL keeps; the session leads to the whole chain. Names are cut, the session never.
 */
export function upstreamName(sessionId: string, chain: Chain): string {
  const root = rootOf(chain);
  const leaf = leafOf(chain);
  const who = leaf === root ? root.id : `${root.id}>${leaf.name}`;
  const printable = who.replace(/[^\x20-\x7e]/g, "?");
  return `custody ${sessionId} ${printable}`.slice(0, APPLICATION_NAME_BYTES);
}
