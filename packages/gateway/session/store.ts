// The history of sessions, for people who ask what was open when. The journal is the record; a row
// lost to a power failure is told again by it.

import type { Chain } from "../delegation/chain.ts";
import type { Protocol } from "../target/target.ts";

export interface SessionRow {
  readonly id: string;
  readonly protocol: Protocol;
  readonly delegationId: string;
  readonly chain: Chain;
  readonly target: string;
  readonly account: string;
  readonly database: string;
  readonly clientAddress: string;
  readonly openedAtMs: number;
  readonly expiresAtMs: number;
  readonly closedAtMs: number | undefined;
  readonly closeReason: string | undefined;
}

export interface SessionFilter {
  /** At or below this delegation; undefined: all. */
  readonly under: string | undefined;
  readonly state: "live" | "closed" | undefined;
  readonly limit: number;
}

/** Synchronous; each may throw GatewayError "dependency_unavailable". */
export interface SessionStore {
  insert(row: SessionRow): void;
  close(id: string, atMs: number, reason: string): void;
  /** Marks what a gateway that died left open; returns how many. */
  closeLeftovers(atMs: number, reason: string): number;
  find(id: string): SessionRow | undefined;
  /** Of those that list gives: for who reads many, a few a turn. */
  ids(filter: SessionFilter): readonly string[];
  /** Newest first. */
  list(filter: SessionFilter): readonly SessionRow[];
}
