// Erasing in SQLite (recording/erasures.ts says what is asked of it). Deleted rows are overwritten
// (database.ts), and the write-ahead log is emptied, so that the files have nothing of them either.

import type { ErasureStore } from "../recording/erasures.ts";
import { type Database, textOf } from "./database.ts";

const ROOTS = "SELECT id FROM delegations WHERE parent_id IS NULL AND subject = $subject";
const TREES = `SELECT id FROM delegations WHERE root_id IN (${ROOTS})`;

export function createErasureStore(database: Database): ErasureStore {
  const erase = <T>(work: () => T): T => {
    const done = database.transaction(work);
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    return done;
  };
  return {
    eraseSession: (sessionId) =>
      erase(() => {
        database.run(
          `UPDATE requests SET command = '(erased)', parameters_json = '[]', justification = NULL
           WHERE session_id = $sessionId`,
          { sessionId },
        );
      }),
    eraseSubject: (subject) =>
      erase(() => {
        const about = { subject };
        const requests = `SELECT id FROM requests WHERE delegation_id IN (${TREES})`;
        database.run(`DELETE FROM votes WHERE request_id IN (${requests})`, about);
        database.run(`DELETE FROM requests WHERE delegation_id IN (${TREES})`, about);
        const sessions = database.run(
          `DELETE FROM sessions WHERE delegation_id IN (${TREES})`,
          about,
        );
        // Sign-ins go with their delegations; the references between those are checked at the end.
        database.run(`DELETE FROM delegations WHERE id IN (${TREES})`, about);
        return sessions;
      }),
    liveOf: (subject, nowMs) =>
      database
        .all(
          `SELECT id FROM delegations WHERE parent_id IS NULL AND subject = $subject
             AND revoked_at IS NULL AND expires_at > $nowMs`,
          { subject, nowMs },
        )
        .map((row) => textOf(row, "id")),
  };
}
