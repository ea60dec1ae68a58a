// THREATS.md, "The server as an agent" (replication start-up), and leaks past a mask by the streaming replication
// protocol: a grant for the changes of one database against all that a walsender can be asked for. The account may
// read and replicate everything, so what stops an attempt is the gateway.

import { copyData, copyDone, parse, query, sync } from "@custody/wire/postgres/frontend.ts";
import type { Attempt, Outcome, Step } from "./attempt.ts";
import type { Attacker } from "./stage.ts";

const LOGICAL = { user: "feed", replication: "database" };
const OURS = /Custody|by the gateway/;
const ENDED = /Custody ended the replication/;

type Cases = Readonly<Record<string, string | readonly Step[]>>;
type About = Omit<Attempt, "id" | "tries" | "threat" | "steps" | "must">;

function each(must: Outcome, about: About, cases: Cases): Attempt[] {
  return Object.entries(cases).map(([id, steps]) => ({
    ...{ id, must, as: "feeder", startup: LOGICAL, threat: "replication" },
    tries: typeof steps === "string" ? steps : id.replaceAll("-", " "),
    steps: typeof steps === "string" ? [steps] : steps,
    ...about,
  }));
}

const started = (id: string, as: Attacker, startup: Readonly<Record<string, string>>) =>
  each("closed", { as, startup: { user: "feed", ...startup } }, { [id]: [] });

const START_UP: Attempt[] = [
  ...started("replication-of-another-database", "feeder", {
    ...{ replication: "database", database: "vault" },
  }),
  ...started("replication-of-the-server", "feeder", { replication: "true" }),
  ...started("replication-of-the-server-on", "feeder", { replication: "on" }),
  ...started("replication-of-the-server-1", "feeder", { replication: "1" }),
  ...started("replication-of-classes-in-files", "backup", { replication: "true" }),
  ...started("replication-twice", "feeder", {
    ...{ replication: "database", options: "-c replication=true" },
  }),
  ...started("replication-as-another-role", "feeder", {
    ...{ replication: "database", options: "-c role=postgres" },
  }),
  ...started("replication-in-another-encoding", "feeder", {
    ...{ replication: "database", client_encoding: "SJIS" },
  }),
];

/** Of the whole server, whichever database the connection is to. */
const SERVER = each(
  "denied",
  { says: OURS },
  {
    "backup-plain": "BASE_BACKUP",
    "backup-semicolon": "BASE_BACKUP;",
    "backup-options":
      "BASE_BACKUP ( LABEL 'x', PROGRESS, CHECKPOINT 'fast', WAIT 0, MANIFEST 'yes')",
    "backup-old-options": "BASE_BACKUP LABEL 'x' FAST NOWAIT",
    "backup-incremental": "BASE_BACKUP (INCREMENTAL)",
    "backup-to-the-server": "BASE_BACKUP (TARGET 'server', TARGET_DETAIL '/tmp/stolen')",
    "backup-to-the-server-quoted":
      "BASE_BACKUP (\"target\" 'server', \"target_detail\" '/tmp/stolen')",
    "backup-to-the-server-word": "BASE_BACKUP (TARGET server)",
    "backup-to-nowhere": "BASE_BACKUP (TARGET 'blackhole')",
    "backup-compressed-there": "BASE_BACKUP (COMPRESSION 'gzip', COMPRESSION_DETAIL 'level=9')",
    "backup-lower-case": "base_backup",
    "backup-in-a-transaction": ["begin", "BASE_BACKUP"],
    "backup-manifest-upload": "UPLOAD_MANIFEST",
    "log-from-its-start": "START_REPLICATION 0/0",
    "log-physical": "START_REPLICATION PHYSICAL 0/0",
    "log-timeline": "START_REPLICATION 0/1000000 TIMELINE 1",
    "log-by-slot": "START_REPLICATION SLOT standby PHYSICAL 0/0",
    "log-by-slot-called-logical": "START_REPLICATION SLOT logical 0/0",
    "log-by-slot-quoted": 'START_REPLICATION SLOT "s LOGICAL 0/0 (" PHYSICAL 0/0',
    "slot-physical": "CREATE_REPLICATION_SLOT mine PHYSICAL",
    "slot-physical-reserved": "CREATE_REPLICATION_SLOT mine TEMPORARY PHYSICAL (RESERVE_WAL)",
    "slot-physical-called-logical": "CREATE_REPLICATION_SLOT mine PHYSICAL (logical pgoutput)",
    "slot-physical-read": "READ_REPLICATION_SLOT standby",
    "timeline-history": "TIMELINE_HISTORY 2",
    "slot-plugin-library": "CREATE_REPLICATION_SLOT mine LOGICAL my_own_library",
    "slot-plugin-path": 'CREATE_REPLICATION_SLOT mine LOGICAL "../../tmp/evil"',
    "slot-plugin-libdir": 'CREATE_REPLICATION_SLOT mine LOGICAL "$libdir/evil"',
    "slot-plugin-second": "CREATE_REPLICATION_SLOT logical LOGICAL evil",
  },
);

