// THREATS.md, "Leaks past a mask", by writing: what constraints tell, and masks that are stored.

import { copyData, copyDone, query } from "@custody/wire/postgres/frontend.ts";
import { type Attempt, each, type Step } from "./attempt.ts";

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
  "constraint-generated-column": "insert into lowered (id, mail) values (2, 'guess')",
  "constraint-generated-column-update": "update lowered set mail = 'guess' where id = 1",
  "constraint-generated-composite": "update lowered set other = 2 where id = 1",
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

/** One command with the rows of its COPY, in pieces. */
function copyIn(statement: string, ...pieces: readonly string[]): readonly Step[] {
  const rows = pieces.map((piece) => copyData(Buffer.from(piece)));
  return [{ frames: [query(statement), ...rows, copyDone()], readies: 1 }];
}

const WRITTEN_BACK = each("a masked value written back over the real one", "denied", {
  "back-literal": "update customers set phone = '[masked pii.phone]' where id = 1",
  "back-inside-text": "update orders set status = 'mail to [masked pii.email] please' where id = 1",
  "back-inside-json": `update customers set profile = '{"mail": "[masked pii.email]"}' where id = 1`,
  "back-insert": "insert into people (id, secret) values (7, '[masked secret.people]')",
  "back-parameter": [
    {
      extended: "update customers set phone = $1 where id = 1",
      values: ["[masked pii.phone]"],
    },
  ],
  "back-parameter-other-table": [
    { extended: "insert into scratch (word) values ($1)", values: ["[masked pii.email]"] },
  ],
  "back-execute": [
    "prepare p as update customers set phone = $1 where id = 1",
    "execute p('[masked pii.phone]')",
  ],
  "back-merge":
    "merge into people p using (select 1 as id) s on p.id = s.id when matched then update set secret = '[masked secret.people]'",
  "back-cte":
    "with w as (update people set secret = '[masked secret.people]' returning id) select id from w",
  "back-copy": copyIn("copy people (id, secret) from stdin", "8\t[masked secret.people]\n"),
  "back-copy-in-pieces": copyIn(
    "copy people (id, secret) from stdin",
    "8\t[mas",
    "ked secret.peo",
    "ple]\n9\tx\n",
  ),
  "back-null": ["select ssn from customers", "update customers set ssn = null where id = 1"],
  "back-null-cast": [
    "select ssn from customers",
    "update customers set ssn = null::int where id = 1",
  ],
  "back-null-parameter": [
    "select ssn from customers",
    { extended: "update customers set name = $1, ssn = $2 where id = 1", values: ["one", null] },
  ],
  "back-null-execute": [
    "select ssn from customers",
    "prepare p as update customers set ssn = $1 where id = 1",
    "execute p(null)",
  ],
  "back-null-by-another-session": [
    "select profile from customers",
    { session: "another" },
    "update customers set profile = null where id = 1",
  ],
}).map((attempt) => ({
  ...attempt,
  holds:
    "select count(*) = 1 from customers where id = 1 and phone not like '[%' and ssn is not null and profile is not null",
}));

const NOT_WRITTEN_BACK = each("a masked value written back over the real one", "harmless", {
  "back-default-on-purpose": [
    "select ssn from customers",
    "update customers set ssn = default where id = 2",
  ],
  "back-other-column": [
    "select ssn from customers",
    "update customers set name = null_name.n from (values ('two')) null_name(n) where id = 2",
  ],
  "back-own-value": [
    { extended: "update customers set phone = $1 where id = 2", values: ["+49 30 1"] },
  ],
  "back-copy-own": copyIn("copy people (id, secret) from stdin", "18\tmine\n"),
});

export const WRITES: readonly Attempt[] = [
  ...CONSTRAINTS,
  ...NO_ORACLE,
  ...WRITTEN_BACK,
  ...NOT_WRITTEN_BACK,
];
