// What a PostgreSQL target leaves open to the role its sessions act as: the second wall, which has to stand
// when the gateway's own judgement fails. Read only, by the login that reads the catalogue; nothing is
// changed and no row of a table is read. `custody doctor` prints it.

import type { PostgresAccount, PostgresTarget } from "../target/target.ts";

export interface Weakness {
  /**
   * `open`: a way around the gateway's judgement. `missing`: without it sessions fail. `loose`: more than an
   * account needs as a rule, or something to look at in time.
   */
  readonly severity: "open" | "missing" | "loose";
  /** `superuser`, `security-definer`, …: stable, for scripts. */
  readonly check: string;
  /** `role custody_app is a superuser` */
  readonly what: string;
  /** SQL or a sentence that would close it. */
  readonly remedy: string;
}

/** Runs one statement and gives its rows; parameters are text. */
export type ReadRows = (
  sql: string,
  values: readonly unknown[],
) => Promise<readonly Record<string, unknown>[]>;

/** The role that holds an account's rights: a session's login role has none of its own. */
export function roleOf({ credential }: PostgresAccount): string {
  return credential.kind === "session-role" ? credential.profile : credential.user;
}

/** Of one account in one database. Throws what `read` throws. */
export async function examinePostgres(
  target: PostgresTarget,
  account: PostgresAccount,
  read: ReadRows,
): Promise<readonly Weakness[]> {
  const role = roleOf(account);
  const found: Weakness[] = [];
  const [exists] = await read("SELECT 1 AS one FROM pg_roles WHERE rolname = $1", [role]);
  if (exists === undefined)
    return [
      {
        severity: "open",
        check: "role",
        what: `role ${role} does not exist`,
        remedy: `custody target setup ${target.name} ${account.name}`,
      },
    ];
  for (const check of CHECKS) {
    const values = check.values?.(target, account) ?? [role];
    if (values === undefined) continue;
    for (const row of await read(check.sql, values))
      found.push({
        severity: check.severity,
        check: check.name,
        what: String(row.what),
        remedy: String(row.remedy),
      });
  }
  return found;
}

interface Check {
  readonly name: string;
  readonly severity: Weakness["severity"];
  /** Gives `what` and `remedy`; $1 is the role unless `values` says otherwise. */
  readonly sql: string;
  readonly values?: (
    target: PostgresTarget,
    account: PostgresAccount,
  ) => readonly unknown[] | undefined;
}

/** 16384 is FirstNormalObjectId: below it are the system's own objects. */
const OWN = 16384;

