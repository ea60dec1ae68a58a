// THREATS.md, "Authorising something else than what runs": SQL inside something, the server as an agent,
// state between decision and execution, approvals.

import {
  bind,
  close,
  describeStatement,
  execute,
  parse,
  sync,
} from "@custody/wire/postgres/frontend.ts";
import { type Attempt, CATALOGUE_AGE_MS, each } from "./attempt.ts";

const INSIDE = each("SQL inside something", "denied", {
  "inside-do": "do $$ begin perform email from customers; end $$",
  "inside-do-language":
    "do language plpgsql 'begin raise notice ''%'', (select email from customers limit 1); end'",
  "inside-call": "call hand_out('x')",
  "inside-function-sql": "select first_mail()",
  "inside-function-plpgsql": "select first_mail_pl()",
  "inside-function-definer": "select * from all_customers()",
  "inside-function-definer-field": "select (all_customers()).email",
  "inside-function-in-where": "select 1 where first_mail() > 'm'",
  "inside-function-in-from": "select * from first_mail() f",
  "inside-function-rows-from": "select * from rows from (first_mail(), generate_series(1, 2)) r",
  "inside-function-lateral": "select * from orders o, lateral mail_of(o) m",
  "inside-function-notice": "select tell()",
  "inside-function-limit": "select 1 limit length(first_mail())",
  "inside-function-values": "values (first_mail())",
  "inside-function-returning": "update orders set status = status returning first_mail()",
  "inside-function-default-argument": "select coalesce(null, first_mail())",
  "inside-function-order": "select id from orders order by first_mail()",
  "inside-function-quoted": 'select "public"."first_mail"()',
  "inside-function-unicode": `select U&"first_\\006dail"()`,
  "inside-function-default": "select with_default()",
  "inside-function-atomic": "select atomic_mail()",
  "inside-function-return": "select returned_mail()",
  "inside-function-guess": "select guesses('x@example.com')",
  "inside-function-guess-of-rows": "select id from orders where guesses(status)",
  "inside-function-nested": "select calls_first()",
  "inside-function-other-path": "select moves_path()",
  "inside-attribute-of-row": "select (o).mail_of from orders o",
  "inside-attribute-qualified": "select o.mail_of from orders o",
  "inside-attribute-schema-qualified": "select public.orders.mail_of from public.orders",
  "inside-attribute-of-subquery": "select (select o from orders o limit 1).mail_of",
  "inside-attribute-open": "select x.mail_of from unnest(array(select o from orders o)) x",
  "inside-attribute-runs-sql":
    "select ('select to_tsvector(''simple'', email) from customers'::text).ts_stat",
  "inside-attribute-file": "select ('/etc/hostname'::text).pg_read_file",
  "inside-attribute-large-object": "select (4711::oid).lo_get",
  "inside-attribute-in-where": "select 1 where (('x'::text).pg_ls_dir) is null",
  "inside-aggregate": "select gathered(1)",
  "inside-aggregate-window": "select gathered(id) over () from orders",
  "inside-operator": "select 1 === 2",
  "inside-operator-qualified": "select 1 operator(public.===) 2",
  "inside-operator-any": "select 1 === any (array[1])",
  "inside-operator-subquery": "select 1 === any (select id from orders)",
  "inside-query-to-xml": "select query_to_xml('select email from customers', true, false, '')",
  "inside-table-to-xml": "select table_to_xml('customers', true, false, '')",
  "inside-schema-to-xml": "select schema_to_xml('public', true, false, '')",
  "inside-database-to-xml": "select database_to_xml(true, false, '')",
  "inside-cursor-to-xml": [
    "begin; declare c cursor for select email from customers",
    "select cursor_to_xml('c', 10, true, false, '')",
  ],
  "inside-query-to-xml-and-schema":
    "select query_to_xml_and_xmlschema('table customers', true, false, '')",
  "inside-ts-stat": "select * from ts_stat('select to_tsvector(email) from customers')",
  "inside-ts-stat-qualified":
    "select pg_catalog.ts_stat('select to_tsvector(email) from customers')",
  "inside-ts-rewrite":
    "select ts_rewrite('a'::tsquery, 'select ''a''::tsquery, email::tsquery from customers')",
  "inside-create-function": [
    "create function mine() returns text language sql as 'select email from customers limit 1'",
    "select mine()",
  ],
  "inside-create-function-atomic": [
    "create function mine() returns text begin atomic select email from customers limit 1; end",
    "select mine()",
  ],
  "inside-create-function-shadowing":
    "create function lower(varchar) returns text language sql as 'select email from customers limit 1'",
  "inside-create-aggregate": "create aggregate mine(int) (sfunc = gather, stype = text)",
  "inside-create-operator":
    "create operator <<< (leftarg = int, rightarg = int, function = same_mail)",
  "inside-create-cast": "create cast (orders as text) with function mail_of(orders) as implicit",
  "inside-create-trigger":
    "create trigger t before insert on scratch for each row execute function blurt()",
  "inside-create-event-trigger":
    "create event trigger t on ddl_command_end execute function blurt()",
  "inside-create-domain-check": "create domain d as text check (value > first_mail())",
  "inside-check-constraint": "alter table scratch add check (word > first_mail())",
  "inside-set-default": "alter table scratch alter word set default first_mail()",
  "inside-alter-using": "alter table scratch alter word type text using first_mail()",
  "inside-partition-key": "create table mine (a int) partition by list (first_mail())",
  "inside-index-expression": "create index on scratch (first_mail_pl())",
  "inside-prepared": ["prepare p as select first_mail()", "execute p"],
  "inside-prepared-with-expression": [
    "prepare p(text) as select $1",
    "execute p((select email from customers limit 1))",
  ],
  "inside-cursor": "begin; declare c cursor for select lower(email) from customers",
  "inside-multi": "select 1; select first_mail()",
  "inside-comment": "select /* /* */ ' */ email || '' from customers -- '",
  "inside-dollar-quote": "select $a$ $b$ $a$ || email from customers",
  "inside-string-continuation": "select 'a'\n'b' || email from customers",
  "inside-escape-string": "select E'\\'' || email from customers",
  "inside-unicode-string": "select U&'\\0027' || email from customers",
  "inside-backslash": "select '\\' || email from customers --'",
  "inside-values-in-insert": "insert into scratch values (1, first_mail())",
  "inside-explain": "explain analyze select first_mail()",
  "inside-create-table-as-execute": [
    "prepare p as select email from customers",
    "create table mine as execute p",
  ],
  "inside-create-schema-elements":
    "create schema mine create view v as select email from customers",
});

