// THREATS.md, "Leaks past a mask".

import { type Attempt, each } from "./attempt.ts";

const BARE = each("a bare column is masked", "masked", {
  "bare-text": "select email from customers",
  "bare-varchar": "select phone from customers",
  "bare-int": "select ssn from customers",
  "bare-jsonb": "select profile from customers",
  "bare-array": "select tags from customers",
  "bare-domain": "select code from customers",
  "bare-numeric": "select salary from customers",
  "bare-composite": "select contact from holders",
  "bare-star": "select * from customers",
  "bare-table-star": "select c.* from customers c",
  "bare-table-command": "table customers",
  "bare-alias": "select email as id from customers",
  "bare-column-alias": "select b from customers as c(a, n, b)",
  "bare-quoted": 'select "email" from "public"."customers"',
  "bare-upper-case-table": 'select email from "Customers"',
  "bare-unicode-identifier": `select U&"em\\0061il" from U&"custom\\0065rs"`,
  "bare-three-part": "select shop.public.customers.email from shop.public.customers",
  "bare-subquery": "select x from (select email as x from customers) s",
  "bare-nested-subqueries": "select * from (select * from (select * from customers) a) b",
  "bare-cte": "with w as (select email from customers) select * from w",
  "bare-cte-materialized": "with w as materialized (select email from customers) select * from w",
  "bare-cte-named-as-table":
    "with orders as (select email as status from customers) select status from orders",
  "bare-lateral":
    "select l.email from orders o, lateral (select email from customers c where c.id = o.id) l",
  "bare-join": "select o.id, c.email from orders o join customers c on c.id = o.customer_id",
  "bare-outer-join": "select c.email from orders o left join customers c on c.id = o.id + 100",
  "bare-join-alias": "select j.email from (customers c join orders o using (id)) as j",
  "bare-union-all": "select email from customers union all select name from customers",
  "bare-union-all-other-side": "select status from orders union all select email from customers",
  "bare-view": "select address from addresses",
  "bare-view-of-view": "select address from nested_addresses",
  "bare-barrier-view": "select email from barrier",
  "bare-materialized-view": "select email from mailing",
  "bare-partitioned": "select visitor from visits",
  "bare-partition": "select visitor from visits_low",
  "bare-parent": "select secret from people",
  "bare-child": "select secret from staff",
  "bare-only": "select secret from only people",
  "bare-sample": "select email from customers tablesample system (100)",
  "bare-limit": "select email from customers order by id limit 1 offset 0",
  "bare-limit-by-subquery": "select email from customers limit (select count(*) from orders)",
  "bare-for-update": "select email from customers for update",
  "bare-insert-returning":
    "begin; insert into customers (id, name, phone, note) values (50, 'x', '1', 'n') returning phone; rollback",
  "bare-update-returning": "update customers set name = name returning email",
  "bare-update-returning-old": "update customers set name = name returning old.email, new.phone",
  "bare-delete-returning": ["begin", "delete from people returning *"],
  "bare-data-modifying-cte":
    "with w as (update customers set name = name returning *) select email from w",
  "bare-merge-returning":
    "merge into customers c using (select 1 as one) s on c.id = s.one when matched then update set name = c.name returning c.email",
  "bare-on-conflict-returning": "insert into people values (9, 'x') returning *",
  "bare-execute": ["prepare p as select email from customers", "execute p"],
  "bare-cursor": ["begin", "declare c cursor for select email from customers", "fetch all from c"],
  "bare-cursor-binary": [
    "begin",
    "declare c binary cursor for select ssn, email from customers",
    "fetch all from c",
  ],
  "bare-cursor-hold": [
    "begin",
    "declare c cursor with hold for select email from customers",
    "commit",
    "fetch first from c",
  ],
  "bare-cursor-scroll": [
    "begin",
    "declare c scroll cursor for select email from customers",
    "move last in c",
    "fetch prior from c",
  ],
  "bare-extended": [{ extended: "select email, ssn from customers" }],
  "bare-binary": [
    { extended: "select ssn, email, profile, tags, salary from customers", binary: true },
  ],
  "bare-not-described": [{ extended: "select email from customers", describe: false }],
  "bare-not-described-binary": [
    { extended: "select ssn from customers", describe: false, binary: true },
  ],
  "bare-portal-in-parts": [{ extended: "select email from customers order by id", maxRows: 1 }],
  "bare-multi-statement": "select 1; select email from customers; select 2",
  "bare-after-setting": [
    "set bytea_output = escape; set extra_float_digits = 3",
    "select ssn, salary, email from customers",
  ],
  "bare-values-of-row-count": "select email, count(*) over () from customers",
});