const CHECKS: readonly Check[] = [
  {
    name: "attributes",
    severity: "open",
    sql: `SELECT format('role %s is %s', rolname, a.word) AS what,
        format('ALTER ROLE %I NO%s', rolname, upper(a.word)) AS remedy
      FROM pg_roles, LATERAL (VALUES ('superuser', rolsuper), ('createrole', rolcreaterole),
        ('createdb', rolcreatedb), ('replication', rolreplication), ('bypassrls', rolbypassrls)) a(word, has)
      WHERE rolname = $1 AND a.has`,
  },
  {
    name: "login",
    severity: "open",
    sql: `SELECT format('role %s can log in by itself, past the gateway', rolname) AS what,
        format('ALTER ROLE %I NOLOGIN', rolname) AS remedy
      FROM pg_roles WHERE rolname = $1 AND rolcanlogin`,
    values: (_target, { credential }) =>
      credential.kind === "session-role" ? [credential.profile] : undefined,
  },
  {
    name: "membership",
    severity: "open",
    sql: `SELECT format('role %s is a member of %s', $1::text, m.rolname) AS what,
        format('REVOKE %I FROM %I', m.rolname, $1::text) AS remedy
      FROM pg_roles m WHERE m.rolname <> $1 AND pg_has_role($1::name, m.oid, 'MEMBER')
        AND (m.rolsuper OR m.rolcreaterole OR m.rolbypassrls OR m.rolname IN ('pg_read_all_data',
          'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files',
          'pg_execute_server_program', 'pg_signal_backend', 'pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats',
          'pg_stat_scan_tables', 'pg_maintain', 'pg_create_subscription', 'pg_use_reserved_connections'))
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = $1)`,
  },
  {
    name: "ownership",
    severity: "open",
    sql: `SELECT format('role %s owns %s', $1::text, o.what) AS what,
        format('ALTER … OWNER TO somebody else: %s', o.what) AS remedy
      FROM (
        SELECT relowner AS owner, format('%s %s', CASE relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence'
            WHEN 'm' THEN 'materialized view' ELSE 'table' END, oid::regclass) AS what FROM pg_class
          WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND oid >= ${OWN}
        UNION ALL SELECT nspowner, format('schema %s', nspname) FROM pg_namespace
        UNION ALL SELECT datdba, format('database %s', datname) FROM pg_database
        UNION ALL SELECT proowner, format('function %s', oid::regprocedure) FROM pg_proc WHERE oid >= ${OWN}
      ) o WHERE o.owner = (SELECT oid FROM pg_roles WHERE rolname = $1) ORDER BY 1 LIMIT 20`,
  },
  {
    name: "create",
    severity: "open",
    sql: `SELECT format('role %s may create objects in schema %s', $1::text, nspname) AS what,
        format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I', nspname, $1::text) AS remedy
      FROM pg_namespace WHERE nspname !~ '^pg_' AND has_schema_privilege($1, oid, 'CREATE')
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = $1)
      UNION ALL
      SELECT format('role %s may create %s in database %s', $1::text, p.what, datname),
        format('REVOKE %s ON DATABASE %I FROM PUBLIC, %I', p.privilege, datname, $1::text)
      FROM pg_database, (VALUES ('CREATE', 'schemas'), ('TEMPORARY', 'temporary tables')) p(privilege, what)
      WHERE datname = current_database() AND has_database_privilege($1, oid, p.privilege)
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = $1) ORDER BY 1`,
  },
  {
    name: "security-definer",
    severity: "open",
    sql: `SELECT format('role %s may execute %s with the rights of %s (SECURITY DEFINER)', $1::text,
          p.oid::regprocedure, pg_get_userbyid(p.proowner)) AS what,
        format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I', p.oid::regprocedure, $1::text) AS remedy
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND has_schema_privilege($1, n.oid, 'USAGE') AND has_function_privilege($1, p.oid, 'EXECUTE')
      ORDER BY 1 LIMIT 50`,
  },
  {
    name: "untrusted-language",
    severity: "open",
    sql: `SELECT format('role %s may execute %s, which is in the untrusted language %s', $1::text,
          p.oid::regprocedure, l.lanname) AS what,
        format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I', p.oid::regprocedure, $1::text) AS remedy
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
      WHERE p.oid >= ${OWN} AND NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c')
        AND has_function_privilege($1, p.oid, 'EXECUTE') ORDER BY 1 LIMIT 50`,
  },
  {
    name: "reaches-out",
    severity: "open",
    sql: `SELECT format('role %s may execute %s, which reaches files, programs or other servers', $1::text,
          p.oid::regprocedure) AS what,
        format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I', p.oid::regprocedure, $1::text) AS remedy
      FROM pg_proc p WHERE p.proname ~ '^(dblink|pg_read_file|pg_read_binary_file|pg_ls_|pg_stat_file|lo_import|lo_export|pg_file_|http_|crosstab|pg_read_server)'
        AND has_function_privilege($1, p.oid, 'EXECUTE')
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = $1) ORDER BY 1 LIMIT 50`,
  },
  {
    name: "foreign-server",
    severity: "open",
    sql: `SELECT format('role %s may use the foreign server %s', $1::text, srvname) AS what,
        format('REVOKE USAGE ON FOREIGN SERVER %I FROM PUBLIC, %I', srvname, $1::text) AS remedy
      FROM pg_foreign_server WHERE has_server_privilege($1, oid, 'USAGE')
      UNION ALL
      SELECT format('role %s may read the foreign table %s', $1::text, c.oid::regclass),
        format('REVOKE ALL ON %s FROM PUBLIC, %I', c.oid::regclass, $1::text)
      FROM pg_class c WHERE c.relkind = 'f' AND has_table_privilege($1, c.oid, 'SELECT')`,
  },
  {
    name: "never",
    severity: "open",
    sql: `SELECT format('role %s may read %s.%s, which is classified never', $1::text, c.oid::regclass, a.attname) AS what,
        'custody target setup prints the column grants that leave it out' AS remedy
      FROM unnest($2::text[], $3::text[], $4::text[]) AS n(schema, relation, attribute)
      JOIN pg_namespace s ON s.nspname = n.schema
      JOIN pg_class named ON named.relnamespace = s.oid AND named.relname = n.relation
      JOIN LATERAL (WITH RECURSIVE family AS (SELECT named.oid UNION
          SELECT i.inhrelid FROM pg_inherits i JOIN family f ON i.inhparent = f.oid)
        SELECT oid FROM family) f ON true
      JOIN pg_class c ON c.oid = f.oid
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = n.attribute
      WHERE has_column_privilege($1, c.oid, a.attnum, 'SELECT')
      UNION ALL
      SELECT format('role %s may read %s, a view that uses %s.%s, which is classified never', $1::text,
          r.ev_class::regclass, named.oid::regclass, n.attribute),
        format('REVOKE ALL ON %s FROM PUBLIC, %I', r.ev_class::regclass, $1::text)
      FROM unnest($2::text[], $3::text[], $4::text[]) AS n(schema, relation, attribute)
      JOIN pg_namespace s ON s.nspname = n.schema
      JOIN pg_class named ON named.relnamespace = s.oid AND named.relname = n.relation
      JOIN pg_attribute a ON a.attrelid = named.oid AND a.attname = n.attribute
      JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = named.oid
        AND d.refobjsubid = a.attnum AND d.classid = 'pg_rewrite'::regclass
      JOIN pg_rewrite r ON r.oid = d.objid
      WHERE has_table_privilege($1, r.ev_class, 'SELECT')`,
    values: (target, account) => {
      const never = target.classify.filter((one) => one.class === "never");
      return [
        roleOf(account),
        never.map((one) => one.schema),
        never.map((one) => one.table),
        never.map((one) => one.column),
      ];
    },
  },
  {
    name: "large-objects",
    severity: "open",
    sql: `SELECT format('%s large objects are readable by role %s', count(*), $1::text) AS what,
        format('REVOKE SELECT ON LARGE OBJECT … FROM PUBLIC, %I', $1::text) AS remedy
      FROM pg_largeobject_metadata m, LATERAL aclexplode(m.lomacl) g
      WHERE g.grantee = 0 OR g.grantee IN (SELECT oid FROM pg_roles WHERE pg_has_role($1::name, oid, 'USAGE'))
      HAVING count(*) > 0`,
  },
  {
    name: "lo-compat",
    severity: "open",
    sql: `SELECT 'lo_compat_privileges is on: large objects have no access control' AS what,
        'ALTER SYSTEM SET lo_compat_privileges = off' AS remedy
      WHERE current_setting('lo_compat_privileges')::bool AND $1 <> ''`,
  },
  {
    name: "other-schemas",
    severity: "loose",
    sql: `SELECT format('role %s may read %s tables in schema %s, where no name is resolved', $1::text, count(*), n.nspname) AS what,
        format('REVOKE USAGE ON SCHEMA %I FROM PUBLIC, %I', n.nspname, $1::text) AS remedy
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND n.nspname <> ALL ($2::text[]) AND has_schema_privilege($1, n.oid, 'USAGE')
        AND has_table_privilege($1, c.oid, 'SELECT') GROUP BY n.nspname ORDER BY n.nspname`,
    values: (target, account) => [roleOf(account), target.searchPath],
  },
  {
    name: "default-privileges",
    severity: "loose",
    sql: `SELECT format('what %s makes is granted to %s by default (%s)', pg_get_userbyid(d.defaclrole),
          CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END, g.privilege_type) AS what,
        format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE …', pg_get_userbyid(d.defaclrole)) AS remedy
      FROM pg_default_acl d, LATERAL aclexplode(d.defaclacl) g
      WHERE d.defaclobjtype IN ('r', 'f', 'n') AND g.grantee <> d.defaclrole
        AND (g.grantee = 0 OR g.grantee = (SELECT oid FROM pg_roles WHERE rolname = $1)) ORDER BY 1`,
  },
  {
    name: "grant-option",
    severity: "loose",
    sql: `SELECT format('role %s may pass on %s on %s', $1::text, g.privilege_type, c.oid::regclass) AS what,
        format('REVOKE GRANT OPTION FOR %s ON %s FROM %I', g.privilege_type, c.oid::regclass, $1::text) AS remedy
      FROM pg_class c, LATERAL aclexplode(c.relacl) g
      WHERE g.is_grantable AND c.oid >= ${OWN} AND g.grantee <> c.relowner
        AND g.grantee = (SELECT oid FROM pg_roles WHERE rolname = $1) ORDER BY 1 LIMIT 20`,
  },
  {
    name: "left-behind",
    severity: "loose",
    sql: `SELECT format('session role %s has ended and is still there', r.rolname) AS what,
        format('DROP ROLE %I', r.rolname) AS remedy
      FROM pg_roles r WHERE r.rolname ~ '^custody_[a-z0-9]{6}_' AND r.rolvaliduntil < now() AND $1 <> ''
        AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.usename = r.rolname) ORDER BY 1 LIMIT 20`,
  },
];
