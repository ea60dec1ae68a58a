// THREATS.md, "State between decide and run": what exists is given another meaning, by a definition of the
// attacker's own, after it was attached to something or while a statement is under way. And names that mean
// another in the server's own encoding.

import { query } from "@custody/wire/postgres/frontend.ts";
import { type Attempt, CATALOGUE_AGE_MS, each, type Step } from "./attempt.ts";
import { LATIN } from "./stage.ts";

const THREAT = "DDL between";
const READS = "begin return (select email from customers where id = 1); end";
const COPIES = "begin insert into scratch select 666, email from customers; return new; end";

/** The attackers' own: elsewhere the server itself refuses, which proves nothing. */
const OWN = `
  alter function blurt() owner to attacked; alter function greets(text) owner to attacked;
  alter function tell() owner to attacked; alter view addresses owner to attacked;
  alter view named_like owner to attacked; alter materialized view mailing owner to attacked`;
const UNDO = `
  alter function blurt() owner to postgres; alter function greets(text) owner to postgres;
  alter function tell() owner to postgres; alter view addresses owner to postgres;
  alter view named_like owner to postgres; alter materialized view mailing owner to postgres;
  drop schema if exists views cascade; drop schema if exists renamed cascade; delete from scratch; drop table if exists kept_words; drop function if exists harmless(), calling();
  drop function if exists opaque(); drop function if exists lower(varchar)`;

const HARMLESS = "create function harmless() returns text language sql as 'select ''x''::text'";
const OPAQUE = `create function opaque() returns text language plpgsql as '${READS}'`;

const REPLACED = each(THREAT, "denied", {
  "definition-body-of-trigger": `create or replace function blurt() returns trigger language plpgsql as '${COPIES}'`,
  "definition-body": `create or replace function greets(name text) returns text language plpgsql as '${READS}'`,
  "definition-body-sql":
    "create or replace function greets(name text) returns text language sql as 'select email from customers where id = 1'",
  "definition-body-atomic":
    "create or replace function greets(name text) returns text begin atomic select email from customers where id = 1; end",
  "definition-overload": `create function greets(name varchar) returns text language plpgsql as '${READS}'`,
  "definition-overload-of-system": `create function lower(varchar) returns text language plpgsql as '${READS}'`,
  "definition-new-name": [OPAQUE, "alter function opaque() rename to lower"],
  "definition-new-schema": [OPAQUE, "alter function opaque() set schema elsewhere"],
  "definition-settings": "alter function greets(text) set search_path = elsewhere",
  "definition-view-name": "alter view addresses rename to renamed",
  "definition-view-as-table": "alter table addresses rename to renamed",
  "definition-view-column": "alter view addresses rename column address to renamed",
  "definition-view-with-predicate": "alter view named_like rename to renamed",
  "definition-schema-name": [
    {
      outside:
        "create schema views authorization attacked; create view views.mails as select email from customers",
    },
    { pauseMs: CATALOGUE_AGE_MS },
    "alter schema views rename to renamed",
  ],
  "definition-matview-name": "alter materialized view mailing rename to renamed",
}).map((attempt) => ({ ...attempt, steps: [{ outside: OWN }, ...attempt.steps], undo: UNDO }));

/** A statement waits at the server while another session defines. */
function meanwhile(statement: string, definition: string): readonly Step[] {
  return [
    HARMLESS,
    {
      frames: [query("select 1"), query("select pg_sleep(1)"), query(statement)],
      readies: 1,
    },
    { session: "another" },
    definition,
    { pauseMs: 1_500 },
    "select 1",
  ];
}

const KEPT: Attempt[] = each(THREAT, "harmless", {
  "definition-stored-by-default": [
    HARMLESS,
    "create table kept_words (id int, word text default harmless())",
    `create or replace function harmless() returns text language plpgsql as '${READS}'`,
    "insert into kept_words (id) values (1)",
    "select word from kept_words",
  ],
  "definition-stored-by-callee": [
    HARMLESS,
    "create function calling() returns text language sql as 'select harmless()'",
    "create table kept_words (id int, word text default calling())",
    "drop function harmless()",
    `create function harmless() returns text language plpgsql as '${READS}'`,
    "insert into kept_words (id) values (1)",
    "select word from kept_words",
  ],
  "definition-stored-by-trigger": [
    { outside: OWN },
    `create or replace function blurt() returns trigger language plpgsql as '${COPIES}'`,
    "insert into jobs values (1, 'x')",
    "select word from scratch",
  ],
  "definition-overload-meanwhile": meanwhile(
    "select lower('x'::varchar)",
    `create function lower(varchar) returns text language plpgsql as '${READS}'`,
  ),
  "definition-error-meanwhile": meanwhile(
    "select harmless()",
    "create or replace function harmless() returns text language plpgsql as 'begin raise exception ''%'', (select email from customers where id = 1); end'",
  ),
  "definition-notice-meanwhile": meanwhile(
    "select harmless()",
    "create or replace function harmless() returns text language plpgsql as 'begin raise notice ''%'', (select email from customers where id = 1); end'",
  ),
}).map((attempt) => ({ ...attempt, undo: UNDO }));

/** 41 characters: cut after 31 in UTF-8, whole in LATIN1. */
const LONG_A = `"${"é".repeat(40)}a"`;
const LONG_B = `"${"é".repeat(40)}b"`;

const ENCODED: Attempt[] = each("names resolve otherwise", "denied", {
  "name-cut-in-another-encoding": `with ${LONG_A} as (select email as v from customers), ${LONG_B} as (select 'c'::text as v) select lower(v) from ${LONG_A}`,
  "name-cut-to-ascii": `with "${"a".repeat(62)}é" as (select email as v from customers), "${"a".repeat(62)}" as (select 'c'::text as v) select lower(v) from "${"a".repeat(62)}é"`,
  "name-folded-by-the-server":
    'select lower(É) from (select \'c\'::text as "É", email as "é" from customers) s',
  "name-hidden-in-another-encoding":
    'select lower(v) from (select email as v, U&"\\00e9" from customers) s',
}).map((attempt) => ({ ...attempt, startup: { database: LATIN } }));

export const DEFINITIONS: readonly Attempt[] = [...REPLACED, ...KEPT, ...ENCODED];