const EXPRESSIONS = each("expressions, casts, string functions, whole rows", "denied", {
  "expr-cast": "select ssn::text from customers",
  "expr-cast-function": "select text(email) from customers",
  "expr-lower": "select lower(email) from customers",
  "expr-upper-view": "select loud from addresses",
  "expr-substr": "select substr(email, 1, 5) from customers",
  "expr-left-right": "select left(email, 6), right(email, 6) from customers",
  "expr-reverse": "select reverse(email) from customers",
  "expr-concat": "select '' || email from customers",
  "expr-concat-function": "select concat(email, '') from customers",
  "expr-format": "select format('%s', email) from customers",
  "expr-md5": "select md5(email) from customers",
  "expr-encode": "select encode(email::bytea, 'base64') from customers",
  "expr-hex": "select encode(convert_to(email, 'UTF8'), 'hex') from customers",
  "expr-arithmetic": "select ssn + 0 from customers",
  "expr-unary": "select -ssn from customers",
  "expr-json-field": "select profile->>'mail' from customers",
  "expr-json-path": "select profile #>> '{mail}' from customers",
  "expr-json-subscript": "select profile['mail'] from customers",
  "expr-json-path-query": "select jsonb_path_query(profile, '$.mail') from customers",
  "expr-json-value": "select json_value(profile, '$.mail') from customers",
  "expr-json-table":
    "select t.m from customers, json_table(profile, '$' columns (m text path '$.mail')) t",
  "expr-array-element": "select tags[1] from customers",
  "expr-array-slice": "select tags[1:1] from customers",
  "expr-unnest": "select unnest(tags) from customers",
  "expr-unnest-from": "select u from customers, unnest(tags) u",
  "expr-length": "select length(email) from customers",
  "expr-generated-column": "select mail_length from measured",
  "expr-generated-virtual": "select mail_again from measured",
  "expr-star-with-generated": "select * from measured",
  "expr-case": "select case when email > 'm' then 1 else 0 end from customers",
  "expr-coalesce": "select coalesce(email, '') from customers",
  "expr-nullif": "select nullif(email, '') from customers",
  "expr-greatest": "select greatest(email, '') from customers",
  "expr-collate": 'select email collate "C" from customers',
  "expr-parenthesis-cast": "select (email)::varchar from customers",
  "expr-row": "select row(email) from customers",
  "expr-array": "select array[email] from customers",
  "expr-scalar-subquery": "select (select email from customers limit 1)",
  "expr-array-subquery": "select array(select email from customers)",
  "expr-whole-row": "select c from customers c",
  "expr-whole-row-cast": "select c::text from customers c",
  "expr-row-to-json": "select row_to_json(c) from customers c",
  "expr-to-jsonb": "select to_jsonb(c) from customers c",
  "expr-json-agg": "select json_agg(c) from customers c",
  "expr-row-expansion": "select (c).* from customers c",
  "expr-row-field": "select (c).email from customers c",
  "expr-row-field-of-subquery": "select (s).email from (select c as s from customers c) x",
  "expr-composite-field": "select (contact).email from holders",
  "expr-composite-expansion": "select (contact).* from holders",
  "expr-json-populate": "select * from customers c, jsonb_each(to_jsonb(c))",
  "expr-xml": "select xmlelement(name e, email) from customers",
  "expr-xmlforest": "select xmlforest(email) from customers",
  "expr-tsvector": "select to_tsvector(email) from customers",
  "expr-hash": "select hashtext(email) from customers",
  "expr-pg-column-size": "select pg_column_size(email) from customers",
  "expr-lateral-values": "select v from customers, lateral (values (email)) t(v)",
  "expr-lateral-function": "select g from customers, lateral repeat(email, 1) g",
  "expr-recursive-cte":
    "with recursive w(a) as (select email from customers union all select a || 'x' from w where length(a) < 3) select a from w",
  "expr-recursive-bare":
    "with recursive w(a, n) as (select email, 1 from customers union all select a, n + 1 from w where n < 2) select a from w",
  "expr-search-clause":
    "with recursive w(a) as (select email from customers union all select a from w where false) search depth first by a set s select s from w",
  "expr-through-cte": "with w as (select email e from customers) select lower(e) from w",
  "expr-through-union":
    "select lower(x) from (select email x from customers union all select name from customers) u",
  "expr-unnest-of-array": "select unnest(array(select email from customers))",
  "expr-merged-column":
    "select address from customers join addresses on true where lower(address) = 'x'",
});

