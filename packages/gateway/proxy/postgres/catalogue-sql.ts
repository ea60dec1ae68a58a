// What is asked of a target's catalogue: one statement for all parts of the snapshot (catalogue.ts), and the mark
// that is another text whenever somebody defined something.

import { GatewayError } from "../../base/errors.ts";
import type { Row } from "./catalogue-rows.ts";
import { BOUND_SETTINGS } from "./settings.ts";

/** FirstNormalObjectId: below it are the system's own objects. */
const OWN = 16_384;

/** Of the object `d` of pg_depend: a function or operator somebody made, in a language that may do anything. */
const RUNS_CODE = `d.refobjid >= ${OWN} AND EXISTS (SELECT FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
  WHERE p.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid
    WHEN 'pg_operator'::regclass THEN (SELECT o.oprcode FROM pg_catalog.pg_operator o WHERE o.oid = d.refobjid) END)`;

/** Types whose values run such code when they are made: domains, and what is made of them. */
const CODE_TYPES = `WITH RECURSIVE made(oid) AS (
    SELECT c.contypid FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid WHERE c.contypid <> 0 AND ${RUNS_CODE}
    UNION SELECT d.objid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_type'::regclass AND d.objid = t.oid WHERE t.typtype = 'd' AND ${RUNS_CODE}
    UNION SELECT n.oid FROM made CROSS JOIN LATERAL (
      SELECT t.oid FROM pg_catalog.pg_type t WHERE t.typbasetype = made.oid OR t.typelem = made.oid
      UNION ALL SELECT k.reltype FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class k ON k.oid = a.attrelid
        WHERE a.atttypid = made.oid AND a.attnum > 0 AND k.reltype <> 0) n
  )`;

/** SQL: an array of relations. */
type Locked = string;

/**
 * Relations that somebody else has, or waits for, alone. To put a definition in words the server locks what it is
 * made of: reading would wait for a transaction that may itself be waiting for the catalogue.
 */
const LOCKED: Locked = `ARRAY(SELECT l.relation FROM pg_catalog.pg_locks l
  WHERE l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))`;

/** Whether the object, of a rule or function, is made of none of these. */
function isFree(catalogue: "pg_rewrite" | "pg_proc", object: string, locked: Locked): string {
  return `NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = '${catalogue}'::regclass
    AND d.objid = ${object} AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (${locked}))`;
}

/**
 * Of the row `c` of pg_class: another text whenever the view was replaced, or it or one of its columns was given
 * another name.
 */
export function viewMark(c: string): string {
  return `concat_ws(':', (SELECT string_agg(r.xmin::text, ',' ORDER BY r.oid)
      FROM pg_catalog.pg_rewrite r WHERE r.ev_class = ${c}.oid),
    md5(concat_ws('.', ${c}.relnamespace, ${c}.relname, (SELECT json_agg(a.attname ORDER BY a.attnum)
      FROM pg_catalog.pg_attribute a WHERE a.attrelid = ${c}.oid AND a.attnum > 0)::text)))`;
}

/** Whatever happens meanwhile: no definition that would wait for anybody. */
const ALL: Locked = "ARRAY(SELECT oid FROM pg_catalog.pg_class)";

export type Part = keyof typeof WHOLE | HalvedPart;
export type HalvedPart = keyof typeof HALVED;

