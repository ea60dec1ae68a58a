import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { openShop, type Shop } from "./classify-fixture.ts";
import { PURE_FUNCTIONS, SESSION_FUNCTIONS, VOLATILE_FUNCTIONS } from "./functions-builtin.ts";

let server: TestPostgres;
let shop: Shop;
before(async () => {
  server = await startPostgres({ databases: ["shop"] });
  shop = await openShop(server);
});
after(async () => {
  await shop[Symbol.asyncDispose]();
});

/** Volatile since their answer changes on its own; they change nothing. */
const ONLY_TELL = new Set(
  `array_sample array_shuffle clock_timestamp current_query gen_random_uuid pg_blocking_pids
  pg_collation_actual_version pg_current_wal_lsn pg_database_collation_actual_version
  pg_database_size pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused pg_jit_available
  pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status
  pg_notification_queue_usage pg_partition_ancestors pg_partition_tree pg_relation_size
  pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_table_size pg_tablespace_size
  pg_total_relation_size pg_xact_status random random_normal timeofday txid_status uuidv4
  uuidv7`.split(/\s+/),
);

async function volatilities(): Promise<Map<string, Set<string>>> {
  const { rows } = await shop.client.query<{ name: string; volatility: string }>(
    `SELECT proname AS name, provolatile AS volatility FROM pg_proc
     WHERE pronamespace = 'pg_catalog'::regnamespace`,
  );
  const found = new Map<string, Set<string>>();
  for (const { name, volatility } of rows)
    found.set(name, (found.get(name) ?? new Set()).add(volatility));
  return found;
}

test("the allow-list agrees with the server's own word on volatility", async () => {
  const known = await volatilities();
  const wrong: string[] = [];
  for (const name of PURE_FUNCTIONS)
    if ([...(known.get(name) ?? [])].some((volatility) => volatility !== "i")) wrong.push(name);
  for (const name of SESSION_FUNCTIONS)
    if (known.get(name)?.has("v") === true && !VOLATILE_FUNCTIONS.has(name) && !ONLY_TELL.has(name))
      wrong.push(name);
  assert.deepEqual(wrong, []);
});

test("nothing on the allow-list runs text as SQL, reads files or reaches other sessions", () => {
  const dangerous =
    /^(lo_|pg_read|pg_ls_|pg_stat_file|query_to|cursor_to|table_to|schema_to|database_to|ts_stat|ts_rewrite|set_config|pg_terminate|pg_cancel|pg_reload|pg_rotate|pg_log_|pg_stat_get_activity|pg_stat_reset|pg_switch|pg_promote|pg_replication|pg_logical|pg_create|pg_drop|pg_export|pg_import|binary_upgrade|currtid|dblink|nextval|setval|pg_notify|current_setting)/;
  const found = [...PURE_FUNCTIONS, ...SESSION_FUNCTIONS].filter((name) => dangerous.test(name));
  assert.deepEqual(found, []);
});

test("a function of the system that is on no list is refused, whatever it is", async () => {
  const { rows } = await shop.client.query<{ name: string; inputs: number }>(
    `SELECT DISTINCT proname AS name, pronargs::int AS inputs FROM pg_proc
     WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provolatile = 'v'`,
  );
  const special = new Set(["nextval", "setval", "pg_notify", "set_config"]);
  let judged = 0;
  for (const { name, inputs } of rows) {
    if (SESSION_FUNCTIONS.has(name) || PURE_FUNCTIONS.has(name) || special.has(name)) continue;
    const plan = shop.classify(
      `SELECT pg_catalog."${name}"(${Array(inputs).fill("$1").join(", ")})`,
    );
    assert.ok(!("unclassified" in plan), name);
    assert.ok(
      plan.operation.effects.some((effect) => effect.action === "sql:unsafe_io"),
      name,
    );
    judged++;
  }
  assert.ok(judged > 100);
});

test("compiled functions of extensions that run text as SQL, elsewhere or later, are unsafe", async () => {
  // As the extensions declare them, but for what they do.
  await server.query(
    "shop",
    `create schema cron;
     create function cron.schedule(int, int) returns int language internal as 'int4pl';
     create function pg_background_launch(int, int) returns int language internal as 'int4pl';
     create function pgr_dijkstra(int, int) returns int language internal as 'int4pl';
     create function plain(int, int) returns int language internal as 'int4pl';`,
  );
  await shop.classifier.refresh();
  const unsafe = (call: string) => {
    const plan = shop.classify(`SELECT ${call}(1, 2)`);
    assert.ok(!("unclassified" in plan), call);
    return plan.operation.effects.some((effect) => effect.action === "sql:unsafe_io");
  };
  for (const call of ["cron.schedule", "pg_background_launch", "pgr_dijkstra"])
    assert.equal(unsafe(call), true, call);
  assert.equal(unsafe("plain"), false);
});
