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
    "-- so that they can be masked; those of class never are not.",
  ];
  for (const schema of target.searchPath.map(identifier))
    lines.push(
      `GRANT USAGE ON SCHEMA ${schema} TO ${to};`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ${to};`,
      `GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA ${schema} TO ${to};`,
      `REVOKE CREATE ON SCHEMA ${schema} FROM PUBLIC;`,
      `REVOKE CREATE ON SCHEMA ${schema} FROM ${to};`,
    );
  lines.push(...outOfReach(target, to));
  lines.push(
    "",
    "-- Temporary tables could shadow the names that statements were judged by.",
    "DO $$ BEGIN",
    "  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());",
    "END $$;",
    "",
    "-- New functions are everybody's to execute unless this says otherwise, for each role that makes some.",
    "-- Functions with their owner's rights (SECURITY DEFINER) are the ones to look at: custody doctor.",
    "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;",
    "",
  );
  return lines;
}

/** A right to a whole table outweighs what is taken from its columns, so it is given column by column. */
function outOfReach(target: PostgresTarget, to: string): string[] {
  const tables = new Map<string, string[]>();
  for (const one of target.classify)
    if (one.class === NEVER) {
      const table = `${identifier(one.schema)}.${identifier(one.table)}`;
      tables.set(table, [...(tables.get(table) ?? []), literal(one.column)]);
    }
  const quoted = to.replaceAll("'", "''").replaceAll("%", "%%");
  const lines: string[] = [];
  for (const [table, columns] of tables)
    lines.push(
      "",
      `-- Columns of class never in ${table} and its partitions: every other column is granted by name (again`,
      "-- when there are new ones), and views that show such a column are not.",
      "DO $$ DECLARE one oid; others text; BEGIN",
      "  FOR one IN WITH RECURSIVE family AS (",
      `      SELECT to_regclass(${literal(table)})::oid AS oid UNION`,
      "      SELECT CASE WHEN i.inhparent = f.oid THEN i.inhrelid ELSE i.inhparent END",
      "        FROM pg_inherits i JOIN family f ON f.oid IN (i.inhparent, i.inhrelid))",
      "    SELECT oid FROM family WHERE oid IS NOT NULL LOOP",
      `    EXECUTE format('REVOKE SELECT, INSERT, UPDATE, REFERENCES ON %s FROM ${quoted}, PUBLIC', one::regclass);`,
      "    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO others FROM pg_attribute",
      "      WHERE attrelid = one AND attnum > 0 AND NOT attisdropped",
      `        AND attname NOT IN (${columns.join(", ")});`,
      `    EXECUTE format('GRANT SELECT (%1$s), INSERT (%1$s), UPDATE (%1$s) ON %2$s TO ${quoted}', others, one::regclass);`,
      "  END LOOP;",
      "  FOR one IN WITH RECURSIVE showing AS (",
      "      SELECT r.ev_class AS oid FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid",
      "        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid",
      "        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass",
      `          AND d.refobjid = to_regclass(${literal(table)}) AND a.attname IN (${columns.join(", ")})`,
      "      UNION SELECT r.ev_class FROM showing s JOIN pg_depend d ON d.refobjid = s.oid AND d.deptype = 'n'",
      "        JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass)",
      "    SELECT oid FROM showing LOOP",
      `    EXECUTE format('REVOKE ALL ON %s FROM ${quoted}, PUBLIC', one::regclass);`,
      "  END LOOP;",
      "END $$;",
    );
  return lines;
}

const NEVER = "never";

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
