// One statement, one meaning: what is made of a text by the grammar of any server that takes it is the same, but
// where the servers themselves read it otherwise.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { readSnapshot, type Snapshot } from "./catalogue.ts";
import { createClassifier, type PostgresClassifier } from "./classify.ts";
import {
  effectsOf,
  NO_NAMES,
  openShop,
  SHOP_CLASSES,
  type Shop,
  touchesOf,
} from "./classify-fixture.ts";
import { GRAMMARS, type Grammar, grammarOf } from "./grammars.ts";
import { loadParser, parseSql } from "./parse.ts";

const STATEMENTS: readonly string[] = JSON.parse(
  readFileSync(new URL("../../../../vectors/postgres/statements.json", import.meta.url), "utf8"),
);

/** What servers before that version read otherwise than 18, and why. */
const READ_OTHERWISE: readonly (readonly [before: Grammar, text: RegExp, why: string])[] = [
  [16, /json_array(agg)?\(/i, "constructors of JSON were functions nobody had made"],
  [17, /json_(exists|serialize|value)\(/i, "so were these"],
  [
    14,
    /(plus_one|tells_mail)\(/i,
    "bodies in the standard's form could not be read: nobody knows them",
  ],
];

let postgres: TestPostgres;
let shop: Shop;
let snapshot: Snapshot;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  shop = await openShop(postgres);
  snapshot = await readSnapshot((sql) => postgres.query("shop", sql));
});

after(async () => {
  await shop?.[Symbol.asyncDispose]();
});

function classifierOf(grammar: Grammar): Promise<PostgresClassifier> {
  return createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: SHOP_CLASSES,
    read: async () => ({ ...snapshot, serverVersion: grammar * 10_000 + 5 }),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 4_000_000 },
  });
}

/** All that a decision, a mask or a record is made of. */
function meaning(classifier: PostgresClassifier, text: string): unknown {
  const plan = classifier.classify(text, NO_NAMES);
  if ("unclassified" in plan)
    return { refused: plan.sqlState === "42601" ? "syntax" : plan.message };
  return {
    effects: effectsOf(plan),
    touches: touchesOf(plan),
    plainRead: plan.plainRead,
    statements: plan.statements.map(({ kind, columns }) => ({ kind, columns })),
  };
}

describe("the statements of the tests", () => {
  for (const grammar of GRAMMARS.filter((one) => one !== 18))
    test(`mean to PostgreSQL ${grammar} what they mean to 18`, async () => {
      const [newest, older] = [await classifierOf(18), await classifierOf(grammar)];
      let same = 0;
      for (const text of STATEMENTS) {
        const expected = meaning(newest, text);
        const found = meaning(older, text);
        if (JSON.stringify(found) === JSON.stringify({ refused: "syntax" })) continue;
        if (READ_OTHERWISE.some(([before, one]) => grammar < before && one.test(text))) {
          assert.notDeepEqual(found, expected, text);
          continue;
        }
        assert.deepEqual(found, expected, text);
        same++;
      }
      assert.ok(same > STATEMENTS.length * 0.8, `${same} of ${STATEMENTS.length}`);
    });
});

describe("a text that two servers read in two ways", () => {
  const columnsOf = async (grammar: Grammar, text: string) => {
    await loadParser(grammar);
    const found = parseSql(text, 1000, grammar);
    return "unclassified" in found ? found.sqlState : JSON.stringify(found.statements[0]?.body);
  };

  test("is read as its own server does", async () => {
    // A number with a prefix or with underscores is one since 16; before, a number and a name.
    assert.match(await columnsOf(14, "SELECT 0x1F"), /"name":"x1f"/);
    assert.match(await columnsOf(16, "SELECT 0x1F"), /"ival":31/);
    assert.match(await columnsOf(14, "SELECT 1_000"), /"name":"_000"/);
    assert.match(await columnsOf(16, "SELECT 1_000"), /"ival":1000/);
    // Postfix operators went with 14.
    assert.match(await columnsOf(13, "SELECT 5 !"), /A_Expr/);
    assert.equal(await columnsOf(14, "SELECT 5 !"), "42601");
    assert.equal(
      await columnsOf(14, "MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE"),
      "42601",
    );
    // A column may be called so where the word was not reserved yet.
    assert.match(await columnsOf(16, "SELECT merge_action()"), /FuncCall/);
    assert.match(await columnsOf(17, "SELECT merge_action()"), /MergeSupportFunc/);
  });

  test("has the same shape of tree everywhere", async () => {
    const text = "UPDATE t SET a = true, b = NULL, c = 'x', d = 1.5, e = B'1' RETURNING a";
    const shape = (found: string) => found.replace(/,?"location":\d+/g, "").replaceAll("{,", "{");
    const newest = shape(await columnsOf(18, text));
    for (const grammar of GRAMMARS) assert.equal(shape(await columnsOf(grammar, text)), newest);
  });
});

test("a server is read by its own grammar, a newer one by the newest, an older one not at all", () => {
  assert.deepEqual(
    [130_022, 140_000, 150_018, 160_009, 170_006, 180_004, 190_000].map(grammarOf),
    [13, 14, 15, 16, 17, 18, 18],
  );
  assert.throws(() => grammarOf(120_022), { code: "configuration", message: /PostgreSQL 12/ });
});
