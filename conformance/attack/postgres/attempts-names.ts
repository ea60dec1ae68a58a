// THREATS.md, "Authorising something else than what runs": lexing, settings by a side door, names; and
// grants narrower than what a statement does.

import { type Attempt, each } from "./attempt.ts";

const LEXING = each("lexing differs", "denied", {
  "lex-standard-conforming-strings": "set standard_conforming_strings = off",
  "lex-standard-conforming-strings-local": "begin; set local standard_conforming_strings = off",
  "lex-client-encoding": "set client_encoding = 'SJIS'",
  "lex-client-encoding-gbk": "set names 'GBK'",
  "lex-backslash-quote": "set backslash_quote = on",
  "lex-set-config": "select set_config('standard_conforming_strings', 'off', false)",
  "lex-set-config-named":
    "select set_config(new_value => 'off', setting_name => 'standard_conforming_strings', is_local => false)",
  "lex-set-config-computed": "select set_config('standard_conforming' || '_strings', 'off', false)",
  "lex-set-config-parameter": [
    { extended: "select set_config($1, 'off', false)", values: ["standard_conforming_strings"] },
  ],
  "lex-set-config-from-table": "select set_config(status, 'off', false) from orders",
  "lex-set-config-cut": "select set_config('jit_provider'::varchar(3), 'off', false)",
  "lex-set-config-qualified": "select pg_catalog.set_config('role', 'postgres', false)",
  "lex-set-config-in-where": "select 1 where set_config('search_path', 'elsewhere', false) = ''",
  "lex-set-config-in-values":
    "insert into scratch values (1, set_config('search_path', 'elsewhere', false))",
  "lex-update-pg-settings":
    "update pg_settings set setting = 'off' where name = 'standard_conforming_strings'",
});

/** A Query of bytes as they are. */
function queryOf(text: Buffer): Buffer {
  const frame = Buffer.alloc(6 + text.length);
  frame[0] = 0x51;
  frame.writeInt32BE(5 + text.length, 1);
  text.copy(frame, 5);
  return frame;
}

const BYTES = each("lexing differs", "closed", {
  "lex-invalid-utf8": [{ frames: [queryOf(Buffer.from("select '\xc0'", "latin1"))], readies: 1 }],
  "lex-overlong-quote": [
    {
      frames: [queryOf(Buffer.from("select '\xc0\xa7, lower(email) from customers --'", "latin1"))],
      readies: 1,
    },
  ],
  "lex-cut-character": [
    { frames: [queryOf(Buffer.from("select '\xe2\x82'", "latin1"))], readies: 1 },
  ],
  "lex-surrogate": [
    { frames: [queryOf(Buffer.from("select '\xed\xa0\x80'", "latin1"))], readies: 1 },
  ],
  "lex-two-nul": [
    { frames: [queryOf(Buffer.from("select 1\0; select email from customers"))], readies: 1 },
  ],
});

const LOOKALIKES = each("names resolve otherwise", "denied", {
  "name-homoglyph": "select lower(email) from сustomers",
  "name-zero-width": "select lower(email) from custom\u200bers",
  "name-full-width": "select lower(email) from ｃustomers",
  "name-case-folding": "select lower(EMAIL) from CUSTOMERS",
  "name-cut-at-63": `with "${"a".repeat(61)}€" as (select email as x from customers) select lower(x) from "${"a".repeat(61)}"`,
  "name-quoted-mixed": 'select lower("email") from "Customers"',
  "name-search-path": "set search_path = elsewhere",
  "name-search-path-local": "begin; set local search_path = elsewhere",
  "name-search-path-reset": "reset search_path",
  "name-search-path-default": "set search_path to default",
  "name-set-schema": "set schema 'elsewhere'",
  "name-search-path-upper": 'set "SEARCH_PATH" = elsewhere',
  "name-role": "set role postgres",
  "name-role-none": "set role none",
  "name-reset-role": "reset role",
  "name-session-authorization": "set session authorization postgres",
  "name-session-authorization-default": "set session authorization default",
  "name-temp-table": "create temp table orders (id int)",
  "name-temp-schema": "create table pg_temp.orders (id int)",
  "name-temp-view": "create temporary view orders as select 1",
  "name-temp-into": "select 1 as id into temp orders",
  "name-temp-into-schema": "select 1 as id into pg_temp.orders",
  "name-temp-function":
    "create function pg_temp.lower(text) returns text language sql as 'select $1'",
  "name-temp-sequence": "create temp sequence orders_id_seq",
  "name-temp-type": "create type pg_temp.int4 as (a text)",
  "name-temp-domain": "create domain pg_temp.int4 as text",
  "name-create-in-catalogue": "create table pg_catalog.orders2 (id int)",
  "name-other-database": "select email from other.public.customers",
  "name-elsewhere-outside-grant": "select status from elsewhere.missing",
  "name-transaction-isolation-import":
    "begin isolation level repeatable read; set transaction snapshot '00000003-0000001B-1'",
});

