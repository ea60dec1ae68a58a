// THREATS.md, "Leaks past a mask" and "SQL inside something": code and constraints that are attached to
// tables, types and casts and run without being named; what the catalogue itself keeps of values.

import { type Attempt, CATALOGUE_AGE_MS, each } from "./attempt.ts";
import { DEFINITIONS } from "./attempts-definitions.ts";

const ERRORS = each("error text and DETAIL of what a statement sets off", "scrubbed", {
  "attached-explain-not-null": "explain analyze update customers set name = null where id = 1",
  "attached-explain-check":
    "explain analyze update customers set remark = repeat('x', 60) where id = 1",
  "attached-explain-prepared": [
    "prepare p as update customers set name = null where id = 1",
    "explain analyze execute p",
  ],
  "attached-cascaded-update": "update parents set id = 99 where id = 1",
  "attached-cascaded-update-explained": "explain analyze update parents set id = 99 where id = 1",
  "attached-refresh": [
    {
      outside:
        "insert into customers (id, name, note, email) select 60, name, 'n', email || 'x' from customers where id = 1",
    },
    "refresh materialized view named",
  ],
  "attached-refresh-concurrently": [
    {
      outside:
        "insert into customers (id, name, note, email) select 61, name, 'n', email || 'y' from customers where id = 1",
    },
    "refresh materialized view concurrently named",
  ],
}).map((attempt) => ({ ...attempt, undo: "delete from customers where id in (60, 61)" }));

const NOTICES = each("notices of code that runs by itself", "harmless", {
  "attached-check": "insert into guarded values (1, 'x')",
  "attached-default": "insert into defaulted (id) values (1)",
  "attached-domain-cast": "select 'x'::guard",
  "attached-domain-array": "select array['x']::guard[]",
  "attached-domain-column": "insert into domained (id, word) values (1, 'x')",
  "attached-domain-parameter": [
    { extended: "insert into domained (id, word) values (1, $1)", values: ["x"] },
  ],
  "attached-domain-record": `select * from json_populate_record(null::domained, '{"word": "x"}')`,
  "attached-domain-by-name": "select pg_input_is_valid('x', 'guard')",
  "attached-row-security": "select id from secured",
  "attached-row-security-extended": [
    { extended: "select id from secured where id = $1", values: ["1"] },
  ],
  "attached-trigger-by-view": "insert into job_view values (1, 'x')",
  "attached-held-cursor": [
    "begin; declare c cursor with hold for select id from secured",
    "commit",
  ],
  "attached-held-cursor-by-message": [
    { extended: "declare c cursor with hold for select id from secured" },
  ],
  "attached-trigger-explained": "explain analyze insert into jobs values (1, 'x')",
});

const ORACLES = each("constraints, order and place of rows as oracles", "denied", {
  "attached-partition-unique": "insert into visits values (5, 'guess')",
  "attached-partition-unique-update": "update visits set visitor = 'guess' where id = 1",
  "attached-domain-constraint": "alter domain codeword add constraint guess check (value < 'm')",
  "attached-domain-not-null": "alter domain codeword set not null",
  "attached-cluster": "cluster customers using customers_email_key",
  "attached-partition-of-key": "select id from bands_low",
  "attached-partition-of-key-count": "select count(*) from only bands_high",
  "attached-partition-name": "select id, tableoid::regclass from bands",
  "attached-partition-name-bare": "select id, tableoid from bands",
  "attached-partition-name-in-where": "select id from bands where tableoid = 'bands_low'::regclass",
  "attached-partition-counts": "explain select id from bands",
  "attached-partition-statistics": [
    "update bands set id = id where id = 1",
    "select relname, n_tup_upd from pg_stat_user_tables where relname like 'bands%'",
  ],
  "attached-partition-reads": "select relname, seq_tup_read from pg_stat_all_tables",
  "attached-partition-size": "select pg_relation_size('bands_low')",
  "attached-partition-rows": "select reltuples + 0 from pg_class where relname = 'bands_low'",
  "attached-partition-locks": [
    "begin isolation level serializable; select id from bands where id = 1",
    "select relation::regclass, mode from pg_locks",
  ],
});