const SERVER = each("the server as an agent", "denied", {
  "server-read-file": "select pg_read_file('/etc/hostname')",
  "server-read-binary-file": "select pg_read_binary_file('PG_VERSION')",
  "server-ls-dir": "select pg_ls_dir('.')",
  "server-ls-waldir": "select * from pg_ls_waldir()",
  "server-stat-file": "select * from pg_stat_file('PG_VERSION')",
  "server-lo-get": "select lo_get(4711)",
  "server-lo-import": "select lo_import('/etc/hostname')",
  "server-lo-export": "select lo_export(4711, '/tmp/x')",
  "server-lo-open": "begin; select lo_open(4711, 262144), loread(0, 100)",
  "server-lo-table": "select data from pg_largeobject",
  "server-dblink": "select * from dblink('dbname=shop', 'select email from customers') t(e text)",
  "server-create-extension": "create extension dblink",
  "server-load": "load 'auto_explain'",
  "server-foreign": "create server s foreign data wrapper postgres_fdw",
  "server-subscription": "create subscription s connection 'dbname=shop' publication p",
  "server-publication": "create publication p for all tables",
  "server-alter-system": "alter system set log_statement = 'all'",
  "server-alter-database": "alter database shop set search_path = elsewhere",
  "server-alter-role": "alter role attacked set role = 'postgres'",
  "server-create-role": "create role r superuser",
  "server-grant-role": "grant pg_execute_server_program to attacked",
  "server-terminate": "select pg_terminate_backend(1)",
  "server-terminate-attribute": "select (pg_backend_pid()).pg_terminate_backend",
  "server-cancel": "select pg_cancel_backend(1)",
  "server-reload": "select pg_reload_conf()",
  "server-logical-slot": "select pg_create_logical_replication_slot('s', 'test_decoding')",
  "server-slot-changes": "select * from pg_logical_slot_get_changes('s', null, null)",
  "server-walinspect": "select * from pg_get_wal_records_info('0/0', '0/1')",
  "server-stats": "select * from pg_stats",
  "server-statistic": "select stavalues1 from pg_statistic",
  "server-stats-ext": "select * from pg_stats_ext",
  "server-activity": "select query from pg_stat_activity",
  "server-activity-function": "select pg_stat_get_activity(null)",
  "server-backend-activity": "select pg_stat_get_backend_activity(1)",
  "server-statements": "select query from pg_stat_statements",
  "server-shadow": "select passwd from pg_shadow",
  "server-authid": "select rolpassword from pg_authid",
  "server-role-settings": "select setconfig from pg_db_role_setting",
  "server-user-mappings": "select umoptions::text from pg_user_mappings",
  "server-user-mappings-whole": "select m from pg_user_mappings m",
  "server-subscriptions": "select subname from pg_subscription where subconninfo like '%password%'",
  "server-hba": "select * from pg_hba_file_rules",
  "server-file-settings": "select * from pg_file_settings",
  "server-toast": "select chunk_data from pg_toast.pg_toast_1255",
  "server-show-secret": "show app.secret",
  "server-current-setting": "select current_setting('app.secret')",
  "server-current-setting-missing-ok": "select current_setting('app.secret', true)",
  "server-current-setting-computed": "select current_setting('app.' || 'secret')",
  "server-current-setting-attribute": "select ('app.secret'::text).current_setting",
  "server-listen": "listen jobs",
  "server-export-snapshot": "select pg_export_snapshot()",
  "server-page": "select get_raw_page('customers', 0)",
  "server-amcheck": "select * from heap_page_items(null)",
  "server-advisory-of-others": "select pg_stat_reset()",
});

