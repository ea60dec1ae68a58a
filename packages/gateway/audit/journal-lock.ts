// One writer a journal. A data process that lost its control process ends itself, but not before the next
// gateway may have been started, and nothing else keeps an operator from starting two on one folder: two
// writers would break the chain of either.
//
// The lock is SQLite's on an empty database, which is the operating system's own: it goes with the process
// that has it, however that ends.

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { GatewayError } from "../base/errors.ts";
import { journalDirectory } from "./journal-files.ts";

/** As long as an ended process may take to be gone. */
const PATIENCE_MS = 10_000;
/** SQLite's result code: somebody else has the lock. */
const SQLITE_BUSY = 5;

/** A lock that nobody refers to would be collected, and with it let go. */
const held = new Set<DatabaseSync>();

/**
 * The journal's folder must exist. Waits, without letting anything else run, for an owner that ends.
 * Throws GatewayError "configuration" when there is another one.
 */
export function lockJournal(
  dataDirectory: string,
  worker: number,
  patienceMs: number = PATIENCE_MS,
): Disposable {
  const path = join(journalDirectory(dataDirectory), `worker-${worker}.lock`);
  try {
    const lock = new DatabaseSync(path, { timeout: patienceMs });
    lock.exec("BEGIN EXCLUSIVE");
    held.add(lock);
    return {
      [Symbol.dispose]() {
        if (held.delete(lock)) lock.close();
      },
    };
  } catch (cause) {
    if ((cause as { errcode?: number }).errcode === SQLITE_BUSY)
      throw new GatewayError("configuration", `another gateway uses ${dataDirectory}`, {
        hint: "stop it, or give this one a data folder of its own",
        cause,
      });
    throw new GatewayError("evidence_unavailable", `${path} cannot be opened`, { cause });
  }
}