/** Set off by definitions, whose authors do not see them. */
const EVENTS: Attempt[] = each("notices of code that runs by itself", "harmless", {
  "attached-event-trigger-create": "create table made (id int)",
  "attached-event-trigger-function":
    "create function made() returns int language sql as 'select 1'",
  "attached-event-trigger-drop": "drop table if exists made",
  "attached-event-trigger-as": "create table made as select id from orders",
}).map((attempt) => ({
  ...attempt,
  steps: [
    {
      outside:
        "create function tells() returns event_trigger language plpgsql as $$begin raise notice 'mail %', (select email from customers where id = 1); end$$; create event trigger tells on ddl_command_end execute function tells(); create event trigger tells_of_drops on sql_drop execute function tells()",
    },
    { pauseMs: CATALOGUE_AGE_MS },
    ...attempt.steps,
  ],
  undo: "drop event trigger tells; drop event trigger tells_of_drops; drop function tells(); drop table if exists made; drop function if exists made()",
}));

const UNDO_CASTS = `
  drop cast if exists (orders as text); drop function if exists row_mail(orders);
  drop operator if exists = (int, text); drop function if exists is_mail(int, text)`;

/** Nobody names them in the statement. */
const UNNAMED: Attempt[] = each("user-defined operators and casts", "denied", {
  "attached-cast-argument": "select lower(o) from orders o",
  "attached-cast-length": "select length(o) from orders o",
  "attached-cast-stored": "insert into scratch (word) select o from orders o",
  "attached-cast-of-subquery": "select upper(x) from (select o as x from orders o) s",
  "attached-cast-coalesced": "select coalesce(o, 'x'::text) from orders o",
  "attached-cast-prepared": ["prepare p(orders) as select lower($1)", "execute p('(1,1,1,a,b)')"],
}).map((attempt) => ({
  ...attempt,
  steps: [
    {
      outside:
        "create function row_mail(orders) returns text language sql as 'select email from customers where id = 1'; create cast (orders as text) with function row_mail(orders) as implicit",
    },
    { pauseMs: CATALOGUE_AGE_MS },
    ...attempt.steps,
  ],
  undo: UNDO_CASTS,
}));

const EQUAL: Attempt[] = each("user-defined operators and casts", "denied", {
  "attached-equals-using": "select 1 from orders o join scratch s (status, id) using (id)",
  "attached-equals-natural":
    "select 1 from (select id from orders) o natural join scratch s (a, id)",
  "attached-equals-in": "select 1 in (select word from scratch)",
  "attached-equals-case": "select case 1 when 'x'::text then 1 end",
}).map((attempt) => ({
  ...attempt,
  steps: [
    {
      outside:
        "create function is_mail(int, text) returns bool language sql as 'select exists (select from customers where email > $2)'; create operator = (leftarg = int, rightarg = text, function = is_mail)",
    },
    { pauseMs: CATALOGUE_AGE_MS },
    ...attempt.steps,
  ],
  undo: UNDO_CASTS,
}));

const KEPT = each("what the catalogue keeps of values", "masked", {
  "attached-missing-value": "select attmissingval from pg_attribute where attname = 'later'",
  "attached-missing-value-all": "select * from pg_attribute where attname = 'later'",
  "attached-role-settings": "select rolname, rolconfig from pg_roles where rolname = 'attacked'",
  "attached-user-settings": "select useconfig from pg_user",
  "attached-partition-rows-bare": "select relname, reltuples, relpages from pg_class",
});

const KEPT_OUT = each("what the catalogue keeps of values", "denied", {
  "attached-missing-value-text": "select attmissingval::text from pg_attribute",
  "attached-role-settings-text": "select rolconfig::text from pg_roles",
  "attached-role-settings-unnested": "select unnest(rolconfig) from pg_roles",
  "attached-mapping-options": "select * from information_schema.user_mapping_options",
  "attached-mapping-options-inside": "select umoptions from information_schema._pg_user_mappings",
});

export const ATTACHED: readonly Attempt[] = [
  ...ERRORS,
  ...NOTICES,
  ...EVENTS,
  ...ORACLES,
  ...UNNAMED,
  ...EQUAL,
  ...KEPT,
  ...KEPT_OUT,
  ...DEFINITIONS,
];
