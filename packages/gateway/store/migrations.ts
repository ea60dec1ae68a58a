// The schema of the store, as steps that each run once. A step is never edited after it was released:
// add another.

import { GatewayError } from "../base/errors.ts";
import { type Database, numberOf } from "./database.ts";

const STEPS: readonly string[] = [
  `
  CREATE TABLE delegations (
    id TEXT PRIMARY KEY,
    parent_id TEXT REFERENCES delegations (id),
    root_id TEXT NOT NULL REFERENCES delegations (id),
    depth INTEGER NOT NULL,
    kind TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    groups_json TEXT NOT NULL,
    groups_at INTEGER NOT NULL,
    provenance TEXT NOT NULL,
    grant_json TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    renewable_until INTEGER NOT NULL,
    handle_verifier BLOB,
    revoked_at INTEGER,
    revoked_by TEXT,
    revoke_reason TEXT,
    CHECK ((parent_id IS NULL) = (depth = 0)),
    CHECK ((parent_id IS NULL) = (grant_json IS NULL)),
    CHECK (expires_at <= renewable_until)
  ) STRICT;
  CREATE INDEX delegations_by_parent ON delegations (parent_id);
  CREATE INDEX delegations_by_root ON delegations (root_id);
  CREATE INDEX delegations_by_subject ON delegations (subject) WHERE parent_id IS NULL;

  CREATE TABLE requests (
    id TEXT PRIMARY KEY,
    binding TEXT NOT NULL,
    delegation_id TEXT NOT NULL REFERENCES delegations (id),
    session_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    target TEXT NOT NULL,
    account TEXT NOT NULL,
    what TEXT NOT NULL,
    command TEXT NOT NULL,
    command_truncated INTEGER NOT NULL,
    parameters_json TEXT NOT NULL,
    requirements_json TEXT NOT NULL,
    chain_json TEXT NOT NULL,
    justification TEXT,
    state TEXT NOT NULL
      CHECK (state IN ('waiting', 'approved', 'spent', 'denied', 'expired', 'revoked')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX requests_live ON requests (delegation_id, binding)
    WHERE state IN ('waiting', 'approved');
  CREATE INDEX requests_by_time ON requests (created_at);

  CREATE TABLE votes (
    request_id TEXT NOT NULL REFERENCES requests (id),
    person TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    vote TEXT NOT NULL CHECK (vote IN ('approve', 'deny')),
    policies_json TEXT NOT NULL,
    reason TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (request_id, person)
  ) STRICT;

  CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    delegation_id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    target TEXT NOT NULL,
    account TEXT NOT NULL,
    database_name TEXT NOT NULL,
    client_address TEXT NOT NULL,
    chain_json TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    closed_at INTEGER,
    close_reason TEXT
  ) STRICT;
  CREATE INDEX sessions_by_time ON sessions (opened_at);
  `,
  `
  ALTER TABLE delegations ADD COLUMN key_json TEXT;
  ALTER TABLE delegations ADD COLUMN statement TEXT;
  ALTER TABLE delegations ADD COLUMN offline_children INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE votes ADD COLUMN delegation_id TEXT;
  `,
  `
  CREATE TABLE sign_ins (
    delegation_id TEXT PRIMARY KEY REFERENCES delegations (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    subject TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    provider_session TEXT,
    issued_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX sign_ins_by_subject ON sign_ins (provider, subject);

  CREATE TABLE ended_sign_ins (
    provider TEXT NOT NULL,
    subject TEXT,
    entity_id TEXT,
    provider_session TEXT,
    issued_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX ended_sign_ins_by_time ON ended_sign_ins (provider, issued_at);

  CREATE TABLE spent_tokens (
    provider TEXT NOT NULL,
    purpose TEXT NOT NULL,
    token_id TEXT NOT NULL,
    kept_until INTEGER NOT NULL,
    PRIMARY KEY (provider, purpose, token_id)
  ) STRICT;
  `,
  `
  ALTER TABLE delegations ADD COLUMN proof_keys BLOB;
  `,
  `
  ALTER TABLE requests ADD COLUMN preview_json TEXT NOT NULL DEFAULT '[]';
  `,
  `
  CREATE TABLE shown_tokens (
    digest TEXT PRIMARY KEY,
    delegation_id TEXT NOT NULL REFERENCES delegations (id) ON DELETE CASCADE,
    kept_until INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX shown_tokens_by_delegation ON shown_tokens (delegation_id);
  `,
  `
  DROP INDEX requests_by_time;
  CREATE INDEX requests_by_time ON requests (created_at, id);
  CREATE INDEX requests_by_state ON requests (state, created_at, id);
  CREATE INDEX sessions_by_delegation ON sessions (delegation_id, opened_at);
  CREATE INDEX delegations_by_depth ON delegations (depth, created_at);
  CREATE INDEX sessions_live ON sessions (opened_at) WHERE closed_at IS NULL;
  `,
];

export function migrate(database: Database): void {
  database.transaction(() => {
    const version = numberOf(database.get("PRAGMA user_version") ?? {}, "user_version");
    if (version > STEPS.length)
      throw new GatewayError(
        "configuration",
        `the store was written by a newer version of the gateway (schema ${version}, this one knows ${STEPS.length})`,
        { hint: "start the newer version, or restore the data folder that belongs to this one" },
      );
    for (const step of STEPS.slice(version)) database.exec(step);
    // A pragma takes no parameter; the value is a number of ours.
    database.exec(`PRAGMA user_version = ${STEPS.length}`);
  });
}