const SLOTS = [
  ...each(
    "denied",
    {
      says: OURS,
      holds:
        "select count(*) = 2 from pg_replication_slots where slot_name in ('others', 'standby')",
    },
    {
      "slot-of-another-database-dropped": "DROP_REPLICATION_SLOT others",
      "slot-of-another-database-dropped-quoted": 'DROP_REPLICATION_SLOT "others" WAIT',
      "slot-of-another-database-dropped-in-capitals": "DROP_REPLICATION_SLOT OTHERS",
      "slot-of-the-server-dropped": "DROP_REPLICATION_SLOT standby",
      "slot-dropped-by-function": "select pg_drop_replication_slot('others')",
    },
  ),
  ...each(
    "denied",
    {
      says: OURS,
      holds: "select not failover from pg_replication_slots where slot_name = 'others'",
    },
    {
      "slot-of-another-database-altered": "ALTER_REPLICATION_SLOT others (FAILOVER true)",
    },
  ),
  ...each(
    "denied",
    { says: /was not created in this database/ },
    {
      "slot-of-another-database-streamed":
        "START_REPLICATION SLOT others LOGICAL 0/0 (proto_version '1', publication_names 'kept')",
    },
  ),
];

/** What SQL can ask of slots and the log: on a replication connection and on any other. */
const FUNCTIONS: Readonly<Record<string, string>> = {
  "changes-got": "select * from pg_logical_slot_get_changes('mine', null, null)",
  "changes-peeked": "select * from pg_logical_slot_peek_changes('mine', null, null)",
  "changes-got-binary":
    "select * from pg_logical_slot_get_binary_changes('mine', null, null, 'proto_version', '1', 'publication_names', 'whole')",
  "changes-in-an-expression":
    "select length((pg_logical_slot_peek_changes('mine', null, null)).data)",
  "slot-made": "select pg_create_logical_replication_slot('mine', 'test_decoding')",
  "slot-made-physical": "select pg_create_physical_replication_slot('mine')",
  "slot-copied": "select pg_copy_logical_replication_slot('others', 'mine')",
  "slot-copied-physical": "select pg_copy_physical_replication_slot('standby', 'mine')",
  "slot-advanced": "select pg_replication_slot_advance('others', pg_current_wal_lsn())",
  "slot-dropped": "select pg_drop_replication_slot('standby')",
  "log-message": "select pg_logical_emit_message(false, 'x', (select email from feed_people))",
  "log-switched": "select pg_switch_wal()",
  "log-listed": "select * from pg_ls_waldir()",
  "origin-made": "select pg_replication_origin_create('mine')",
  "origin-set": "select pg_replication_origin_session_setup('mine')",
  "slots-synchronised": "select pg_sync_replication_slots()",
  "backup-begun": "select pg_backup_start('x')",
};

const BY_SQL = [
  ...each(
    "denied",
    { says: OURS },
    Object.fromEntries(Object.entries(FUNCTIONS).map(([id, sql]) => [`replication-${id}`, sql])),
  ),
  ...each(
    "denied",
    { as: "wide", startup: {} },
    Object.fromEntries(Object.entries(FUNCTIONS).map(([id, sql]) => [`session-${id}`, sql])),
  ),
  ...each(
    "denied",
    { as: "wide", startup: {} },
    {
      "session-publication-made": "create publication mine for table feed_people",
      "session-publication-widened": "alter publication clear set table feed_people",
      "session-publication-filtered":
        "alter publication clear set table feed_people where (email > 'm')",
      "session-subscription":
        "create subscription mine connection 'host=x' publication whole with (connect = false)",
    },
  ),
];

