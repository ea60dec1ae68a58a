// A client's own name, held against what PostgreSQL itself answers to the same statements, while the
// server's own view of it shows the chain.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { systemClock } from "../../base/clock.ts";
import { applicationName } from "./application-name.ts";
import { catalogueOver, openDatabases } from "./databases.ts";
import { type RelayHarness, startRelay, throughRelay } from "./relay-harness.ts";

let postgres: TestPostgres;
let relay: RelayHarness;
before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  const databases = openDatabases({
    catalogue: catalogueOver({
      query: (_target, _login, name, sql) => postgres.query(name, sql),
    }),
    clock: systemClock,
    masks: () => new Map(),
    limits: { catalogueRefreshMs: 60_000, statementBytes: 1 << 20, planCacheBytes: 1 << 20 },
    log: () => undefined,
  });
  relay = await startRelay(postgres, {
    classifierFor: (target, database) => databases.open(target, database),
  });
});
after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

interface Seen {
  /** What was answered to each statement: rows, or an SQLSTATE. */
  readonly answers: readonly unknown[];
  /** Each time the server reported the name. */
  readonly reports: readonly string[];
}

async function run(config: pg.ClientConfig, script: readonly string[], name?: string) {
  const client = new pg.Client(name === undefined ? config : { ...config, application_name: name });
  const reports: string[] = [];
  const told = client as unknown as {
    connection: {
      on(event: string, listener: (status: Record<string, string>) => void): void;
    };
  };
  told.connection.on("parameterStatus", (status) => {
    if (status.parameterName === "application_name") reports.push(String(status.parameterValue));
  });
  await client.connect();
  const answers: unknown[] = [];
  for (const sql of script)
    answers.push(
      await client.query(sql.startsWith("?") ? { text: sql.slice(1), values: [] } : sql).then(
        ({ command, rows }) => [command, rows],
        (error: { code: string }) => error.code,
      ),
    );
  const shown = await postgres.query(
    "shop",
    "select application_name from pg_stat_activity where datname = 'shop'",
  );
  await client.end();
  return { seen: { answers, reports } satisfies Seen, shown: JSON.stringify(shown) };
}

const SCRIPTS: Record<string, { readonly name?: string; readonly script: readonly string[] }> = {
  "as psql and pgAdmin give it, at the start": { name: "psql", script: ["show application_name"] },
  "none at all": { script: ["show application_name", "reset application_name"] },
  "SET in each of its forms": {
    name: "start",
    script: [
      "set application_name = 'DBeaver 24 - Main <orders>'",
      "show application_name",
      "SET SESSION Application_Name TO rails",
      "show Application_Name",
      "set application_name to default",
      "show application_name",
      "set application_name = 'it''s'",
      "reset application_name",
      "show application_name",
    ],
  },
  "in the extended protocol, as JDBC does": {
    name: "PostgreSQL JDBC Driver",
    script: ["?set application_name = 'pool-1'", "?show application_name"],
  },
  "with a transaction that ends": {
    name: "start",
    script: [
      "begin",
      "set local application_name = 'inside'",
      "show application_name",
      "commit",
      "show application_name",
      "begin",
      "set application_name = 'kept'",
      "select 1 / 0",
      "set application_name = 'never'",
      "rollback",
      "show application_name",
    ],
  },
  "reset with everything else": {
    name: "start",
    script: [
      "set application_name = 'other'",
      "reset all",
      "show application_name",
      "set application_name = 'other'",
      "discard all",
      "show application_name",
    ],
  },
  "by functions, as PostgreSQL's isolation tester does": {
    name: "tester",
    script: [
      "select current_setting('application_name')",
      "select set_config('application_name', current_setting('application_name') || '/' || 's1', false)",
      "show application_name",
      "?select /* ü */ set_config('application_name', 's2', true) as \"set\"",
      "select current_setting('application_name') as one, 'application_name' as two",
    ],
  },
  "what is no value of it": { script: ["set application_name = a, b", "set application_name ="] },
};

describe("a client is answered as PostgreSQL would, and the server sees the chain", () => {
  for (const [what, { name, script }] of Object.entries(SCRIPTS))
    test(what, async () => {
      const direct = await run(postgres.connection("shop"), script, name);
      const ours = await run(throughRelay(relay), script, name);
      assert.deepEqual(ours.seen.answers, direct.seen.answers);
      assert.match(ours.shown, /custody s-\w+ a corp\/ann@example\.com/);
      // SET LOCAL and what a failed transaction takes back are answered, and not reported.
      if (!/begin|set_config/.test(script.join()))
        assert.deepEqual(ours.seen.reports, direct.seen.reports);
    });
});

test("what could not be exchanged as a whole, or by its place, is refused", async () => {
  const { seen, shown } = await run(throughRelay(relay), [
    "set application_name = 'x'; select 1",
    "select 1; reset application_name",
    "select 1; select set_config('application_name', 'x', false)",
    "select set_config(E'application_name', 'x', false)",
    "select set_config('application_name'::text, 'x', false)",
    "explain analyze select set_config('application_name', 'x', false)",
    "select set_config('custody.application_name', 'x', false)",
    "set custody.application_name = 'x'",
    "show application_name; select 1 as one",
  ]);
  assert.deepEqual(seen.answers.slice(0, 2), ["0A000", "0A000"]);
  assert.deepEqual(seen.answers.slice(2, 8), [
    "42501",
    "0A000",
    "0A000",
    "42501",
    "42501",
    "42501",
  ]);
  assert.match(shown, /custody s-\w+ a corp/);
});

test("a name is printable and short, whatever is given", () => {
  assert.equal(applicationName("a\nb\u00e9'"), "a?b?'");
  assert.equal(applicationName("x".repeat(100)).length, 63);
  assert.equal(applicationName(undefined), "");
});