const WHOLE = {
  // A role's own settings are the gateway's: session roles have none but their role.
  bounds: `SELECT s.name, coalesce((SELECT substr(c, strpos(c, '=') + 1)
        FROM pg_catalog.pg_db_role_setting d JOIN pg_catalog.pg_database b ON b.oid = d.setdatabase
        CROSS JOIN LATERAL unnest(d.setconfig) AS c
        WHERE d.setrole = 0 AND b.datname = pg_catalog.current_database()
          AND split_part(c, '=', 1) = s.name), s.reset_val) AS value
    FROM pg_catalog.pg_settings s
    WHERE s.name IN (${BOUND_SETTINGS.map((name) => `'${name}'`).join(", ")}) ORDER BY 1`,
  settings: `SELECT current_setting('server_version_num')::int4 AS version, current_database()::text AS database,
    current_setting('server_encoding') AS encoding`,
  schemas: `SELECT nspname::text AS name FROM pg_catalog.pg_namespace ORDER BY oid`,
  inheritance: `SELECT inhrelid::int8 AS child, inhparent::int8 AS parent
    FROM pg_catalog.pg_inherits ORDER BY inhrelid, inhseqno`,
  references: `SELECT confrelid::int8 AS referenced, conrelid::int8 AS referencing,
      confdeltype::text AS deleting, confupdtype::text AS updating, conkey AS attributes, confkey AS referenced_attributes
    FROM pg_catalog.pg_constraint WHERE contype = 'f' ORDER BY oid`,
  checks: `SELECT conrelid::int8 AS relation, conkey AS attributes
    FROM pg_catalog.pg_constraint WHERE contype = 'c' AND conrelid <> 0 AND conkey IS NOT NULL ORDER BY oid`,
  // Code that runs by itself when rows are written or, under row security, read.
  attached: `SELECT c.conrelid::int8 AS relation, false AS reads FROM pg_catalog.pg_constraint c
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
      WHERE c.conrelid <> 0 AND ${RUNS_CODE}
    UNION SELECT a.adrelid::int8, false FROM pg_catalog.pg_attrdef a
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid WHERE ${RUNS_CODE}
    UNION SELECT i.indrelid::int8, false FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid WHERE ${RUNS_CODE}
    UNION SELECT polrelid::int8, true FROM pg_catalog.pg_policy ORDER BY 1, 2`,
  codeTypes: `${CODE_TYPES} SELECT oid::int8 AS type FROM made ORDER BY 1`,
  partitionKeys: `SELECT partrelid::int8 AS relation, partattrs::int2[] AS attributes
    FROM pg_catalog.pg_partitioned_table ORDER BY 1`,
  eventTriggers: `SELECT oid::int8 AS oid FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1`,
  rules: `SELECT ev_class::int8 AS relation, ev_type::text AS event
    FROM pg_catalog.pg_rewrite WHERE NOT (rulename = '_RETURN' AND ev_type = '1') ORDER BY oid`,
  // What an index depends on (pg_depend) are the columns of its expressions and predicate.
  unique: `SELECT i.indrelid::int8 AS relation, i.indexrelid::int8 AS index, array_agg(DISTINCT u.attribute) AS attributes
    FROM pg_catalog.pg_index i CROSS JOIN LATERAL (
      SELECT k.attribute::int4 FROM unnest(i.indkey::int2[]) AS k(attribute) WHERE k.attribute <> 0
      UNION ALL SELECT d.refobjsubid::int4 FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
      -- A generated column is indexed instead of the columns it is made of.
      UNION ALL SELECT d.refobjsubid::int4 FROM unnest(i.indkey::int2[]) AS k(attribute)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attribute
          AND a.attgenerated <> ''
        JOIN pg_catalog.pg_attrdef g ON g.adrelid = a.attrelid AND g.adnum = a.attnum
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = g.oid
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
      UNION ALL SELECT d.refobjsubid::int4 FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_depend d
          ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
        WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
    ) u(attribute)
    WHERE (i.indisunique OR i.indisexclusion) AND i.indrelid >= 16384 GROUP BY 1, 2 ORDER BY 1, 2`,
  operators: `SELECT n.nspname::text AS schema, o.oprname::text AS name,
      pn.nspname::text AS function_schema, p.proname::text AS function_name
    FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
    JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace WHERE o.oid >= 16384 ORDER BY o.oid`,
  casts: `SELECT n.nspname::text AS schema, t.typname::text AS name,
      pn.nspname::text AS function_schema, p.proname::text AS function_name,
      c.castsource::int8 AS source, c.castcontext <> 'e' AS unasked, p.oid::int8 AS function
    FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
    JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace WHERE c.oid >= 16384 ORDER BY c.oid`,
} as const;

type Half = (oid: string) => string;

/** Of the system's objects and of those somebody made. */
const HALVES: Readonly<Record<"system" | "own", Half>> = {
  system: (oid) => `${oid} < ${OWN}`,
  own: (oid) => `${oid} >= ${OWN}`,
};

/**
 * The large parts, of which most rows are the system's and stay what they are while SYSTEM_MARK does: those are
 * kept (catalogue.ts).
 */
