// What the names of prepared statements and portals stand for, in the order the server will see it.
//
// A client may send messages faster than the server answers, and an error makes the server skip what
// follows up to the next Sync. So a name's meaning is known for sure only when the reply that set it
// has come, or when the reference stands in the same sync-segment as the message that set it: if that
// one fails, the reference is skipped with it. Everything else is "uncertain" and waits for replies.
// (A client could otherwise have one statement judged and another one run.)

import { GatewayError } from "../../base/errors.ts";

/** NAMEDATALEN - 1. */
const MAX_NAME_BYTES = 63;

/**
 * The server keeps the first 63 bytes of a name, in its own encoding, in which two characters may be one: two
 * names may be the same to it, so that one would be judged and the other run. Clients' own names are short and
 * ASCII; another one ends the session.
 */
export function requireWholeName(name: string): void {
  if (name.length <= MAX_NAME_BYTES && Buffer.byteLength(name) === name.length) return;
  throw new GatewayError(
    "protocol",
    "a name of a statement or portal is longer than 63 bytes, or not ASCII; the session was closed",
  );
}

/** The sync-segment of a change that no later message of its segment is skipped with (simple Query). */
export const NEVER_CERTAIN = -1;

export type Lookup<T> =
  | { readonly certain: true; readonly value: T | undefined }
  | { readonly certain: false };

interface Pending<T> {
  readonly owner: object;
  readonly segment: number;
  readonly value: T | undefined;
}

interface Entry<T> {
  confirmed: T | undefined;
  pending: Pending<T>[];
}

export class NameTable<T> {
  readonly #entries = new Map<string, Entry<T>>();
  readonly #maxNames: number;

  constructor(limits: { readonly maxNames: number }) {
    this.#maxNames = limits.maxNames;
  }

  lookup(name: string, segment: number): Lookup<T> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return { certain: true, value: undefined };
    const last = entry.pending.at(-1);
    if (last === undefined) return { certain: true, value: entry.confirmed };
    if (last.segment === segment) return { certain: true, value: last.value };
    return { certain: false };
  }

  /** The confirmed meaning only: for a session that waits for replies before it asks. */
  confirmed(name: string): T | undefined {
    return this.#entries.get(name)?.confirmed;
  }

  /**
   * `owner` was sent and, if it succeeds, makes `name` stand for `value` (undefined: nothing).
   * False when the table is full.
   */
  propose(name: string, value: T | undefined, owner: object, segment: number): boolean {
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      if (value === undefined) return true;
      if (this.#entries.size >= this.#maxNames) return false;
      entry = { confirmed: undefined, pending: [] };
      this.#entries.set(name, entry);
    }
    entry.pending.push({ owner, segment, value });
    return true;
  }

  /** The reply to `owner` has come, or it was skipped. */
  settle(name: string, owner: object, succeeded: boolean): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    const index = entry.pending.findIndex((change) => change.owner === owner);
    const change = entry.pending[index];
    if (change === undefined) return;
    entry.pending.splice(index, 1);
    if (succeeded) entry.confirmed = change.value;
    if (entry.confirmed === undefined && entry.pending.length === 0) this.#entries.delete(name);
  }

  /** At once and for sure, when nothing is outstanding (SQL's PREPARE, DEALLOCATE, DECLARE, CLOSE). */
  assign(name: string, value: T | undefined): boolean {
    if (value === undefined) {
      this.#entries.delete(name);
      return true;
    }
    if (!this.#entries.has(name) && this.#entries.size >= this.#maxNames) return false;
    this.#entries.set(name, { confirmed: value, pending: [] });
    return true;
  }

  clear(): void {
    this.#entries.clear();
  }
}
