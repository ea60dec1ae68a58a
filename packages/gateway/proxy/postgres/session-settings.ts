// The settings a session has at the target: what the gateway pins, so that the text it judged means
// the same there (THREATS.md, "Lexing differs", "Names resolve otherwise"), and what the client chose
// among the free ones. All go into the StartupMessage, which outranks ALTER ROLE and ALTER DATABASE.

import { type Chain, leafOf, type Provenance, rootOf } from "../../delegation/chain.ts";
import type { PostgresTarget } from "../../target/target.ts";
import { APPLICATION_NAME, applicationName, CLIENT_NAME } from "./application-name.ts";

/** What the server reports of itself and must not change while statements are judged by it. */
const PINNED_REPORTS = new Map([
  ["client_encoding", "UTF8"],
  ["standard_conforming_strings", "on"],
]);

/** As the session begins with it. Named last, pg_temp is not searched first: nothing is shadowed. */
function searchPathOf(target: PostgresTarget): string {
  return [...target.searchPath, "pg_temp"].map(quoteIdentifier).join(", ");
}

export function upstreamSettings(
  target: PostgresTarget,
  sessionId: string,
  chain: Chain,
  chosen: ReadonlyMap<string, string>,
  clientName: string | undefined,
): Map<string, string> {
  if (target.transparent === true)
    return new Map([...chosen, [APPLICATION_NAME, applicationName(clientName)]]);
  return new Map([
    ...chosen,
    ["client_encoding", "UTF8"],
    ["standard_conforming_strings", "on"],
    ["search_path", searchPathOf(target)],
    [APPLICATION_NAME, upstreamName(sessionId, chain)],
    [CLIENT_NAME, applicationName(clientName)],
  ]);
}

/** A sentence when a pinned setting is not what it must be; then the session closes. */
export function settingDrift(
  target: PostgresTarget,
  name: string,
  value: string,
): string | undefined {
  // PostgreSQL 18 and later report it.
  const pinned = name === "search_path" ? searchPathOf(target) : PINNED_REPORTS.get(name);
  if (pinned === undefined || pinned === value) return undefined;
  return `the target changed ${name}, which is pinned; the session was closed`;
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

const APPLICATION_NAME_BYTES = 63;

/** How well a hop is known, root first, a letter each: `aab` is two attested hops and a bearer. */
const PROVENANCE_LETTERS: Readonly<Record<Provenance, string>> = {
  attested: "a",
  possession: "p",
  bearer: "b",
  asserted: "?",
};

/**
 * `custody s-7f3k… aab corp/engineer@example.com>reviewer`: the session, how well each hop is known, the
 * root and the leaf, in the 63 bytes PostgreSQL keeps; the session leads to the whole chain. Names are cut,
 * the session never.
 */
function upstreamName(sessionId: string, chain: Chain): string {
  const root = rootOf(chain);
  const leaf = leafOf(chain);
  const who = leaf === root ? root.id : `${root.id}>${leaf.name}`;
  const printable = who.replace(/[^\x20-\x7e]/g, "?");
  const known = chain.hops.map(({ provenance }) => PROVENANCE_LETTERS[provenance]).join("");
  return `custody ${sessionId} ${known} ${printable}`.slice(0, APPLICATION_NAME_BYTES);
}