const AGGREGATES = each("aggregates, windows, grouping, ordering", "denied", {
  "agg-max": "select max(email) from customers",
  "agg-string-agg": "select string_agg(email, ',') from customers",
  "agg-array-agg": "select array_agg(email) from customers",
  "agg-count-column": "select count(email) from customers",
  "agg-count-distinct": "select count(distinct email) from customers",
  "agg-sum": "select sum(ssn) from customers",
  "agg-filter": "select count(*) filter (where email like 'a%') from customers",
  "agg-order-by": "select array_agg(id order by email) from customers",
  "agg-within-group": "select percentile_disc(0.5) within group (order by ssn) from customers",
  "agg-mode": "select mode() within group (order by email) from customers",
  "win-first-value": "select first_value(email) over (order by id) from customers",
  "win-lag": "select lag(email) over (order by id) from customers",
  "win-partition": "select count(*) over (partition by email) from customers",
  "win-order": "select row_number() over (order by ssn) from customers",
  "win-clause": "select rank() over w from customers window w as (order by salary)",
  "group-by": "select email from customers group by email",
  "group-by-position": "select email from customers group by 1",
  "grouping-sets": "select email, count(*) from customers group by grouping sets ((email), ())",
  "group-rollup": "select email from customers group by rollup (email)",
  "group-all-having": "select id from customers group by id having max(email) > 'm'",
  distinct: "select distinct email from customers",
  "distinct-on": "select distinct on (email) id from customers",
  "order-by-column": "select id from customers order by email",
  "order-by-position": "select email from customers order by 1",
  "order-by-alias": "select email as a from customers order by a",
  "order-by-expression": "select id from customers order by ssn % 10",
  "order-by-outside": "select * from (select id, email from customers) s order by email",
  union: "select email from customers union select ''",
  intersect: "select email from customers intersect select 'x'",
  except: "select email from customers except all select 'x'",
});