const DRIFT: Attempt[] = [
  {
    id: "name-function-moves-path",
    tries: "a function changes search_path for the whole session",
    threat: "settings arrive by a side door",
    must: "denied",
    steps: ["select moves_path()"],
  },
];

function startup(id: string, startupParameters: Readonly<Record<string, string>>): Attempt {
  return {
    id,
    tries: JSON.stringify(startupParameters),
    threat: "settings arrive by a side door",
    must: "closed",
    steps: ["select 1"],
    startup: startupParameters,
  };
}

const STARTUP: Attempt[] = [
  startup("startup-options-path", { options: "-c search_path=elsewhere" }),
  startup("startup-options-joined", { options: "-csearch_path=elsewhere" }),
  startup("startup-options-long", { options: "--search-path=elsewhere" }),
  startup("startup-options-escaped", { options: "-c search\\_path=elsewhere" }),
  startup("startup-options-tab", { options: "-c\tsearch_path=elsewhere" }),
  startup("startup-options-upper", { options: "-c SEARCH_PATH=elsewhere" }),
  startup("startup-options-encoding", { options: "-c client_encoding=SJIS" }),
  startup("startup-options-strings", { options: "-c standard_conforming_strings=off" }),
  startup("startup-options-role", { options: "-c role=postgres" }),
  startup("startup-options-file", { options: "-f /etc/passwd" }),
  startup("startup-options-second", { options: "-c jit=off -c role=postgres" }),
  startup("startup-parameter-path", { search_path: "elsewhere" }),
  startup("startup-parameter-role", { role: "postgres" }),
  startup("startup-parameter-authorization", { session_authorization: "postgres" }),
  startup("startup-parameter-encoding", { client_encoding: "GBK" }),
  startup("startup-parameter-strings", { standard_conforming_strings: "off" }),
  startup("startup-parameter-replication-role", { session_replication_role: "replica" }),
  startup("startup-parameter-preload", { local_preload_libraries: "auto_explain" }),
  startup("startup-replication", { replication: "true" }),
  startup("startup-replication-database", { replication: "database" }),
  startup("startup-other-database", { database: "postgres" }),
  startup("startup-other-user", { user: "postgres" }),
  startup("startup-account", { user: "custody_admin~shop" }),
  startup("startup-empty-user", { user: "" }),
];

const EMPTY: Attempt = {
  id: "startup-empty-database",
  tries: "no database is named: it is the target's name, not the role's",
  threat: "database name empty = user name",
  must: "harmless",
  steps: ["select current_database()"],
  startup: { database: "" },
};

