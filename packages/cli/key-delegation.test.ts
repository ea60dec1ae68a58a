// Delegating with keys by the real command line, at a real control side.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Secret } from "@custody/gateway/base/secret.ts";
import { runCustody } from "../../conformance/support/command-line.ts";
import { startControlApi } from "../../conformance/support/control-api.ts";

const api = await startControlApi();
after(() => api[Symbol.asyncDispose]());
const home = await mkdtemp(join(tmpdir(), "custody-key-"));
after(() => rm(home, { recursive: true, force: true }));
const file = (name: string): string => join(home, name);
await writeFile(file("ca.pem"), api.side.ca);
const GRANT = ["--target", "orders", "--account", "ro", "--actions", "sql:read"].concat([
  "--resources",
  "shop/*",
]);

async function custody(env: Record<string, string>, ...args: string[]): Promise<string> {
  // The control side's clock stands still by itself, the command line's does not, and takes its time.
  api.side.clock.advance(Math.max(0, Date.now() + 8_000 - api.side.clock.nowMs()));
  const done = await runCustody([...args], { home, env: { CUSTODY_KEYRING: "off", ...env } });
  assert.equal(done.exitCode, 0, `${args[0]}: ${done.stderr}${done.stdout}`);
  return done.stdout.trim();
}

const agent = (token: string, key: string) => ({
  CUSTODY_URL: api.side.url,
  CUSTODY_CA: file("ca.pem"),
  CUSTODY_TOKEN: token,
  CUSTODY_KEY: file(key),
});

test("a person with a key delegates by statement, and offline, and an agent goes on offline", async () => {
  const me = { CUSTODY_KEY: file("me.key") };
  await custody({}, "key", file("me.key"));
  assert.equal((await stat(file("me.key"))).mode & 0o077, 0);
  await writeFile(file("id-token"), await api.corp.idToken("engineer"));
  const trust = ["--ca-file", file("ca.pem"), "--token-file", file("id-token")];
  await custody(me, "login", api.side.url, ...trust, "--offline-children");
  const whoami = JSON.parse(await custody(me, "whoami", "--json"));
  assert.equal(whoami.delegation.offlineChildren, true);
  assert.match(whoami.delegation.keyThumbprint, /^[A-Za-z0-9_-]{43}$/);
  // Without the key the context is of no use.
  const bare = await runCustody(["whoami"], { home, env: { CUSTODY_KEYRING: "off" } });
  assert.notEqual(bare.exitCode, 0);
  assert.match(bare.stderr, /bound to a key/);

  const online = await custody(
    me,
    "delegate",
    "--actor",
    "ci",
    ...GRANT,
    "--key-out",
    file("ci.key"),
  );
  const asCi = JSON.parse(await custody(agent(online, "ci.key"), "whoami", "--json"));
  assert.equal(asCi.chain[1].provenance, "possession");

  const offline = ["--offline", ...GRANT];
  const child = await custody(
    me,
    "delegate",
    "--actor",
    "one",
    ...offline,
    "--key-out",
    file("1.key"),
  );
  const out = ["--key-out", file("2.key"), "--out", file("2.token")];
  // Nobody listens there: nothing is asked.
  const alone = { ...agent(child, "1.key"), CUSTODY_URL: "https://127.0.0.1:1" };
  await custody(alone, "delegate", "--actor", "two", ...offline, ...out);
  const grandchild = (await readFile(file("2.token"), "utf8")).trim();
  assert.ok(grandchild.startsWith(`${child}~`));
  assert.equal(api.side.tree.subtree(whoami.delegation.id, 10).length, 2);
  const password = await custody(agent(grandchild, "2.key"), "token");
  const chain = await api.side.authenticate(new Secret(password));
  assert.deepEqual(
    chain.hops.map(({ name }) => name),
    ["engineer", "one", "two"],
  );
  const asTwo = JSON.parse(await custody(agent(grandchild, "2.key"), "whoami", "--json"));
  assert.equal(asTwo.chain.length, 3);
  // Registered, the hop delegates at the gateway too.
  const below = ["delegate", "--actor", "three", ...GRANT, "--ttl", "5m", "--handle"];
  const handle = await custody(agent(grandchild, "2.key"), ...below);
  assert.equal((await api.side.authenticate(new Secret(handle))).hops.length, 4);
  await custody(me, "revoke", chain.hops[1]?.delegationId ?? "");
  for (const credential of [password, handle])
    await assert.rejects(api.side.authenticate(new Secret(credential)), /revoked/);
});

test("--offline without a key says what is missing", async () => {
  const done = await runCustody(["delegate", "--actor", "x", ...GRANT, "--offline"], {
    home,
    env: { ...agent("cst_abcd_x", "me.key"), CUSTODY_KEY: file("me.key") },
  });
  assert.notEqual(done.exitCode, 0);
  assert.match(done.stderr, /--key-out/);
});