const ORACLES = each("predicates, joins and grouping as oracles", "denied", {
  "oracle-like": "select 1 from customers where email like 'a%'",
  "oracle-less": "select 1 from customers where email < 'm'",
  "oracle-equal": "select 1 from customers where email = 'a@example.com'",
  "oracle-equal-parameter": [
    { extended: "select 1 from customers where email = $1", values: ["a"] },
  ],
  "oracle-equal-int": "select 1 from customers where ssn = 1",
  "oracle-in": "select 1 from customers where email in ('a', 'b')",
  "oracle-any": "select 1 from customers where email = any (array['a'])",
  "oracle-any-parameter": [
    { extended: "select 1 from customers where email = any ($1::text[])", values: ["{a,b}"] },
  ],
  "oracle-regex": "select 1 from customers where email ~ '^a'",
  "oracle-similar": "select 1 from customers where email similar to 'a%'",
  "oracle-between": "select 1 from customers where ssn between 1 and 5",
  "oracle-is-null": "select 1 from customers where email is null",
  "oracle-is-distinct": "select 1 from customers where email is distinct from 'a'",
  "oracle-not": "select 1 from customers where not email = 'a'",
  "oracle-row": "select 1 from customers where (id, email) = (1, 'a')",
  "oracle-exists": "select exists (select from customers where email > 'm')",
  "oracle-exists-view": "select count(*) from barrier where email > 'm'",
  "oracle-view-with-predicate": "select name from named_like",
  "oracle-subquery":
    "select id from orders where customer_id = (select id from customers where email > 'a' limit 1)",
  "oracle-in-subquery": "select 'x' in (select email from customers)",
  "oracle-join-using": "select 1 from customers join mailing using (email)",
  "oracle-natural-join": "select 1 from customers natural join mailing",
  "oracle-join-on": "select 1 from customers c join orders o on c.email = o.status",
  "oracle-join-on-true-filter": "select 1 from orders o join customers c on c.email like 'a%'",
  "oracle-json-contains": `select 1 from customers where profile @> '{"mail": "a"}'`,
  "oracle-json-key": "select 1 from customers where profile ? 'mail'",
  "oracle-array": "select 1 from customers where 'a' = any (tags)",
  "oracle-array-overlap": "select 1 from customers where tags && array['a']",
  "oracle-limit": "select id from customers limit (select ssn from customers where id = 2)",
  "oracle-offset":
    "select id from orders offset (select length(email) from customers where id = 1)",
  "oracle-sleep": "select pg_sleep(1) from customers where email > 'm'",
  "oracle-sleep-case":
    "select case when (select email from customers where id = 1) > 'm' then pg_sleep(1) end",
  "oracle-advisory-lock": "select pg_advisory_lock(ssn) from customers",
  "oracle-advisory-lock-predicate":
    "select pg_try_advisory_lock(1) from customers where email > 'm'",
  "oracle-notify": "select pg_notify('c', email) from customers",
  "oracle-setseed": "select setseed(0.5) from customers where ssn > 5",
  "oracle-nextval": "select lastval() from customers where ssn > 5",
  "oracle-update-where": "update orders set status = status from customers c where c.email > 'm'",
  "oracle-update-own": "update customers set name = name where email > 'm'",
  "oracle-delete-using": "delete from orders using customers c where c.email > 'zzzz' and false",
  "oracle-merge-on":
    "merge into orders o using customers c on c.email = o.status when matched then do nothing",
  "oracle-merge-condition":
    "merge into orders o using customers c on c.id = o.id when matched and c.email > 'zz' then do nothing",
  "oracle-on-conflict-nothing":
    "insert into customers (id, name, email) values (1, 'x', 'guess') on conflict do nothing",
  "oracle-on-conflict-column":
    "insert into customers (id, name, email) values (70, 'x', 'b@example.com') on conflict (email) do nothing",
  "oracle-on-conflict-where":
    "insert into customers (id, name) values (1, 'x') on conflict (id) do update set name = 'one' where customers.email > 'm'",
  "oracle-copy-from-where": "copy customers (id, name, email) from stdin where email > 'm'",
  "oracle-explain": "explain select 1 from customers where email > 'm'",
  "oracle-explain-output": "explain select email from customers",
  "oracle-explain-analyze":
    "explain (analyze, format json, verbose) select 1 from customers where ssn > 5",
  "oracle-explain-execute": [
    "prepare p as select email from customers",
    "explain analyze execute p",
  ],
  "oracle-explain-generic": "explain (generic_plan) select 1 from customers where email = $1",
  "oracle-tablesample":
    "select 1 from customers tablesample bernoulli ((select ssn % 100 from customers limit 1))",
  "oracle-window-frame":
    "select count(*) over (rows (select length(email)::int from customers limit 1) preceding) from customers",
});