/** Statements on a replication connection that reach a class, or are no reads. */
const STATEMENTS = each(
  "denied",
  { says: OURS },
  {
    "replication-select": "select email from feed_people",
    "replication-select-star": "select * from feed_people",
    "replication-select-expression": "select lower(email) from feed_people",
    "replication-select-where": "select id from feed_people where email > 'm'",
    "replication-select-row": "select feed_people from feed_people",
    "replication-select-partition": "select what from feed_parts",
    "replication-select-view": "select address from addresses",
    "replication-select-forbidden": "select id from forbidden",
    "replication-select-statistics": "select most_common_vals from pg_stats",
    "replication-copy": "copy feed_people to stdout",
    "replication-copy-columns": "copy feed_people (email) to stdout",
    "replication-copy-query": "copy (select email from feed_people) to stdout",
    "replication-copy-filter": "copy (select id from feed_people where email > 'm') to stdout",
    "replication-copy-binary": "copy feed_people (id, email) to stdout with (format binary)",
    "replication-copy-program": "copy marks to program 'cat'",
    "replication-copy-file": "copy marks to '/tmp/marks'",
    "replication-copy-in": "copy marks from stdin",
    "replication-cursor": ["begin", "declare c cursor for select email from feed_people"],
    "replication-prepare": "prepare p as select email from feed_people",
    "replication-explain": "explain analyze select email from feed_people",
    "replication-do": "do $$ begin raise notice 'x'; end $$",
    "replication-insert": "insert into marks values ('x')",
    "replication-insert-returning":
      "with x as (insert into marks values ('x') returning *) select * from x",
    "replication-set": "set role postgres",
    "replication-set-path": "set search_path = elsewhere",
    "replication-set-config": "select set_config('search_path', 'elsewhere', false)",
    "replication-secure-path-else": "SELECT pg_catalog.set_config('search_path', '', false); ",
    "replication-snapshot-set": [
      "begin isolation level repeatable read",
      "set transaction snapshot '1-1-1'",
    ],
    "replication-snapshot-exported": "select pg_export_snapshot()",
    "replication-snapshot-used": [
      "begin isolation level repeatable read",
      "CREATE_REPLICATION_SLOT mine TEMPORARY LOGICAL pgoutput (SNAPSHOT 'use')",
      "select email from feed_people",
    ],
    "replication-two-statements": "select 1; select email from feed_people",
    "replication-two-commands": "IDENTIFY_SYSTEM; BASE_BACKUP",
    "replication-command-then-sql": "IDENTIFY_SYSTEM; select email from feed_people",
    "replication-comment-before": "/* */ IDENTIFY_SYSTEM",
    "replication-line-comment-before": "-- x\nBASE_BACKUP",
    "replication-comment-within": "BASE_BACKUP /* */ (TARGET 'server')",
    "replication-comment-in-sql": "select/* */email from feed_people",
    "replication-no-break-space": "\u00a0BASE_BACKUP",
    "replication-form-feed": "\fselect email from feed_people",
    "replication-vertical-tab": "\vBASE_BACKUP",
    "replication-quoted-command": '"BASE_BACKUP"',
    "replication-parenthesis": "(select email from feed_people)",
    "replication-with": "with x as (select email from feed_people) select * from x",
    "replication-table": "table feed_people",
    "replication-values": "values ((select email from feed_people))",
    "replication-show-all": "SHOW all",
    "replication-show-all-quoted": 'SHOW "All"',
    "replication-show-all-lower": "show all",
    "replication-show-secret": "SHOW app.secret",
    "replication-show-secret-quoted": 'SHOW "app"."secret"',
    "replication-show-secret-one-name": 'SHOW "app.secret"',
    "replication-show-secret-lower": "show app.secret",
    "replication-show-conninfo": "SHOW primary_conninfo",
    "replication-show-conninfo-quoted": 'SHOW "Primary_ConnInfo"',
    "replication-show-archive": "SHOW archive_command",
    "replication-empty": ";",
  },
);

const FRAMES = each(
  "closed",
  {},
  {
    "replication-parse": [{ frames: [parse("", "BASE_BACKUP"), sync()], readies: 1 }],
    "replication-two-nul": [{ frames: [twoTexts("IDENTIFY_SYSTEM", "BASE_BACKUP")], readies: 1 }],
    "replication-function-call": [{ frames: [Buffer.of(0x46, 0, 0, 0, 4)], readies: 1 }],
  },
);