const SEARCHES = each("the server as an agent", "harmless", {
  "server-settings-hidden": "select name, setting from pg_settings",
  "server-show-all": "show all",
  "server-catalogue": "select * from pg_class, pg_attribute limit 100",
  "server-columns": "select * from information_schema.columns",
  "server-roles": "select * from pg_roles",
  "server-definitions": "select pg_get_viewdef(oid) from pg_class where relkind = 'v'",
});

const MATERIAL = [parse("a", "update scratch set word = word where false"), sync()];
const LONG = "n".repeat(63);

const UNDO_SWAPS = `
  do $$ begin
    if exists (select from pg_class where relname = 'scratch_away') then
      alter table scratch rename word to email;
      alter table scratch rename to customers;
      alter table scratch_away rename to scratch;
    end if;
  end $$;
  create or replace view swapped as select id, name as label from customers`;

const STATE: Attempt[] = [
  ...each("state between decide and run", "closed", {
    "state-table-swapped": [
      "select id from orders",
      {
        outside: "alter table orders rename to orders_away; alter table customers rename to orders",
      },
      { extended: "select id from orders" },
    ],
    "state-view-replaced-described": [
      { frames: [parse("s", "select label from swapped"), sync()], readies: 1 },
      {
        outside: "create or replace view swapped as select id, name as label, email from customers",
      },
      { outside: "drop view swapped; create view swapped as select email as label from customers" },
      { frames: statement("s"), readies: 1 },
    ],
  }).map((attempt) => ({
    ...attempt,
    retries: 4,
    undo: "alter table if exists orders_away rename to orders_back; do $$ begin if exists (select from pg_class where relname = 'orders_back') then alter table orders rename to customers; alter table orders_back rename to orders; end if; end $$; drop view swapped; create view swapped as select id, name as label from customers; grant select on swapped to attacked",
  })),
  ...each("DDL between", "denied", {
    "state-view-redefined": [
      "select lower(label) from swapped",
      { outside: "create or replace view swapped as select id, email as label from customers" },
      { pauseMs: CATALOGUE_AGE_MS },
      "select lower(label) from swapped",
    ],
    "state-view-redefined-prepared": [
      { frames: [parse("s", "select upper(label) from swapped"), sync()], readies: 1 },
      { outside: "create or replace view swapped as select id, email as label from customers" },
      { pauseMs: CATALOGUE_AGE_MS },
      { frames: statement("s"), readies: 1 },
    ],
    "state-columns-renamed": [
      "select lower(word) from scratch",
      {
        outside:
          "alter table customers rename to customers_away; alter table scratch rename to scratch_away; alter table customers_away rename to scratch; alter table scratch rename email to word",
      },
      { pauseMs: CATALOGUE_AGE_MS },
      "select lower(word) from scratch",
    ],
  }).map((attempt) => ({ ...attempt, undo: UNDO_SWAPS })),
  {
    id: "state-name-cut-by-the-server",
    tries: "a statement of one long name is judged, one of another with the same 63 bytes runs",
    threat: "state between decide and run",
    must: "closed",
    steps: [
      { frames: [parse(`${LONG}x`, "delete from scratch where false"), sync()], readies: 1 },
      {
        frames: [close("statement", `${LONG}y`), parse(`${LONG}y`, "delete from held"), sync()],
        readies: 1,
      },
      { frames: statement(`${LONG}x`), readies: 1 },
    ],
    holds: "select count(*) = 5 from held",
  },
  {
    id: "state-parsed-over-after-error",
    tries: "a Parse that fails leaves the name to the statement before, in the same pipeline",
    threat: "state between decide and run",
    must: "denied",
    steps: [
      { frames: MATERIAL, readies: 1 },
      {
        frames: [
          parse("", "select 1 / 0"),
          parse("a", "delete from held"),
          sync(),
          ...statement("a").slice(0, -1),
          parse("x", "select first_mail()"),
          sync(),
        ],
        readies: 2,
      },
    ],
    holds: "select count(*) = 5 from held",
  },
  {
    id: "state-deallocated-by-sql",
    tries: "a name is deallocated and made again by SQL between its Parse and its Bind",
    threat: "state between decide and run",
    must: "denied",
    steps: [
      { frames: MATERIAL, readies: 1 },
      "deallocate a",
      "prepare a as update orders set status = status returning status",
      { frames: statement("a"), readies: 1 },
    ],
  },
  {
    id: "state-described-by-sql",
    tries: "what SQL's PREPARE made is described by message",
    threat: "state between decide and run",
    must: "closed",
    steps: [
      "prepare a as select email from customers",
      { frames: [describeStatement("a"), sync()], readies: 1 },
    ],
  },
  {
    id: "state-prepare-then-run-in-one-text",
    tries: "the first statement of a text changes what the second means",
    threat: "multi-statements",
    must: "denied",
    steps: [
      "prepare p as select id from orders",
      "deallocate p; prepare p as select email from customers; execute p",
    ],
  },
  {
    id: "state-rename-then-read-in-one-text",
    tries: "a table is made under another's name before it is read",
    threat: "multi-statements",
    must: "denied",
    steps: ["alter table orders rename to o2; select * from orders"],
  },
  {
    id: "state-uncommitted-definition",
    tries: "a view made in the open transaction is read before the catalogue knows it",
    threat: "multi-statements",
    must: "denied",
    steps: ["begin", "create view fresh as select id from orders", "select * from fresh"],
  },
];

