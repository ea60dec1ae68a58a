// What a DBA reviews and runs once so that the gateway can work on a PostgreSQL target. The gateway
// prints it and never runs it: it changes no grants of others.

import type { PostgresTarget } from "../target/target.ts";

/** One script for one account; every statement can be run twice. */
export function postgresSetupSql(target: PostgresTarget, account: string): string {
  const found = target.accounts.find(({ name }) => name === account);
  if (found === undefined) throw new RangeError(`target ${target.name} has no account ${account}`);
  const { credential } = found;
  const head = [
    `-- Custody: target ${target.name}, account ${account}.`,
    `-- Review it, then run it with psql as a superuser, in each database clients may use.`,
    "",
  ];
  if (credential.kind === "fixed-role")
    return [
      ...head,
      `-- fixed-role: clients share the role ${credential.user}; prefer session-role where you can.`,
      ...role(
        credential.user,
        "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
      ),
      `\\password ${identifier(credential.user)}`,
      ...rights(target, credential.user),
    ].join("\n");
  const { admin, profile } = credential;
  return [
    ...head,
    "-- The gateway's own login: makes and drops a login role for each session, ends its backends.",
    ...role(admin.user, "LOGIN CREATEROLE NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS"),
    `\\password ${identifier(admin.user)}`,
    `GRANT pg_signal_backend TO ${identifier(admin.user)};`,
    "",
    "-- The profile: a role nobody logs in to, which holds what sessions may do.",
    ...role(profile, "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"),
    `GRANT ${identifier(profile)} TO ${identifier(admin.user)} WITH ADMIN OPTION;`,
    ...rights(target, profile),
  ].join("\n");
}

function role(name: string, attributes: string): string[] {
  return [
    "DO $$ BEGIN",
    `  CREATE ROLE ${identifier(name)} ${attributes};`,
    "EXCEPTION WHEN duplicate_object THEN NULL;",
    "END $$;",
  ];
}

function rights(target: PostgresTarget, grantee: string): string[] {
  const to = identifier(grantee);
  const lines = [
    "",
    "-- What the account may do; take out what it need not. Columns listed as classified are granted",
    "-- so that they can be masked; leave a column out of the grants to put it out of reach for good.",
  ];
  for (const schema of target.searchPath.map(identifier))
    lines.push(
      `GRANT USAGE ON SCHEMA ${schema} TO ${to};`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ${to};`,
      `GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA ${schema} TO ${to};`,
      `REVOKE CREATE ON SCHEMA ${schema} FROM PUBLIC;`,
    );
  lines.push(
    "",
    "-- Temporary tables could shadow the names that statements were judged by.",
    "DO $$ BEGIN",
    "  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());",
    "END $$;",
    "",
  );
  return lines;
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
