// What providers vouched for, in SQLite (identity/sign-ins.ts says what is asked of it). A column that
// is NULL in an end stands for any: all sessions of a subject, whoever had a session.

import type { ShownTokenStore, SignInStore } from "../identity/sign-ins.ts";
import type { SignalSubject } from "../identity/signals.ts";
import { type Database, textOf } from "./database.ts";

// A sign-in whose session its provider did not name may have come of the one that ended: where the
// subject is told too, it ends with it.
const SAME_SESSION = (ended: string, known: string, named: string) =>
  `(${ended} IS NULL OR ${known} = ${ended} OR (${known} IS NULL AND ${named}))`;

const MATCHING_SQL = `
  SELECT delegation_id FROM sign_ins
  WHERE provider = $provider AND issued_at <= $until
    AND ($subject IS NULL OR subject = $subject) AND ($entity IS NULL OR entity_id = $entity)
    AND ${SAME_SESSION("$session", "provider_session", "($subject IS NOT NULL OR $entity IS NOT NULL)")}`;

const ENDED_SQL = `
  SELECT 1 AS found FROM ended_sign_ins AS ended
  WHERE ended.provider = $provider AND ended.issued_at >= $issuedAt
    AND (ended.subject IS NULL OR ended.subject = $subject)
    AND (ended.entity_id IS NULL OR ended.entity_id = $entity)
    AND ${SAME_SESSION("ended.provider_session", "$session", "(ended.subject IS NOT NULL OR ended.entity_id IS NOT NULL)")}
  LIMIT 1`;

export function createSignInStore(database: Database): SignInStore {
  return {
    atomically: (work) => database.transaction(work),
    record({ delegationId, provider, subject, id, session, issuedAtMs }) {
      database.run(
        `INSERT OR REPLACE INTO sign_ins
           (delegation_id, provider, subject, entity_id, provider_session, issued_at)
         VALUES ($delegationId, $provider, $subject, $id, $session, $issuedAtMs)`,
        { delegationId, provider, subject, id, session: session ?? null, issuedAtMs },
      );
    },
    matching: (provider, whom, untilMs) =>
      database
        .all(MATCHING_SQL, { provider, until: untilMs, ...columnsOf(whom) })
        .map((row) => textOf(row, "delegation_id")),
    providers: () =>
      database
        .all("SELECT DISTINCT provider FROM sign_ins", {})
        .map((row) => textOf(row, "provider")),
    recordEnd(provider, whom, issuedAtMs) {
      database.run(
        `INSERT INTO ended_sign_ins (provider, subject, entity_id, provider_session, issued_at)
         VALUES ($provider, $subject, $entity, $session, $issuedAtMs)`,
        { provider, issuedAtMs, ...columnsOf(whom) },
      );
    },
    hasEnded: ({ provider, subject, id, session, issuedAtMs }) =>
      database.get(ENDED_SQL, {
        provider,
        issuedAt: issuedAtMs,
        ...columnsOf({ subject, id, session }),
      }) !== undefined,
    spend: (provider, purpose, tokenId, keptUntilMs) =>
      database.run(
        `INSERT INTO spent_tokens (provider, purpose, token_id, kept_until)
         VALUES ($provider, $purpose, $tokenId, $keptUntilMs) ON CONFLICT DO NOTHING`,
        { provider, purpose, tokenId, keptUntilMs },
      ) === 1,
  };
}

export function createShownTokenStore(database: Database): ShownTokenStore {
  return {
    delegationOf(digest) {
      const row = database.get("SELECT delegation_id FROM shown_tokens WHERE digest = $digest", {
        digest,
      });
      return row === undefined ? undefined : textOf(row, "delegation_id");
    },
    record(digest, delegationId, keptUntilMs) {
      database.run(
        `INSERT INTO shown_tokens (digest, delegation_id, kept_until)
         VALUES ($digest, $delegationId, $keptUntilMs)`,
        { digest, delegationId, keptUntilMs },
      );
    },
  };
}

function columnsOf(whom: SignalSubject) {
  return {
    subject: whom.subject ?? null,
    entity: whom.id ?? null,
    session: whom.session ?? null,
  };
}

/** What is older than the trees that are forgotten bears on no token that is still alive. */
export function forgetSignIns(database: Database, beforeMs: number): void {
  database.run("DELETE FROM ended_sign_ins WHERE issued_at < $beforeMs", { beforeMs });
  database.run("DELETE FROM spent_tokens WHERE kept_until < $beforeMs", { beforeMs });
  database.run("DELETE FROM shown_tokens WHERE kept_until < $beforeMs", { beforeMs });
}
