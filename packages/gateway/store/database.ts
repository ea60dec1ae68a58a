// SQLite as the gateway uses it: one file, WAL, every commit on disk (synchronous=FULL), one process.
// Calls are synchronous and short; nothing on the data path of a command comes here.
//
// Owns the connection. A store that is locked, full or damaged is a GatewayError
// "dependency_unavailable" for whoever asked, never a crash. The busy time-out blocks the event loop,
// so it is small: whoever asked tries again.

import { chmodSync, closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import {
  DatabaseSync,
  type SQLInputValue,
  type SQLOutputValue,
  type StatementSync,
} from "node:sqlite";
import { GatewayError } from "../base/errors.ts";

export type Row = Readonly<Record<string, SQLOutputValue>>;
export type Parameters = Readonly<Record<string, SQLInputValue>>;

export interface DatabaseOptions {
  readonly busyTimeoutMs?: number;
  /**
   * false: commits are ordered but may be lost by a power failure (synchronous=NORMAL); for rows that
   * the journal can tell again.
   */
  readonly durable?: boolean;
}

const BUSY_TIMEOUT_MS = 50;

export class Database implements Disposable {
  readonly #connection: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #inTransaction = false;

  constructor(path: string, options: DatabaseOptions = {}) {
    const timeout = options.busyTimeoutMs ?? BUSY_TIMEOUT_MS;
    this.#connection = guarded(() => {
      // The file holds command texts and verifiers: nobody but the gateway's user reads it. SQLite
      // gives -wal and -shm the permissions of the file.
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      closeSync(openSync(path, "a", 0o600));
      chmodSync(path, 0o600);
      const connection = new DatabaseSync(path, { timeout });
      try {
        connection.exec("PRAGMA journal_mode = WAL");
        connection.exec(`PRAGMA synchronous = ${options.durable === false ? "NORMAL" : "FULL"}`);
        connection.exec("PRAGMA foreign_keys = ON");
        // What is deleted or replaced is overwritten: erasing has nothing to look for in free pages.
        connection.exec("PRAGMA secure_delete = ON");
      } catch (thrown) {
        connection.close();
        throw thrown;
      }
      return connection;
    });
  }

  exec(sql: string): void {
    guarded(() => this.#connection.exec(sql));
  }

  /** Rows changed. */
  run(sql: string, parameters: Parameters = {}): number {
    return guarded(() => Number(this.#prepare(sql).run(parameters).changes));
  }

  get(sql: string, parameters: Parameters = {}): Row | undefined {
    return guarded(() => this.#prepare(sql).get(parameters));
  }

  all(sql: string, parameters: Parameters = {}): readonly Row[] {
    return guarded(() => this.#prepare(sql).all(parameters));
  }

  /** All of `work` or nothing of it. Takes the write lock at once, so that it cannot fail half-way for it. */
  transaction<Result>(work: () => Result): Result {
    if (this.#inTransaction) return work();
    guarded(() => this.#connection.exec("BEGIN IMMEDIATE"));
    this.#inTransaction = true;
    try {
      const result = work();
      guarded(() => this.#connection.exec("COMMIT"));
      return result;
    } catch (thrown) {
      if (this.#connection.isTransaction) this.#connection.exec("ROLLBACK");
      throw thrown;
    } finally {
      this.#inTransaction = false;
    }
  }

  [Symbol.dispose](): void {
    this.#statements.clear();
    if (this.#connection.isOpen) this.#connection.close();
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#connection.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** Readers of one column: what has another type than the schema says is a fault of ours. */
export function textOf(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== "string") throw misread(column);
  return value;
}

export function numberOf(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== "number") throw misread(column);
  return value;
}

export function optionalText(row: Row, column: string): string | undefined {
  return row[column] === null ? undefined : textOf(row, column);
}

export function optionalNumber(row: Row, column: string): number | undefined {
  return row[column] === null ? undefined : numberOf(row, column);
}

export function optionalBytes(row: Row, column: string): Uint8Array | undefined {
  const value = row[column];
  if (value === null) return undefined;
  if (!(value instanceof Uint8Array)) throw misread(column);
  return value;
}

function misread(column: string): GatewayError {
  return new GatewayError("internal", "the store holds a value of a kind it cannot", {
    cause: new TypeError(`column ${column}`),
  });
}

// https://sqlite.org/rescode.html: the low byte is the primary result code.
const UNAVAILABLE: Readonly<Record<number, string>> = {
  5: "the gateway's store is locked by another process; nothing was changed, try again",
  6: "the gateway's store is locked; nothing was changed, try again",
  8: "the gateway's store is read-only; nothing was changed",
  10: "the gateway's store cannot be read or written; nothing was changed",
  11: "the gateway's store is damaged; nothing was changed",
  13: "the disk of the gateway's store is full; nothing was changed",
  14: "the gateway's store cannot be opened",
  26: "the gateway's store is not a database",
};

function guarded<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (thrown) {
    if (thrown instanceof GatewayError) throw thrown;
    const result = Object(thrown).errcode;
    const message = typeof result === "number" ? UNAVAILABLE[result & 0xff] : undefined;
    if (message !== undefined)
      throw new GatewayError("dependency_unavailable", message, { cause: thrown });
    if (typeof Object(thrown).syscall === "string")
      throw new GatewayError("dependency_unavailable", "the gateway's store cannot be opened", {
        cause: thrown,
      });
    throw new GatewayError("internal", "the gateway's store refused a command", { cause: thrown });
  }
}
