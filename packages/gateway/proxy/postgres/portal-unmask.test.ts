// A portal that was described under one decision and runs under another: its rows show what the later one lets
// through (THREATS.md, "State between decide and run").

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  bind,
  describePortal,
  execute,
  parse,
  query,
  sync,
} from "@custody/wire/postgres/frontend.ts";
import { openWire } from "../../../../conformance/attack/postgres/wire.ts";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import type { Access } from "../../access/operation.ts";
import { readSnapshot } from "./catalogue.ts";
import { createClassifier } from "./classify.ts";
import { type RelayHarness, startRelay } from "./relay-harness.ts";
import { createResultMasks } from "./row-check.ts";

let postgres: TestPostgres;
let relay: RelayHarness;
let unmask: ReadonlySet<string> = new Set();

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query(
    "shop",
    "create table people (id int, mail text); insert into people values (1, 'one@x'), (2, 'two@x')",
  );
  const classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [
      { database: undefined, schema: "public", table: "people", column: "mail", class: "pii" },
    ],
    read: () => readSnapshot((sql) => postgres.query("shop", sql)),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
  });
  const masks = createResultMasks(classifier, () => new Map());
  relay = await startRelay(postgres, {
    classifierFor: async () => ({ classifier, masks }),
    access: permitting(),
  });
});

after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

function permitting(): Access {
  return {
    authorize: (_subject, operation) => ({
      verdict: "permit",
      permit: {
        operation,
        obligations: {
          unmask,
          maxRows: undefined,
          maxBytes: undefined,
          timeoutMs: undefined,
          record: undefined,
        },
        policyIds: ["test"],
        policyVersion: "1",
      },
    }),
    authorizeApproved: () => assert.fail("nobody was asked"),
    policyVersion: "1",
    forget: () => undefined,
  };
}

const PORTAL = { portal: "p", statement: "", parameterFormats: [], parameters: [] };

test("what may be seen when a portal is run decides, not what could when it was described", async () => {
  const { wire } = await openWire({
    ...{ host: "127.0.0.1", port: relay.listener.port, ca: relay.ca, password: "token" },
    parameters: { user: "ro~orders", database: "shop" },
  });
  await using _closed = wire;
  const rows = async (...sent: Buffer[]) => {
    wire.send(Buffer.concat([...sent, sync()]));
    const told = await wire.until(1);
    return told.filter(({ type }) => type === "D").map(({ body }) => body.toString("utf8", 6));
  };
  unmask = new Set(["pii"]);
  wire.send(query("begin"));
  await wire.until(1);
  assert.deepEqual(
    await rows(
      parse("", "select mail from people order by id"),
      bind({ ...PORTAL, resultFormats: [] }),
      describePortal("p"),
    ),
    [],
  );
  unmask = new Set();
  assert.deepEqual(await rows(execute("p", 1)), ["[masked pii]"]);
  unmask = new Set(["pii"]);
  assert.deepEqual(await rows(execute("p", 1)), ["two@x"]);
});
