// The second witness against a real server: generated queries, of which the plan must say the same as
// RowDescription, and of which no classified value may come out where the plan would let it run.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { QueryArrayResult } from "pg";
import { startPostgres } from "../../../../conformance/support/postgres-server.ts";
import { CANARY, openShop, type Shop } from "./classify-fixture.ts";
import { createGenerator } from "./lineage-generator.ts";
import type { StatementPlan } from "./plan.ts";
import { createRowMask, type DescribedColumn, verifyRowDescription } from "./result-mask.ts";

let shop: Shop;
before(async () => {
  shop = await openShop(await startPostgres({ databases: ["shop"] }));
});
after(async () => {
  await shop[Symbol.asyncDispose]();
});

/** Values as the text they are on the wire. */
const AS_TEXT = { getTypeParser: () => (value: string) => value };

interface Answer {
  readonly columns: readonly DescribedColumn[];
  readonly rows: readonly (readonly (string | null)[])[];
}

/** undefined: the server refuses the statement. */
async function ask(text: string): Promise<Answer | undefined> {
  const { client } = shop;
  await client.query("BEGIN; SET LOCAL statement_timeout = 2000");
  try {
    const result: QueryArrayResult<(string | null)[]> = await client.query({
      text,
      rowMode: "array",
      types: AS_TEXT,
    });
    const columns = result.fields.map((field) => ({
      tableOid: field.tableID,
      attribute: field.columnID,
      typeOid: field.dataTypeID,
    }));
    return { columns, rows: result.rows };
  } catch {
    return undefined;
  } finally {
    await client.query("ROLLBACK");
  }
}

function statementOf(text: string): StatementPlan | undefined {
  const plan = shop.classify(text);
  return "unclassified" in plan ? undefined : plan.statements[0];
}

/** What a client would see of the answer, with nobody allowed to unmask. */
function release(answer: Answer, classes: readonly (string | undefined)[]): string {
  const mask = createRowMask(answer.columns, classes, new Set(), new Map());
  const cells = answer.rows.flatMap((row) =>
    row.map((value, column) => {
      const bytes = value === null ? Buffer.alloc(0) : Buffer.from(value);
      const replaced = mask.replace?.(column, bytes, 0, value === null ? -1 : bytes.length);
      return replaced === undefined ? value : (replaced?.toString() ?? null);
    }),
  );
  return JSON.stringify(cells);
}

function isPermitted(plan: StatementPlan): boolean {
  return plan.operation.touches.every((touch) => touch.use !== "inner");
}

const QUERIES = 600;

test("generated queries: both witnesses agree, and no classified value is released", async () => {
  const generate = createGenerator(20_261_122);
  const counts = { ran: 0, refusedByServer: 0, unclassified: 0, permitted: 0, masked: 0 };
  for (let index = 0; index < QUERIES; index++) {
    const text = generate();
    const plan = statementOf(text);
    if (plan === undefined) counts.unclassified++;
    const answer = plan && (await ask(text));
    if (plan === undefined) continue;
    if (answer === undefined) {
      counts.refusedByServer++;
      continue;
    }
    counts.ran++;
    const verified = verifyRowDescription(answer.columns, plan, shop.classifier.classifiedByOid);
    assert.ok(verified.ok, `${text}\n${verified.ok ? "" : verified.why}`);
    for (const [column, expected] of (plan.columns ?? []).entries())
      if (expected.origin !== undefined)
        assert.deepEqual(
          [answer.columns[column]?.tableOid, answer.columns[column]?.attribute],
          [expected.origin.tableOids[0], expected.origin.attribute],
          `${text}: column ${column + 1}`,
        );
    if (!isPermitted(plan)) continue;
    counts.permitted++;
    if (verified.classes.some((name) => name !== undefined)) counts.masked++;
    assert.ok(!release(answer, verified.classes).includes(CANARY), text);
  }
  // The test means something only if most of it ran.
  assert.ok(counts.ran > QUERIES * 0.7, JSON.stringify(counts));
  assert.ok(counts.masked > QUERIES * 0.1, JSON.stringify(counts));
  assert.ok(counts.permitted > counts.masked, JSON.stringify(counts));
});