/** Data of a COPY that nobody began, then a question. */
const EARLY = each(
  "denied",
  { says: OURS },
  {
    "replication-data-before": [
      { frames: [copyData(Buffer.from("x")), copyDone(), query("BASE_BACKUP")], readies: 1 },
    ],
  },
);

function twoTexts(first: string, second: string): Buffer {
  const text = Buffer.from(`${first}\0${second}\0`);
  const frame = Buffer.alloc(5 + text.length);
  frame[0] = 0x51;
  frame.writeInt32BE(4 + text.length, 1);
  text.copy(frame, 5);
  return frame;
}

/** A slot of its own, then the stream. */
function stream(options: string, plugin = "pgoutput", slot = ""): readonly string[] {
  return [
    `CREATE_REPLICATION_SLOT feed TEMPORARY LOGICAL ${plugin} (SNAPSHOT 'nothing'${slot})`,
    `START_REPLICATION SLOT feed LOGICAL 0/0 (${options})`,
  ];
}

const published = (names: string, more = "", version = 1) =>
  `proto_version '${version}', publication_names '${names}'${more}`;
const PERSON = `insert into feed_people
  select 10, 'ten', email || '10' from feed_people where id = 1`;
const NO_PERSON = "delete from feed_people where id >= 10";

/** `[options of the stream, SQL that is written while it goes on]` */
const STREAMS: Readonly<Record<string, readonly [string, string]>> = {
  "stream-class": [published("whole,marked"), PERSON],
  "stream-second-publication": [published("marked,emptied,whole"), PERSON],
  "stream-quoted-publication": [published('"marked","whole"'), PERSON],
  "stream-spaced-publication": [published(' "marked" , whole '), PERSON],
  "stream-capital-publication": [published("MARKED,WHOLE"), PERSON],
  "stream-quoted-options": [`"proto_version" '1', "publication_names" 'marked,whole'`, PERSON],
  "stream-binary": [published("marked,whole", ", binary 'true'"), PERSON],
  "stream-origin": [published("marked,whole", ", origin 'none'", 4), PERSON],
  "stream-update": [published("marked,whole"), "update feed_people set name = 'x' where id = 1"],
  "stream-key-changed": [
    published("marked,whole"),
    "update feed_people set id = 2 where id = 1; update feed_people set id = 1 where id = 2",
  ],
  "stream-streaming": [
    published("marked,whole", ", streaming 'on'", 2),
    `begin; insert into feed_people select n, 'x', email || n
       from feed_people, generate_series(10, 5000) n where id = 1; commit`,
  ],
  "stream-streaming-parallel": [
    published("marked,whole", ", streaming 'parallel'", 4),
    `begin; insert into feed_people select n, 'x', email || n
       from feed_people, generate_series(10, 5000) n where id = 1; commit`,
  ],
  "stream-messages": [
    published("marked", ", messages 'true'"),
    "select pg_logical_emit_message(true, 'x', email) from feed_people where id = 1",
  ],
  "stream-messages-outside-transactions": [
    published("marked", ", messages 'true'"),
    "select pg_logical_emit_message(false, 'x', email) from feed_people where id = 1",
  ],
  "stream-truncate": [published("marked,emptied"), "truncate feed_people"],
  "stream-filter-on-a-class": [
    published("marked,filtered"),
    "insert into feed_people values (11, 'eleven', 'z')",
  ],
  "stream-filter-of-a-root": [
    published("marked,root_filtered"),
    "insert into visits values (203, 'z')",
  ],
  "stream-forbidden": [published("marked,out_of_reach"), "insert into forbidden values (2)"],
  "stream-forbidden-part": [published("marked,ledger"), "insert into ledger values (201, 'two')"],
  "stream-partition-by-root": [
    published("marked,parts"),
    "insert into feed_parts select 1, email from feed_people where id = 1",
  ],
  "stream-partition": [
    published("marked,leaf"),
    "insert into feed_parts select 1, email from feed_people where id = 1",
  ],
  "stream-root": [
    published("marked,root"),
    "insert into visits select 202, visitor from visits where id = 1",
  ],
  "stream-part-of-root": [
    published("marked,root_parts"),
    "insert into visits select 202, visitor from visits where id = 1",
  ],
  "stream-child": [
    published("marked,child"),
    "insert into staff select id, secret, room from staff limit 1",
  ],
  "stream-computed": [
    published("marked,made"),
    "insert into measured (id, mail) select 2, email from feed_people where id = 1",
  ],
  "stream-all-tables": [published("everything"), PERSON],
  "stream-all-tables-of-a-schema": [published('marked,"schema"'), PERSON],
  "stream-publication-widened": [
    published("marked,clear"),
    `insert into feed_people values (12, 'twelve', 'x'); alter publication clear set table feed_people; ${PERSON}`,
  ],
  "stream-publication-gains-a-table": [
    published("changing"),
    `alter publication changing add table feed_people; ${PERSON}`,
  ],
  "stream-column-renamed": [
    published("marked,whole"),
    `alter table feed_people rename email to contact;
     insert into feed_people select 10, 'ten', contact || '10' from feed_people where id = 1`,
  ],
  "stream-table-renamed": [
    published("marked,whole"),
    `alter table feed_people rename to feed_persons;
     insert into feed_persons select 10, 'ten', email || '10' from feed_persons where id = 1`,
  ],
  "stream-identity-full": [
    published("marked,whole"),
    "alter table feed_people replica identity full; delete from feed_people where id = 1",
  ],
  "stream-identity-by-the-class": [
    published("marked,whole"),
    `alter table feed_people replica identity using index feed_people_email_key;
     delete from feed_people where id = 1`,
  ],
  "stream-partition-attached": [
    published("marked,root_parts"),
    `create table visits_more (id int, visitor text);
     insert into visits_more select 2000, visitor from visits where id = 1;
     alter table visits attach partition visits_more for values from (2000) to (3000);
     insert into visits select 2001, visitor from visits where id = 1`,
  ],
};

