// A log in shards by the real commands: verified, listed and proved without a gateway; and a gateway whose log
// was not in shards, and then is, with a witness.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Agent, fetch } from "undici";
import { runCustody } from "../support/command-line.ts";
import { restartGateway, startGateway } from "../support/gateway.ts";
import { makeTwoShards, ORIGIN, SESSION } from "./two-shards.ts";

const folder = mkdtempSync(join(tmpdir(), "custody-shards-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const custody = (...args: string[]) => runCustody(args, { home: folder });

test("two shards are verified, listed, proved and reconciled by the real commands", async () => {
  const { log, vkey, vkeys } = await makeTwoShards(join(folder, "data"), 3);
  const verify = (...args: string[]) => custody("audit", "verify", ...args);
  for (const key of [vkey, vkeys[0]]) {
    const whole = await verify(log, "--key", key);
    assert.equal(whole.exitCode, 0, whole.stdout + whole.stderr);
    assert.match(whole.stdout, /shards\s+2026: 10; 2027: 9/);
  }
  // The key that lies beside the log, of the log and of one of its shards.
  for (const directory of [log, join(log, "2026")]) {
    const beside = await verify(directory);
    assert.equal(beside.exitCode, 0, beside.stdout + beside.stderr);
  }
  const part = await verify(join(log, "2027"), "--key", vkey);
  assert.match(part.stdout, /not looked at: 10 records to the end of custody.example\/log\/2026/);

  const listed = await custody("audit", "shards", log, "--json");
  const { shards, next, all } = listed.json as {
    shards: { name: string; vkey: string; closed: boolean; before: number }[];
    next: string;
    all: string;
  };
  assert.deepEqual(
    shards.map(({ name, vkey: own, closed, before }) => [name, own, closed, before]),
    [
      ["2026", vkeys[0], true, 0],
      ["2027", vkeys[1], false, 10],
    ],
  );
  assert.deepEqual(
    [next, all].map((key) => key.split("+")[0]),
    [`${ORIGIN}/2028`, `${ORIGIN}/*`],
  );

  for (const [record, index] of [
    ["r-aaaa-20260001", 5],
    ["2027/0", 0],
  ] as const) {
    const proof = await custody("audit", "prove", record, "--log", log);
    const file = join(folder, "one.tlog-proof");
    writeFileSync(file, proof.stdout);
    const checked = await custody("audit", "check-proof", file, "--key", vkey, "--json");
    assert.equal(checked.exitCode, 0, checked.stdout + checked.stderr);
    assert.equal((checked.json as { index: number }).index, index);
  }

  const empty = join(folder, "postgresql.json");
  writeFileSync(empty, "");
  const asked = ["--log", log, "--target", "orders", "--postgres", empty, "--json"];
  const { notAtTarget } = (await custody("audit", "reconcile", ...asked)).json as {
    notAtTarget: string[];
  };
  assert.deepEqual(notAtTarget, [SESSION]);

  // Archived: the years before are somewhere else.
  const copy = join(folder, "copy");
  cpSync(log, copy, { recursive: true });
  rmSync(join(copy, "2026"), { recursive: true });
  const cut = await verify(copy, "--key", vkey);
  assert.equal(cut.exitCode, 5);
  assert.match(cut.stdout, /✗ 2027\/checkpoint: the shard before it, .*\/2026, is not here/);
  assert.equal((await verify(copy, "--key", vkey, "--from", "2027")).exitCode, 0);
});

test("a gateway's log goes on in shards when the configuration says so, and is served so", async () => {
  const place = join(folder, "gateway");
  await (await startGateway({ folder: place, configuration: "" }))[Symbol.asyncDispose]();
  const log = join(place, "data", "log");
  const vkey = readFileSync(join(place, "data", "keys", "log.vkey"), "utf8").trim();
  const configFile = join(place, "custody.yaml");
  const configuration = readFileSync(configFile, "utf8");
  writeFileSync(configFile, `${configuration}\nlog: { shards: year }\n`);
  const name = (): string =>
    readdirSync(log)
      .filter((file) => /^\d{4}$/.test(file))
      .join();
  {
    await using gateway = await restartGateway(place);
    const dispatcher = new Agent({ connect: { ca: readFileSync(gateway.caFile) } });
    const get = async (path: string): Promise<string> => {
      const answer = await fetch(`${gateway.url}/v1/audit/${path}`, { dispatcher });
      return answer.text();
    };
    const { shards } = JSON.parse(await get("shards")) as {
      shards: { name: string; origin: string; closed: boolean }[];
    };
    assert.deepEqual(
      shards.map((shard) => [shard.name, shard.closed]),
      [
        ["", true],
        [name(), false],
      ],
    );
    for (const path of ["checkpoint", `shards/${name()}/checkpoint`]) {
      const [origin] = (await get(path)).split("\n", 1);
      assert.ok(
        shards.some((shard) => shard.origin === origin),
        `${path}: ${origin}`,
      );
    }
    await dispatcher.close();
  }
  await (await restartGateway(place))[Symbol.asyncDispose]();
  const verified = await custody("audit", "verify", log, "--key", vkey, "--json");
  assert.equal(verified.exitCode, 0, verified.stdout + verified.stderr);
  const { shards, open } = verified.json as {
    shards: { name: string }[];
    open: { sessions: string[] };
  };
  assert.deepEqual(
    shards.map((shard) => shard.name),
    ["", name()],
  );
  assert.deepEqual(open.sessions, []);
});
