// An evidence bundle: everything about one session, request, root or time that somebody takes away to
// check it elsewhere. What it is made of, what belongs into it, and the digest that binds its parts.
//
// In a folder:
//   manifest.json            format, scope, the log's origin, and the record of the export itself
//   checkpoint               the log's head (C2SP tlog-checkpoint), with its cosignatures
//   records.ndjson           one `EvidenceRecord` a line, in the order of the log
//   recordings/<session>.rec the sealed pieces, and <session>.key, the key that opens them (base64url)
//   policies/<digest>.json   a policy set that decided: `ArchivedPolicies`
//   index.html               the same for people; made from the parts above, and from nothing else
//
// The gateway writes the digest of all parts into its log (`evidence.exported`) and takes the checkpoint
// afterwards. So who holds a bundle cannot leave out, add or exchange a part, and the log says what
// its gateway gave as everything there is.

import type { Leaf } from "./leaf.ts";
import type { Sha256 } from "./sha256.ts";

export const BUNDLE_FORMAT = "custody-evidence/1";

export type EvidenceScope =
  | { readonly session: string }
  /** One command, with its session's beginning and end and the consent it needed. */
  | { readonly request: string }
  /** The stable subject of a root (`corp/248…`), or the id of its delegation. */
  | { readonly root: string }
  /** Milliseconds since the Unix epoch; until before the second. */
  | { readonly between: readonly [number, number] };

export interface EvidenceRecord {
  /** Its place in the log; in one of several shards (log-shard.ts) counted through all of them. */
  readonly index: number;
  /** The leaf, to the byte. */
  readonly leaf: string;
  /** RFC 6962 section 2.1.1, base64, from the leaf upwards; in the tree of its shard. */
  readonly proof: readonly string[];
}

export interface EvidenceManifest {
  readonly format: typeof BUNDLE_FORMAT;
  readonly scope: EvidenceScope;
  readonly origin: string;
  /** `evidence.exported`. */
  readonly exported: EvidenceRecord;
  /**
   * Where the log is in shards: the first record of the one whose head is here, then of those before it. Each
   * names the final size and root of the shard before, so they go as far as the one after the oldest record's.
   */
  readonly seams?: readonly EvidenceRecord[];
  /**
   * Where the records of the bundle are in the log, first and last of each row without a gap. That one is missing
   * the exported digest tells; this tells which.
   */
  readonly records?: readonly (readonly [number, number])[];
  /** Recordings that are not there, and why: "erased", "not disclosed". */
  readonly withheld: Readonly<Record<string, string>>;
}

/** A policy set as the gateway keeps it: enough to tell its digest again. */
export interface ArchivedPolicies {
  /** Of the schema and the engine. */
  readonly schema: string;
  /** Each policy's text, sorted. */
  readonly policies: readonly string[];
}

/** SHA-256, hex, over the parts of a bundle that do not depend on the checkpoint. */
export class ContentsDigest {
  readonly #lines: string[] = [];

  record(index: number, leafHash: Uint8Array): void {
    this.#lines.push(`record ${index} ${hex(leafHash)}`);
  }

  /** SHA-256 of the `.rec` file and of the key. */
  recording(session: string, file: Uint8Array, key: Uint8Array): void {
    this.#lines.push(`recording ${session} ${hex(file)} ${hex(key)}`);
  }

  withheld(session: string, why: string): void {
    this.#lines.push(`withheld ${session} ${JSON.stringify(why)}`);
  }

  policies(digest: string): void {
    this.#lines.push(`policies ${digest}`);
  }

  of(hash: Sha256, scope: EvidenceScope): string {
    const head = `${BUNDLE_FORMAT}\n${scopeText(scope)}\n`;
    const text = `${head}${this.#lines.map((line) => `${line}\n`).join("")}`;
    return hex(hash(new TextEncoder().encode(text)));
  }
}

/** Ascending numbers as rows without a gap. */
export function rowsOf(indexes: readonly number[]): [number, number][] {
  const rows: [number, number][] = [];
  for (const index of indexes) {
    const last = rows.at(-1);
    if (last !== undefined && last[1] + 1 === index) last[1] = index;
    else rows.push([index, index]);
  }
  return rows;
}

/** `session s-7f3k`: canonical, and readable. */
export function scopeText(scope: EvidenceScope): string {
  if ("between" in scope) return `between ${scope.between[0]} ${scope.between[1]}`;
  const [[kind, value]] = Object.entries(scope) as [[string, string]];
  return `${kind} ${value}`;
}

/** Does a record belong into a bundle of this scope? Asked about each record, in the order of the log. */
export function membersOf(scope: EvidenceScope): (leaf: Leaf) => boolean {
  if ("session" in scope) return (leaf) => leaf.session === scope.session;
  if ("request" in scope) return (leaf) => isAboutRequest(scope.request, leaf);
  if ("between" in scope) return ({ at }) => at >= scope.between[0] && at < scope.between[1];
  // How a command ended names its session and not the chain again.
  const sessions = new Set<string>();
  return ({ chain, session }) => {
    const root = chain?.[0];
    const isOwn = root !== undefined && (root.s === scope.root || root.d === scope.root);
    if (isOwn && session !== undefined) sessions.add(session);
    return isOwn || (session !== undefined && sessions.has(session));
  };
}

/** `s-7f3k` of `r-7f3k-2`; undefined when it is no request id. */
export function sessionOfRequest(request: string): string | undefined {
  const session = /^r-([a-z0-9]+)-[0-9]+$/.exec(request)?.[1];
  return session === undefined ? undefined : `s-${session}`;
}

/** SHA-256, hex, of an archived policy set; its first 12 digits are the `policyVersion` of decisions. */
export function policiesDigest(hash: Sha256, archived: ArchivedPolicies): string {
  const encoder = new TextEncoder();
  const parts = [archived.schema];
  for (const text of archived.policies) parts.push(`\n${encoder.encode(text).length}\n`, text);
  return hex(hash(encoder.encode(parts.join(""))));
}

function isAboutRequest(request: string, leaf: Leaf): boolean {
  if (leaf.request === request) return true;
  const bounds = leaf.event === "session.opened" || leaf.event === "session.closed";
  return bounds && leaf.session === sessionOfRequest(request);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