const NARROW: Attempt[] = [
  ...each("a grant narrower than the statement", "denied", {
    "grant-other-table": "select id from scratch",
    "grant-join": "select o.id from orders o, scratch s",
    "grant-subquery": "select id from orders where id in (select id from scratch)",
    "grant-cte": "with w as (select * from scratch) select id from orders",
    "grant-view": "select id from addresses",
    "grant-other-schema": "select id from elsewhere.orders",
    "grant-quoted": 'select id from "Orders"',
    "grant-insert": "insert into orders (id) values (77)",
    "grant-update": "update orders set status = 'x'",
    "grant-delete": "delete from orders",
    "grant-for-update": "select id from orders for update",
    "grant-for-key-share": "select id from orders for key share",
    "grant-lock": "lock table orders",
    "grant-copy-out": "copy orders to stdout",
    "grant-copy-out-query": "copy (select id from orders) to stdout",
    "grant-copy-in": "copy orders from stdin",
    "grant-truncate": "truncate orders",
    "grant-modifying-cte": "with w as (delete from orders returning *) select * from w",
    "grant-explain-analyze": "explain analyze delete from orders",
    "grant-function": "select writes_down()",
    "grant-function-reads": "select counts_scratch()",
    "grant-function-definer": "select counts_as_owner()",
    "grant-attribute-function": "select (o).mail_of from orders o",
    "grant-attribute-function-qualified": "select o.mail_of from orders o",
    "grant-sequence": "select nextval('held_id_seq')",
    "grant-notify": "notify jobs",
    "grant-pg-notify": "select pg_notify('jobs', 'x')",
    "grant-listen": "listen jobs",
    "grant-create": "create table mine (id int)",
    "grant-create-as": "create table mine as select * from orders",
    "grant-select-into": "select * into mine from orders",
    "grant-analyze": "analyze orders",
    "grant-grant": "grant select on orders to public",
    "grant-comment": "comment on table orders is 'x'",
    "grant-merge":
      "merge into orders using (select 1) s on false when not matched then insert (id) values (88)",
    "grant-prepare": "prepare p as delete from orders",
    "grant-declare": "declare c cursor with hold for select id from scratch",
    "grant-multi": "select id from orders; select id from scratch",
    "grant-row-type": "select null::scratch, (select s from scratch s limit 1)",
    "grant-do": "do $$ begin perform 1; end $$",
    "grant-prepare-transaction": "prepare transaction 'x'",
    "grant-extended-delete": [{ extended: "delete from orders where id = $1", values: ["1"] }],
    "grant-forbidden-by-policy": "select id from forbidden",
  }).map((attempt) => ({ ...attempt, as: "orders" as const })),
  ...each("a part that nothing forbids, and only the parent", "harmless", {
    "wide-part": "select what from ledger_open",
    "wide-only-parent": "select what from only notes",
    "wide-insert-parent": "insert into notes values (3, 'x')",
    "wide-function-followed": "select greets('you')",
  }),
  ...each("a grant as wide as the statement", "harmless", {
    "grant-select": "select id, status from orders",
    "grant-select-quoted": 'select "id" from public."orders"',
    "grant-exists": "select count(*) from orders where id = 1",
    "grant-catalogue": "select relname from pg_class limit 1",
  }).map((attempt) => ({ ...attempt, as: "orders" as const })),
];

const WIDE = each("what the widest grant does not carry", "denied", {
  "wide-forbidden": "select id from forbidden",
  "wide-forbidden-join": "select 1 from orders left join forbidden on true",
  "wide-forbidden-exists": "select exists (select from forbidden)",
  "wide-forbidden-copy": "copy forbidden to stdout",
  "wide-forbidden-drop": "drop table forbidden",
  "wide-forbidden-drop-list": "drop table scratch, forbidden",
  "wide-forbidden-drop-schema": "drop schema public cascade",
  "wide-forbidden-truncate": "truncate scratch, forbidden",
  "wide-forbidden-rename": "alter table forbidden rename to open_table",
  "wide-forbidden-like": "create table mine (like forbidden)",
  "wide-forbidden-lock": "lock table forbidden in access share mode",
  "wide-forbidden-explain": "explain select * from forbidden",
  "wide-forbidden-view": "create view mine as select * from forbidden",
  "wide-forbidden-part-by-whole": "select what from ledger",
  "wide-forbidden-part-by-predicate": "select what from ledger where id >= 100",
  "wide-forbidden-part-by-update": "update ledger set what = what",
  "wide-forbidden-part-by-insert": "insert into ledger values (300, 'x')",
  "wide-forbidden-part-by-copy-in": "copy ledger from stdin",
  "wide-forbidden-part-by-copy": "copy (select what from ledger) to stdout",
  "wide-forbidden-part-by-lock": "lock table ledger",
  "wide-forbidden-part-by-function": "select what_of(200)",
  "wide-forbidden-child-by-parent": "select what from notes",
  "wide-forbidden-child-by-delete": "delete from notes",
  "wide-grant": "grant all on customers to public",
  "wide-owner": "alter table scratch owner to postgres",
  "wide-reassign": "reassign owned by attacked to postgres",
  "wide-default-privileges": "alter default privileges grant select on tables to public",
});

export const NAMES: readonly Attempt[] = [
  ...LEXING,
  ...BYTES,
  ...LOOKALIKES,
  ...DRIFT,
  ...STARTUP,
  EMPTY,
  ...NARROW,
  ...WIDE,
];