/** Binds and runs what a name stands for. */
function statement(name: string): Buffer[] {
  return [
    bind({ portal: "", statement: name, parameterFormats: [], parameters: [], resultFormats: [] }),
    execute("", 0),
    sync(),
  ];
}

const HELD = "delete from held where id = 1 and at::date > '2024-03-31'";

const APPROVALS: Attempt[] = [
  {
    id: "approval-spent",
    tries: "the same once more: it runs, once",
    threat: "an approval re-used",
    must: "denied",
    steps: [
      { approvedLater: "delete from held where id = 5" },
      { unlessHeld: "delete from held where id = 5" },
      { outside: "insert into held values (5, '03/04/2024')" },
      { unlessHeld: "delete from held where id = 5" },
    ],
    holds: "select count(*) = 5 from held",
  },
  {
    id: "approval-other-settings",
    tries: "approved under one DateStyle, run under another, in another session",
    threat: "an approval for one statement spent on another",
    must: "denied",
    steps: [
      "set datestyle = 'ISO, DMY'",
      { approvedLater: HELD },
      { session: "another" },
      "set datestyle = 'ISO, MDY'",
      { unlessHeld: HELD },
    ],
    holds: "select count(*) = 5 from held",
  },
  {
    id: "approval-settings-by-function",
    tries: "approved, then a setting is changed by set_config()",
    threat: "an approval for one statement spent on another",
    must: "denied",
    steps: [
      "select set_config('datestyle', 'ISO, DMY', false)",
      { approvedLater: HELD },
      "select set_config('datestyle', 'ISO, MDY', false)",
      { unlessHeld: HELD },
    ],
    holds: "select count(*) = 5 from held",
  },
  {
    id: "approval-settings-rolled-back",
    tries: "approved with a setting that its transaction takes back",
    threat: "an approval for one statement spent on another",
    must: "denied",
    steps: [
      "begin; set datestyle = 'ISO, DMY'",
      { approvedLater: HELD },
      "rollback",
      { unlessHeld: HELD },
    ],
    holds: "select count(*) = 5 from held",
  },
  {
    id: "approval-of-a-name",
    tries: "approval is asked for EXECUTE, whose name may stand for something else by then",
    threat: "an approval for one statement spent on another",
    must: "denied",
    steps: ["prepare p as delete from held where id = $1", "execute p(1)"],
    holds: "select count(*) = 5 from held",
  },
  {
    id: "approval-other-parameters",
    tries: "approved for one text, run with another",
    threat: "an approval for other parameters",
    must: "denied",
    steps: [
      { approvedLater: "delete from held where id = 1" },
      { unlessHeld: "delete from held where id = 1 " },
    ],
    holds: "select count(*) = 5 from held",
  },
];

export const AUTHORITY: readonly Attempt[] = [
  ...INSIDE,
  ...SERVER,
  ...SEARCHES,
  ...STATE,
  ...APPROVALS,
];