const HALVED = {
  relations: (
    half,
    locked,
  ) => `SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name,
      c.relkind::text AS kind, c.reltype::int8 AS row_type, pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
      c.relispartition AS partition,
      CASE WHEN c.relkind IN ('v','m') AND n.nspname NOT IN ('pg_catalog','information_schema')
        THEN coalesce((SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_rewrite r
          WHERE r.ev_class = c.oid AND r.rulename = '_RETURN' AND ${isFree("pg_rewrite", "r.oid", locked)}), '') END AS definition,
      CASE WHEN c.relkind IN ('v','m') AND c.oid >= 16384 THEN ${viewMark("c")} END AS mark,
      (SELECT count(*)::int4 FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS triggers
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind <> 't' AND ${half("c.oid")} ORDER BY c.oid`,
  columns: (
    half,
    locked,
  ) => `SELECT a.attrelid::int8 AS relation, a.attnum::int4 AS attribute, a.attname::text AS name,
      a.atttypid::int8 AS type,
      CASE WHEN a.attgenerated <> '' THEN CASE WHEN a.attrelid = ANY (${locked}) THEN ''
        ELSE pg_catalog.pg_get_expr(d.adbin, d.adrelid) END END AS generated
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind NOT IN ('t','i','I')
      AND ${half("a.attrelid")}
    ORDER BY a.attrelid, a.attnum`,
  functions: (
    half,
    locked,
  ) => `SELECT p.oid::int8 AS oid, n.nspname::text AS schema, p.proname::text AS name,
      coalesce(f.language, l.lanname)::text AS language, p.provolatile::text AS volatility, p.prokind::text AS kind,
      p.prosecdef AS definer, p.pronargs::int4 AS inputs, p.pronargdefaults::int4 AS defaults,
      p.provariadic <> 0 AS variadic, p.proretset AS set,
      (t.typtype = 'c' OR t.typname IN ('record', 'anyelement', 'anycompatible')) AS row,
      pg_catalog.array_to_json(p.proargmodes)::text AS modes,
      pg_catalog.array_to_json(p.proargnames)::text AS names,
      CASE WHEN b.followed AND p.prosqlbody IS NULL THEN p.prosrc
        WHEN b.followed AND ${isFree("pg_proc", "p.oid", locked)} THEN pg_catalog.pg_get_function_sqlbody(p.oid) END AS body,
      CASE WHEN p.oid >= 16384 THEN p.xmin::text END AS mark,
      b.followed AND p.prosqlbody IS NOT NULL AS parsed,
      CASE WHEN b.followed THEN pg_catalog.pg_get_expr(p.proargdefaults, 0) END AS default_values,
      CASE WHEN b.followed THEN pg_catalog.array_to_json(p.proconfig)::text END AS config
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    JOIN pg_catalog.pg_type t ON t.oid = p.prorettype
    CROSS JOIN LATERAL (SELECT l.lanname = 'sql' AND p.prokind IN ('f', 'p') AND p.oid >= 16384 AS followed) b
    -- An aggregate is "internal" itself; what runs is its functions, of which one in another language.
    LEFT JOIN LATERAL (SELECT min(il.lanname::text) AS language FROM pg_catalog.pg_aggregate a
      JOIN pg_catalog.pg_proc i ON i.oid = ANY (ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
        a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::oid[])
      JOIN pg_catalog.pg_language il ON il.oid = i.prolang AND il.lanname NOT IN ('internal', 'c')
      WHERE a.aggfnoid = p.oid AND p.oid >= 16384) f ON p.prokind = 'a'
    WHERE ${half("p.oid")} ORDER BY p.oid`,
  types: (half) => `SELECT t.oid::int8 AS oid, n.nspname::text AS schema, t.typname::text AS name,
      t.typtype::text AS kind
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE ${half("t.oid")} ORDER BY t.oid`,
} satisfies Record<string, (half: Half, locked: Locked) => string>;

/**
 * One statement of one row, with JSON in texts: `catalogue`, `mark` (of the system's objects) and, when asked for,
 * `system`, their half of the parts that have halves. `neverWaits`: nor does it read definitions of views.
 */
function catalogueSql(withSystem: boolean, neverWaits: boolean): string {
  const halves = (half: Half) =>
    Object.entries(HALVED).map(
      ([part, sql]) => [part, sql(half, neverWaits ? ALL : LOCKED)] as const,
    );
  const own = jsonOf([...Object.entries(WHOLE), ...halves(HALVES.own)]);
  const system = withSystem ? jsonOf(halves(HALVES.system)) : "NULL";
  return `SELECT ${own} AS catalogue, ${SYSTEM_MARK} AS mark, ${system} AS system`;
}