/** As it was, whatever was streamed. */
const AS_BEFORE = `
do $$ begin
  if to_regclass('feed_persons') is not null then alter table feed_persons rename to feed_people; end if;
  if exists (select from pg_attribute where attrelid = 'feed_people'::regclass and attname = 'contact') then
    alter table feed_people rename contact to email;
  end if;
end $$;
alter table feed_people replica identity default;
alter publication clear set table feed_people (id, name);
alter publication changing set table marks;
drop table if exists visits_more;
truncate feed_parts;
delete from forbidden where id = 2;
delete from ledger where id = 201;
delete from visits where id not in (1, 200);
${NO_PERSON};
insert into feed_people select 1, 'one', email from customers where id = 1
  on conflict (id) do update set name = 'one', email = excluded.email`;

const STREAMED = Object.entries(STREAMS).flatMap(([id, [options, sql]]) =>
  each(
    "closed",
    { says: ENDED, undo: AS_BEFORE },
    { [id]: [...stream(options), { written: sql }] },
  ),
);

const OTHER_STREAMS = [
  ...each(
    "closed",
    { says: ENDED, undo: AS_BEFORE },
    {
      "stream-of-another-plugin": [...stream("", "test_decoding"), { written: PERSON }].map(
        (step) => (typeof step === "string" ? step.replace(" ()", "") : step),
      ),
      "stream-in-two-phases": [
        ...stream(published("marked,whole", ", two_phase 'on'", 3), "pgoutput", ", TWO_PHASE true"),
        { written: [`begin; ${PERSON}; prepare transaction 'x'`, "commit prepared 'x'"] },
      ],
    },
  ),
  ...each(
    "harmless",
    { undo: AS_BEFORE },
    {
      "stream-clear": [...stream(published("marked,clear")), { written: PERSON }],
      "stream-clear-streaming": [
        ...stream(published("marked,clear", ", streaming 'on', binary 'true'", 4)),
        {
          written: `begin; insert into feed_people select n, 'x', email || n
            from feed_people, generate_series(10, 5000) n where id = 1; commit`,
        },
      ],
      "replication-identify": "IDENTIFY_SYSTEM",
      "replication-show": "SHOW wal_segment_size",
    },
  ),
];

export const REPLICATION: readonly Attempt[] = [
  ...START_UP,
  ...SERVER,
  ...SLOTS,
  ...BY_SQL,
  ...STATEMENTS,
  ...FRAMES,
  ...EARLY,
  ...STREAMED,
  ...OTHER_STREAMS,
];
