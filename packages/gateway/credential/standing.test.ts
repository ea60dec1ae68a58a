// The gateway's own connections, against a real PostgreSQL.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startPostgres, type TestPostgres } from "../../../conformance/support/postgres-server.ts";
import { Secret } from "../base/secret.ts";
import type { PostgresTarget, StandingLogin } from "../target/target.ts";
import { openStandingConnections } from "./standing.ts";

let postgres: TestPostgres;
before(async () => {
  postgres = await startPostgres({ databases: ["shop"], tls: false });
});
after(() => postgres[Symbol.asyncDispose]());

function place() {
  const { user, password } = postgres.connection("shop");
  const login = { user: String(user), password: "a reference", database: "shop" };
  return {
    target: {
      name: "orders",
      host: "localhost",
      port: postgres.port,
      tls: { mode: "insecure-plaintext" },
    } as unknown as PostgresTarget,
    login: login as unknown as StandingLogin,
    secret: new Secret(String(password)),
  };
}

test("what is urgent waits for nothing that the common connection does, and its own is open ahead", async () => {
  const { target, login, secret } = place();
  await using standing = openStandingConnections({
    resolveSecret: async () => secret,
    connectTimeoutMs: 10_000,
    queryTimeoutMs: 10_000,
  });
  standing.prepareUrgent(target, login, "shop");
  const [{ pid: opened } = {}] = await standing.urgent(
    target,
    login,
    "shop",
    "select pg_backend_pid() as pid",
    [],
  );
  let done = false;
  const slow = standing.query(target, login, "shop", "select pg_sleep(60)").then(
    () => assert.fail("it was ended"),
    () => {
      done = true;
    },
  );
  while (!(await sleeping())) assert.equal(done, false);
  const [{ pid } = {}] = await standing.urgent(
    target,
    login,
    "shop",
    "select pg_backend_pid() as pid",
    [],
  );
  assert.equal(pid, opened);
  assert.equal(done, false);
  await standing.urgent(
    target,
    login,
    "shop",
    "select pg_terminate_backend(pid) from pg_stat_activity where query = $1",
    ["select pg_sleep(60)"],
  );
  await slow;
  const [{ one } = {}] = await standing.query(target, login, "shop", "select 1 as one");
  assert.equal(one, 1);
});

test("its statements are never compiled: the catalogue's would take ten times as long", async () => {
  const { target, login, secret } = place();
  await using standing = openStandingConnections({
    resolveSecret: async () => secret,
    connectTimeoutMs: 10_000,
    queryTimeoutMs: 10_000,
  });
  const [row] = await standing.query(target, login, "shop", "show jit");
  assert.deepEqual(row, { jit: "off" });
});

async function sleeping(): Promise<boolean> {
  const rows = await postgres.query(
    "shop",
    "select 1 from pg_stat_activity where wait_event = 'PgSleep'",
  );
  return JSON.stringify(rows).includes("1");
}

test("what takes longer than connecting may is given its own time", async () => {
  const { target, login, secret } = place();
  await using standing = openStandingConnections({
    resolveSecret: async () => secret,
    connectTimeoutMs: 60_000,
    queryTimeoutMs: 1,
  });
  const slow = "select pg_sleep(0.2)";
  await assert.rejects(standing.query(target, login, "shop", slow), { code: "target_unavailable" });
  assert.equal((await standing.query(target, login, "shop", slow, [], 60_000)).length, 1);
});