/** The row of `catalogueSql`. `read`: see `SnapshotReader`. */
export async function readCatalogue(
  read: (sql: string) => Promise<Row[]>,
  withSystem: boolean,
): Promise<Row> {
  for (let attempt = 1; ; attempt++)
    try {
      const [row] = await read(
        `SELECT pg_catalog.set_config('search_path', 'pg_catalog', true),
           pg_catalog.set_config('lock_timeout', '${LOCK_TIMEOUT_MS}', true);
         ${catalogueSql(withSystem, attempt > MAX_WITH_DEFINITIONS)}`,
      );
      return row ?? {};
    } catch (thrown) {
      if (attempt === MAX_ATTEMPTS || !isOvertaken(thrown)) throw thrown;
    }
}

const LOCK_TIMEOUT_MS = 200;
/** After these no definition of a view is read: whatever others do meanwhile, it ends. */
const MAX_WITH_DEFINITIONS = 3;
const MAX_ATTEMPTS = 6;

/**
 * What others did after the reading began came in its way, and the next attempt knows it: a lock (55P03); a drop,
 * since definitions are put in words by the catalogue of that moment, not by the one that is read ("could not
 * open relation with OID", "cache lookup failed": XX000; and the codes of what does not exist).
 */
const OVERTAKEN = new Set(["55P03", "XX000", "42P01", "42703", "42704", "42883", "3F000"]);

function isOvertaken(thrown: unknown): boolean {
  const cause = thrown instanceof GatewayError ? thrown.cause : thrown;
  return cause instanceof Error && "code" in cause && OVERTAKEN.has(String(cause.code));
}

function jsonOf(parts: readonly (readonly [string, string])[]): string {
  const fields = parts.map(
    ([part, sql]) => `'${part}', (SELECT json_agg(part) FROM (${sql}) part)`,
  );
  return `json_build_object(${fields.join(",\n")})::text`;
}

/** Who wrote each row of the catalogue: a change of whatever kind gives another sum. */
export const MARK = `SELECT concat_ws(' ', ${[
  ["pg_class", "oid", "oid >= 16384"],
  ["pg_attribute", "attrelid::int8 * 2048 + attnum", "attrelid >= 16384"],
  ["pg_attrdef", "oid", "true"],
  ["pg_rewrite", "oid", "oid >= 16384"],
  ["pg_proc", "oid", "oid >= 16384"],
  ["pg_aggregate", "aggfnoid::oid", "aggfnoid::oid >= 16384"],
  ["pg_type", "oid", "oid >= 16384"],
  ["pg_operator", "oid", "oid >= 16384"],
  ["pg_cast", "oid", "oid >= 16384"],
  ["pg_trigger", "oid", "true"],
  ["pg_policy", "oid", "true"],
  ["pg_event_trigger", "oid", "true"],
  ["pg_index", "indexrelid", "indexrelid >= 16384"],
  ["pg_constraint", "oid", "oid >= 16384"],
  ["pg_inherits", "inhrelid", "true"],
  ["pg_namespace", "oid", "true"],
]
  .map(([table = "", key = "", own = ""]) => writersOf(table, key, own))
  .join(", ")})::text AS mark`;

/** The same of the system's objects, with all that the parts which are kept of them are made of. */
const SYSTEM_MARK = `concat_ws(' ', current_setting('server_version_num'),
  (SELECT string_agg(DISTINCT pg_catalog.pg_get_userbyid(relowner)::text, ',') FROM pg_catalog.pg_class WHERE oid < ${OWN}),
  ${[
    ["pg_class", "oid", `oid < ${OWN}`],
    ["pg_attribute", "attrelid::int8 * 2048 + attnum", `attrelid < ${OWN}`],
    ["pg_proc", "oid", `oid < ${OWN}`],
    ["pg_type", "oid", `oid < ${OWN}`],
    ["pg_trigger", "oid", `tgrelid < ${OWN}`],
    ["pg_namespace", "oid", `oid < ${OWN}`],
    ["pg_language", "oid", "true"],
  ]
    .map(([table = "", key = "", system = ""]) => writersOf(table, key, system))
    .join(", ")})`;

function writersOf(table: string, key: string, where: string): string {
  return `(SELECT sum(pg_catalog.hashint8extended(xmin::text::int8, (${key})::int8)) FROM pg_catalog.${table} WHERE ${where})`;
}