test("statements that are easy to get wrong: the number and origin of columns", async () => {
  const texts = [
    "UPDATE orders SET status = 'x' FROM customers c WHERE c.id = customer_id RETURNING *",
    "DELETE FROM orders USING customers c WHERE c.id = customer_id RETURNING *",
    "MERGE INTO orders o USING (SELECT id, email FROM customers) c ON c.id = o.customer_id WHEN MATCHED THEN UPDATE SET status = 'x' RETURNING merge_action(), *",
    "UPDATE customers SET name = 'x' RETURNING old.email, new.phone, email",
    "INSERT INTO customers (id, name, email) VALUES (99, 'n', 'e') RETURNING WITH (OLD AS o, NEW AS n) o.email, n.email",
    "SELECT * FROM (orders o JOIN customers c ON c.id = o.customer_id) AS j",
    "SELECT j.* FROM orders o JOIN customers c USING (id) AS j",
    "SELECT * FROM orders o FULL JOIN customers c USING (id)",
    "SELECT * FROM events JOIN events_low USING (id)",
    "SELECT * FROM contacts, nested, both_mails, snapshot_mails, derived",
    "SELECT tableoid, ctid, email FROM customers",
    "SELECT * FROM generate_series(1, 2) WITH ORDINALITY AS g(a, b)",
    "SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a'])) AS r(x, y), customers",
    "SELECT * FROM json_to_record('{}') AS x(a int, b text)",
    "SELECT * FROM pg_catalog.pg_options_to_table(ARRAY['a=b'])",
    "SELECT * FROM json_table('[1]', '$[*]' COLUMNS (a int PATH '$', NESTED PATH '$' COLUMNS (b int PATH '$'))) t",
    "SELECT * FROM xmltable('/a' PASSING ('<a/>'::xml) COLUMNS x text PATH '.', n FOR ORDINALITY)",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SEARCH DEPTH FIRST BY n SET o SELECT * FROM r",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) CYCLE n SET c USING p SELECT * FROM r",
    "SELECT email FROM customers UNION ALL SELECT email FROM both_mails",
    "SELECT (c).* FROM customers c",
    "SHOW ALL",
    "SHOW timezone",
    "EXPLAIN SELECT 1",
  ];
  for (const text of texts) {
    const plan = statementOf(text);
    assert.ok(plan, `${text}: ${JSON.stringify(shop.classify(text))}`);
    const answer = await ask(text);
    assert.ok(answer, `the server refuses ${text}`);
    const verified = verifyRowDescription(answer.columns, plan, shop.classifier.classifiedByOid);
    assert.ok(verified.ok, `${text}: ${verified.ok ? "" : verified.why}`);
    if (isPermitted(plan)) assert.ok(!release(answer, verified.classes).includes(CANARY), text);
  }
});

test("a plan that is wrong about a class is caught by the server's words", async () => {
  const text = "SELECT id, email FROM customers";
  const plan = statementOf(text);
  const answer = await ask(text);
  assert.ok(plan?.columns && answer);
  const classified = shop.classifier.classifiedByOid;
  const verify = (changed: StatementPlan | undefined, columns = answer.columns) =>
    verifyRowDescription(columns, changed, classified).ok;
  assert.equal(verify(plan), true);
  const [id, email] = plan.columns;
  assert.ok(id && email);
  const forgets = { ...plan, columns: [id, { ...email, class: undefined }] };
  assert.equal(verify(forgets), false, "the class was forgotten");
  assert.equal(verify({ ...plan, columns: undefined }), false, "nothing was predicted");
  assert.equal(verify({ ...plan, columns: [email, id] }), false, "another order");
  assert.equal(verify({ ...plan, columns: [id] }), false, "another number of columns");
  assert.equal(verify(undefined), false, "no statement");
  const computedByServer = answer.columns.map((column) => ({
    ...column,
    tableOid: 0,
    attribute: 0,
  }));
  assert.equal(verify(plan, computedByServer), false, "the server does not confirm the class");
  // The canary search itself finds what is not masked.
  assert.ok(release(answer, [undefined, undefined]).includes(CANARY));
  assert.ok(!release(answer, [undefined, "pii.email"]).includes(CANARY));
});

test("a view replaced after the decision: its columns are known by the view's own OID", async () => {
  const plan = statementOf("SELECT address FROM contacts");
  const answer = await ask("SELECT small FROM contacts");
  assert.ok(plan && answer);
  const verified = verifyRowDescription(answer.columns, plan, shop.classifier.classifiedByOid);
  assert.equal(verified.ok, false);
});

test("masks by type: text stays text, everything else becomes NULL", () => {
  const column = (typeOid: number) => ({ tableOid: 1, attribute: 1, typeOid });
  const replaceOf = (typeOid: number, unmask: readonly string[] = []) =>
    createRowMask([column(typeOid)], ["pii.x"], new Set(unmask), new Map([["pii.x", "last4"]]));
  const value = Buffer.from("0123456789");
  for (const text of [25, 1043, 1042, 19])
    assert.equal(replaceOf(text).replace?.(0, value, 0, 10)?.toString(), "****6789");
  for (const other of [23, 17, 114, 1009, 2950, 18, 99_999])
    assert.equal(replaceOf(other).replace?.(0, value, 0, 10), null);
  assert.deepEqual(replaceOf(25).maskedClasses, ["pii.x"]);
  assert.deepEqual(replaceOf(25, ["pii.x"]), {
    maskedClasses: [],
    nulled: [],
    partial: [],
    columns: [],
    replace: undefined,
  });
});
