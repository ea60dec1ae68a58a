// What is found in text without a class, before a real PostgreSQL: replaced in place, in text and in binary.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import type { Detection } from "../../masking/detect.ts";
import { readSnapshot } from "./catalogue.ts";
import { createClassifier } from "./classify.ts";
import { type RelayHarness, startRelay, throughRelay } from "./relay-harness.ts";
import { createResultMasks } from "./row-check.ts";

const DETECT: readonly Detection[] = [
  { class: "pii.card", kind: "card-number" },
  { class: "pii.email", kind: "email" },
];

let postgres: TestPostgres;
let relay: RelayHarness;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query(
    "shop",
    `create table notes (id int primary key, note text, doc jsonb, amount numeric, owner text);
     insert into notes values
       (1, 'call ann@example.com about 4242 4242 4242 4242', '{"mail": "ann@example.com"}', 4242424242424242, 'ann@example.com'),
       (2, null, null, null, null), (3, 'nothing here', '{}', 1, 'x')`,
  );
  const classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [
      {
        database: undefined,
        schema: "public",
        table: "notes",
        column: "owner",
        class: "pii.owner",
      },
    ],
    read: () => readSnapshot((sql) => postgres.query("shop", sql)),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
  });
  const masks = createResultMasks(classifier, () => new Map(), DETECT);
  relay = await startRelay(postgres, {
    classifierFor: async () => ({ classifier, masks }),
    detect: DETECT,
  });
});

after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

async function through(): Promise<pg.Client> {
  const client = new pg.Client(throughRelay(relay));
  await client.connect();
  return client;
}

for (const binary of [false, true])
  test(`rows, ${binary ? "binary" : "text"}: text and JSON are looked through, masks and numbers are not`, async () => {
    const client = await through();
    const text = "select id, note, doc, owner from notes order by id";
    const { rows } = await client.query({ text, values: [], ...(binary ? { binary } : {}) });
    assert.equal(rows[0].note, "call [masked pii.email] about [masked pii.card]");
    assert.match(JSON.stringify(rows[0].doc), /\[masked pii\.email\]/);
    assert.equal(rows[0].owner, "[masked pii.owner]");
    assert.deepEqual([rows[1].note, rows[1].doc, rows[2].note], [null, null, "nothing here"]);
    await client.end();
  });

test("what a query makes of a value is looked through too", async () => {
  const client = await through();
  const { rows } = await client.query("select upper(note) as loud, amount from notes where id = 1");
  assert.equal(rows[0].loud, "CALL [masked pii.email] ABOUT [masked pii.card]");
  assert.equal(rows[0].amount, "4242424242424242");
  await client.end();
});

test("COPY out is refused, and what was found is not stored back", async () => {
  const client = await through();
  await assert.rejects(client.query("copy (select note from notes) to stdout"), /denied COPY/);
  await assert.rejects(
    client.query("update notes set note = $1 where id = 1", ["call [masked pii.email]"]),
    /would store a masked value/,
  );
  assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
  await client.end();
});
