// Roles of sessions and the end of their backends, against a real PostgreSQL.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { systemClock } from "../../base/clock.ts";
import { systemRandom } from "../../base/ids.ts";
import { Secret } from "../../base/secret.ts";
import { openStandingConnections } from "../../credential/standing.ts";
import type { Chain } from "../../delegation/chain.ts";
import type { PostgresTarget } from "../../target/target.ts";
import { createPostgresBroker } from "./session-roles.ts";

let postgres: TestPostgres;
before(async () => {
  postgres = await startPostgres({ databases: ["shop"], tls: false });
  await postgres.query("shop", "create role reader nologin");
});
after(() => postgres[Symbol.asyncDispose]());

test("a role is dropped after its backend was ended, however late that is: by its role it is known", async () => {
  const { user, password } = postgres.connection("shop");
  const admin = { user: String(user), password: { from: "env", name: "NONE" }, database: "shop" };
  const target = {
    name: "orders",
    host: "localhost",
    port: postgres.port,
    tls: { mode: "insecure-plaintext" },
    accounts: [{ name: "ro", credential: { kind: "session-role", profile: "reader", admin } }],
  } as unknown as PostgresTarget;
  const resolveSecret = async () => new Secret(String(password));
  await using standing = openStandingConnections({
    ...{ resolveSecret, connectTimeoutMs: 30_000, queryTimeoutMs: 30_000 },
  });
  const slow = Promise.withResolvers<void>();
  const asked: string[] = [];
  const broker = createPostgresBroker({
    ...{ resolveSecret, random: systemRandom, clock: systemClock, instance: "i1" },
    standing: {
      ...standing,
      query: (...args) => {
        asked.push(args[3]);
        return standing.query(...args);
      },
      async urgent(...args) {
        await slow.promise;
        return standing.urgent(...args);
      },
    },
    log: (message, error) => assert.fail(`${message}: ${error}`),
  });
  const leased = await broker.lease({
    ...{ target, account: "ro", sessionId: "s-1", chain: { hops: [] } as unknown as Chain },
    expiresAtMs: Date.now() + 3_600_000,
  });
  const { credential } = leased;
  assert.ok(credential.kind === "password");
  const client = new pg.Client({
    ...{ host: "localhost", port: postgres.port, database: "shop" },
    ...{ user: credential.user, password: credential.password.reveal() },
  });
  client.on("error", () => undefined);
  await client.connect();
  const [{ pid } = {}] = (await client.query("select pg_backend_pid() as pid")).rows;
  leased.attach(pid);
  const running = client.query("select pg_sleep(600)").catch((error: Error) => error.message);

  const ended = broker.endBackends(["s-1"]);
  const released = leased.release();
  await delay(200);
  assert.ok(!asked.some((sql) => sql.startsWith("DROP ROLE")));
  slow.resolve();
  await Promise.all([ended, released]);
  assert.match(String(await running), /terminat/i);
  assert.ok(asked.some((sql) => sql.startsWith("DROP ROLE")));
});
