// The door of an agent, as the agent, its neighbours and thieves find it: `custody run` before the real
// gateway.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { CUSTODY } from "../../conformance/support/command-line.ts";
import { openSignedInStage, type SignedInStage } from "./run-harness.ts";

let parts: SignedInStage;
before(async () => {
  parts = await openSignedInStage(["engineer"]);
});
after(() => parts[Symbol.asyncDispose]());

const RUN = ["run", "--target", "orders:read", "--resources", "shop/public/*", "--quiet"];

/** Tells, as JSON, what each way in leads to: the rows' count, or the error's code and message. */
const PROBE = `
import { connect } from "node:net";
import { readFileSync } from "node:fs";
import pg from ${JSON.stringify(import.meta.resolve("pg"))};
const { env } = process;
const own = readFileSync(env.PGPASSFILE, "utf8").trimEnd().split(":").pop();
const ca = (file) => ({ ca: readFileSync(file, "utf8"), servername: "localhost" });
const door = { host: env.PGHOST, port: Number(env.PGPORT), user: env.PGUSER, database: "shop" };
const gateway = { host: "localhost", port: Number(process.argv[2]), user: env.PGUSER, database: "shop" };
const through = async (config) => {
  const client = new pg.Client(config);
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query("select count(*)::int as n from orders");
    return rows[0].n;
  } catch (error) {
    return { code: error.code, message: error.message };
  } finally {
    await client.end().catch(() => undefined);
  }
};
const cancelled = async () => {
  const client = new pg.Client({ ...door, password: own, ssl: ca(env.PGSSLROOTCERT) });
  await client.connect();
  const running = client.query("select count(*) from orders a, orders b, orders c, orders d, orders e").then(
    () => "it ran to its end",
    (error) => error.code,
  );
  const { processID, secretKey } = client;
  setTimeout(() => {
    const request = Buffer.alloc(16);
    [16, 80877102, processID, secretKey].forEach((word, index) => request.writeInt32BE(word, index * 4));
    connect(door.port, "127.0.0.1").end(request);
  }, 300);
  const answer = await running;
  await client.end();
  return answer;
};
console.log(JSON.stringify({
  own: await through({ ...door, password: own, ssl: ca(env.PGSSLROOTCERT) }),
  guessed: await through({ ...door, password: "x".repeat(own.length), ssl: ca(env.PGSSLROOTCERT) }),
  ownToken: await through({ ...door, password: env.CUSTODY_TOKEN, ssl: ca(env.PGSSLROOTCERT) }),
  another: await through({ ...door, password: process.argv[3], ssl: ca(env.PGSSLROOTCERT) }),
  plain: await through({ ...door, password: own, ssl: false }),
  elsewhere: await through({ ...gateway, password: own, ssl: ca(env.CUSTODY_CA) }),
  stolen: await through({ ...gateway, password: env.CUSTODY_TOKEN, ssl: ca(env.CUSTODY_CA) }),
  cancelled: await cancelled(),
}));
`;

async function another(): Promise<string> {
  const grant = [
    "--target",
    "orders",
    "--account",
    "app",
    "--actions",
    "sql:read",
    "--resources",
    "*",
  ];
  const args = ["delegate", "--actor", "another", ...grant, "--handle", "--json"];
  const { json, stderr } = await parts.as("engineer", args);
  const { access_token } = json as { access_token: string };
  assert.ok(access_token, stderr);
  return access_token;
}

describe("the listener of an agent", () => {
  test("opens to its own password; to no other, and what it was given is worth nothing elsewhere", async () => {
    const { stage } = parts;
    const probe = parts.script("door.mjs", PROBE);
    const args = [probe, String(stage.gateway.postgres.port), await another()];
    const done = await parts.as("engineer", [...RUN, "--", process.execPath, ...args]);
    assert.equal(done.exitCode, 0, done.stderr);
    const seen = done.json as Record<string, { code?: string; message?: string } | number>;
    assert.equal(seen.own, 400, JSON.stringify(seen));
    for (const way of ["guessed", "ownToken", "another"])
      assert.deepEqual(seen[way], {
        code: "28P01",
        message: "this listener belongs to another agent",
      });
    assert.match(String(Object(seen.plain).message), /TLS only/);
    assert.match(String(Object(seen.elsewhere).code), /^28/);
    assert.match(String(Object(seen.stolen).message), /key/);
    assert.equal(seen.cancelled, "57014");
  });

  test("is bound to a key: the hop is known by possession, and narrows on with statements it signs", async () => {
    const inner = ["run", "--target", "orders:read", "--quiet", "--name", "inner", "--"];
    const whoami = [process.execPath, CUSTODY, "whoami", "--json"];
    const nested = [process.execPath, CUSTODY, ...inner, ...whoami];
    const done = await parts.as("engineer", [...RUN, "--name", "outer", "--", ...nested]);
    const { chain } = done.json as {
      chain: { name: string; provenance: string; grant: unknown }[];
    };
    assert.deepEqual(
      chain.map(({ name, provenance }) => [name, provenance]),
      [
        ["engineer", "attested"],
        ["outer", "possession"],
        ["inner", "possession"],
      ],
      done.stderr,
    );
    assert.equal(chain[0]?.grant, null);
    assert.ok(Array.isArray(chain[1]?.grant));
  });

  test("goes on, an agent's agent too, past the time it was first given", async () => {
    const whoami = `sleep 14; exec "${process.execPath}" "${CUSTODY}" whoami --json`;
    const short = ["run", "--target", "orders:read", "--quiet", "--ttl", "6s", "--"];
    const nested = [process.execPath, CUSTODY, ...short, "sh", "-c", whoami];
    const done = await parts.as("engineer", [...short, ...nested]);
    assert.equal(done.exitCode, 0, done.stderr);
    assert.equal((done.json as { chain: unknown[] }).chain.length, 3);
  });

  test("--direct: a credential that needs no key, at the gateway's own address", async () => {
    const tell = `#!/bin/sh
printf '{"port":"%s","key":"%s"}' "$PGPORT" "$CUSTODY_KEY"
`;
    const script = parts.script("tell", tell);
    const done = await parts.as("engineer", [...RUN, "--direct", "--", script]);
    assert.deepEqual(
      done.json,
      { port: String(parts.stage.gateway.postgres.port), key: "" },
      done.stderr,
    );
  });

  test("does not pass on what a parent held", async () => {
    const own = join(parts.stage.home("engineer"), `${randomBytes(4).toString("hex")}.pem`);
    await parts.as("engineer", ["key", own]);
    const script = parts.script("key", `#!/bin/sh\nprintf '{"key":"%s"}' "$CUSTODY_KEY"\n`);
    const done = await parts.as("engineer", [...RUN, "--", script]);
    const { key } = done.json as { key: string };
    assert.notEqual(key, own);
    assert.match(key, /custody-run-\S+\/key\.pem$/);
  });
});