/** Whether the statement fails tells what is stored: SQLSTATE 23505, 23503, 23514. */
const CONSTRAINTS = each("unique indexes, foreign keys and checks as oracles", "denied", {
  "constraint-insert": "insert into customers (id, name, email) values (90, 'x', 'b@example.com')",
  "constraint-insert-all-columns": "insert into customers values (90, 'x', 'b@example.com')",
  "constraint-insert-parameter": [
    {
      extended: "insert into customers (id, name, email) values (90, 'x', $1)",
      values: ["b@example.com"],
    },
  ],
  "constraint-insert-cast":
    "insert into customers (id, name, email) values (90, 'x', 'b@example.com'::varchar)",
  "constraint-insert-list":
    "insert into customers (id, name, email) values (90, 'x', 'a@a'), (91, 'x', 'b@example.com')",
  "constraint-insert-select":
    "insert into customers (id, name, email) select 90, 'x', 'b@example.com'",
  "constraint-insert-rolled-back": [
    "begin",
    "insert into customers (id, name, email) values (90, 'x', 'b@example.com')",
  ],
  "constraint-insert-by-view":
    "insert into addresses (id, address, name) values (90, 'b@example.com', 'x')",
  "constraint-insert-by-nested-view":
    "insert into nested_addresses (id, address) values (90, 'b@example.com')",
  "constraint-insert-by-cte":
    "with w as (insert into customers (id, name, email) values (90, 'x', 'b@example.com') returning id) select id from w",
  "constraint-insert-by-function": "select signs_up('b@example.com')",
  "constraint-insert-prepared": [
    "prepare p as insert into customers (id, name, email) values (90, 'x', $1)",
    "execute p('b@example.com')",
  ],
  "constraint-copy-in": "copy customers (id, name, email) from stdin",
  "constraint-copy-in-all": "copy customers from stdin",
  "constraint-update": "update customers set email = 'b@example.com' where id = 1",
  "constraint-update-by-view": "update addresses set address = 'b@example.com' where id = 1",
  "constraint-update-row":
    "update customers set (name, email) = ('x', 'b@example.com') where id = 1",
  "constraint-merge-insert":
    "merge into customers c using (select 90 as id) s on c.id = s.id when not matched then insert (id, name, email) values (s.id, 'x', 'b@example.com')",
  "constraint-merge-update":
    "merge into customers c using (select 1 as id) s on c.id = s.id when matched then update set email = 'b@example.com'",
  "constraint-upsert":
    "insert into customers (id, name) values (1, 'x') on conflict (id) do update set email = 'b@example.com'",
  "constraint-pair-other-half": "update pairs set id = 1 where id = 2",
  "constraint-pair-guess": "insert into pairs (id, token) values (1, 'guess')",
  "constraint-expression-index": "insert into measured (id, mail) values (1, 'guess')",
  "constraint-partial-index": "insert into lapsed (id, mail) values (1, 'z')",
  "constraint-partial-index-update": "update lapsed set id = 1 where id = 2",
  "constraint-check-other-column": "update customers set note = 'guess' where id = 1",
  "constraint-check-by-view": "update noted set note = 'guess' where id = 1",
  "constraint-foreign-key": "insert into mentions (id, mail) values (1, 'b@example.com')",
  "constraint-foreign-key-update": "update mentions set mail = 'b@example.com'",
  "constraint-referred-to-delete": "delete from devices where login = 'one'",
  "constraint-referred-to-update": "update devices set login = 'x' where login = 'one'",
});

/** What everybody does all day is no oracle. */
const NO_ORACLE = each("unique indexes, foreign keys and checks as oracles", "harmless", {
  "constraint-none-touched": "insert into customers (id, name, note) values (95, 'x', 'n')",
  "constraint-null": "insert into customers (id, name, note, email) values (96, 'x', 'n', null)",
  "constraint-default":
    "insert into customers (id, name, note, email) values (97, 'x', 'n', default)",
  "constraint-not-unique": "insert into people (id, secret) values (98, 'mine')",
  "constraint-update-other": "update customers set name = 'two' where id = 2",
  "constraint-update-unlisted": "update customers set phone = '3' where id = 2",
  "constraint-foreign-key-other": "insert into mentions (id, room) values (2, 3)",
  "constraint-referred-to-other": "update devices set id = 3 where login = 'one'",
});

const ERRORS: Attempt[] = [
  ...each("error text and DETAIL", "denied", {
    "error-cast": "select email::int from customers",
    "error-division": "select 1 / (case when email > 'a' then 0 else 1 end) from customers",
    "error-json": "select email::jsonb from customers",
    "error-cast-in-where": "select 1 from customers where email::int > 0",
    "error-regclass": "select email::regclass from customers",
    "error-lo": "select lo_get(ssn::oid) from customers",
    "error-check": "update customers set note = email where id = 1",
    "error-check-option": "insert into orders (id, status) select 99, email from customers",
  }),
  ...each("error text and DETAIL", "scrubbed", {
    "error-failing-row": "update customers set remark = repeat('x', 60) where id = 1",
    "error-failing-row-insert": "insert into customers (id, name) values (1, 'x')",
    "error-not-null": "update customers set name = null where id = 1",
    "error-multi-statement": "select 1; update customers set name = null",
    "error-extended": [{ extended: "update customers set name = null" }],
    "error-view": "update addresses set name = null",
    "error-merge":
      "merge into customers c using (select 1 as one) s on c.id = s.one when matched then update set name = null",
    "error-deferred-commit": ["begin; update pairs set other = 1 where id = 2", "commit"],
    "error-deferred-autocommit": "update pairs set other = 1 where id = 2",
    "error-deferred-constraints": [
      "begin; update pairs set other = 1 where id = 2",
      "set constraints all immediate",
    ],
    "error-deferred-sync": [{ extended: "update pairs set other = 1 where id = 2" }],
    "error-trigger": "insert into jobs values (666, 'x')",
    "error-prepared": ["prepare p as update customers set name = $1", "execute p(null)"],
    "error-partition": "update visits set id = 5000 where id = 1",
  }),
];

const NOTICES = each("notices", "harmless", {
  "notice-trigger": "insert into jobs values (1, 'x')",
  "notice-trigger-listening": "insert into jobs values (2, 'y'); notify jobs",
});

const COPIES = each("COPY, copying into another table", "denied", {
  "copy-table": "copy customers to stdout",
  "copy-column": "copy customers (email) to stdout",
  "copy-query": "copy (select email from customers) to stdout",
  "copy-query-view": "copy (select address from addresses) to stdout",
  "copy-binary": "copy customers (ssn) to stdout (format binary)",
  "copy-csv": "copy (select id, email from customers) to stdout (format csv, header)",
  "copy-partition": "copy visits_low to stdout",
  "copy-matview": "copy (table mailing) to stdout",
  "copy-returning": "copy (update customers set name = name returning email) to stdout",
  "copy-program": "copy orders to program 'cat'",
  "copy-file": "copy orders to '/tmp/x'",
  "copy-from-program": "copy orders from program 'id'",
  "copy-from-file": "copy scratch from '/etc/passwd'",
  "store-insert-select": "insert into scratch select id, email from customers",
  "store-insert-star": "insert into scratch (word) table mailing",
  "store-update": "update scratch set word = (select email from customers limit 1)",
  "store-update-from": "update scratch set word = c.email from customers c",
  "store-own-column": "update customers set name = email",
  "store-cte": "with w as (select email from customers) insert into scratch select 1, email from w",
  "store-returning":
    "with w as (update customers set name = name returning email) insert into scratch select 1, email from w",
  "store-merge":
    "merge into scratch s using customers c on s.id = c.id when not matched then insert values (c.id, c.email)",
  "store-excluded":
    "insert into customers (id, name, email) values (1, 'x', 'y') on conflict (id) do update set name = customers.email",
  "store-create-table-as": "create table copied as select email from customers",
  "store-select-into": "select email into copied from customers",
  "store-create-temp": "create temp table copied as select email from customers",
  "store-create-view": "create view copied as select email from customers",
  "store-create-view-function": "create view copied as select first_mail()",
  "store-create-matview": "create materialized view copied as select email from customers",
  "store-explain-analyze-create":
    "explain analyze create table copied as select email from customers",
  "store-default": "create table copied (a text default first_mail())",
  "store-generated":
    "create table copied (a int, b text generated always as (first_mail()) stored)",
  "store-index": "create index on customers (lower(email))",
  "store-unique-index": "create unique index on customers (left(email, 1))",
  "store-statistics": "create statistics s on email, phone from customers",
  "store-foreign-key": "create table copied (a text references customers (email))",
  "store-inherit": "create table copied () inherits (customers)",
  "store-like": "create table copied (like customers including all)",
  "store-rename-column": "alter table customers rename email to mail",
  "store-rename-table": "alter table customers rename to clients",
  "store-set-schema": "alter table customers set schema elsewhere",
  "store-alter-type": "alter table customers alter email type varchar",
  "store-detach": "alter table visits detach partition visits_low",
  "store-trigger":
    "create trigger t before update on customers for each row execute function blurt()",
  "store-rule": "create rule r as on insert to scratch do also select * from customers",
  "store-policy": "create policy p on customers using (email > 'm')",
});

export const LEAKS: readonly Attempt[] = [
  ...BARE,
  ...EXPRESSIONS,
  ...AGGREGATES,
  ...ORACLES,
  ...CONSTRAINTS,
  ...NO_ORACLE,
  ...ERRORS,
  ...NOTICES,
  ...COPIES,
];
