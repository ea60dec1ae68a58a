// Providers that are asked instead of believed (TokenReview), and providers that come and go while the
// gateway runs.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Cases } from "./cases.ts";
import { described, type Stage } from "./stage.ts";

const SETTLED_MS = 10_000;

export async function providerCases({ check }: Cases, stage: Stage): Promise<void> {
  const { cluster, liar } = stage;
  await check("TokenReview: a pod's service account is let in, by the cluster's word", async () => {
    const { status, body } = await stage.exchange(await cluster.token("ci", "deployer"));
    assert.equal(status, 200, JSON.stringify(body));
    const who = Object(await stage.whoami(String(body.access_token)));
    assert.equal(who.delegation.actor, "pods/system:serviceaccount:ci:deployer");
    assert.equal(who.delegation.provenance, "attested");
    assert.deepEqual(who.delegation.groups.slice(0, 1), ["pods/system:serviceaccounts"]);
  });
  await check("TokenReview: an account that is not listed is told which are", async () => {
    const { status, body } = await stage.exchange(await cluster.token("ci", "other"));
    assert.equal(status, 400);
    assert.match(described(body), /"ci\/other" is not one of ci\/deployer/);
  });
  await check(
    "TokenReview: a pod that is gone, a token for another service, a cluster that is down",
    async () => {
      const gone = await cluster.token("ci", "deployer");
      cluster.remove("ci", "deployer");
      assert.match(described((await stage.exchange(gone)).body), /does not know it/);
      const elsewhere = await cluster.token("ci", "deployer", { audience: ["vault"] });
      assert.equal((await stage.exchange(elsewhere)).status, 400);
      cluster.distort = () => ({ status: 503, body: {} });
      const down = await stage.exchange(await cluster.token("ci", "deployer"));
      cluster.distort = undefined;
      assert.equal(down.status, 503, JSON.stringify(down.body));
    },
  );

  const file = stage.gateway.configFile;
  const before = readFileSync(file, "utf8");
  const late = `providers:
  late:
    oidc: { issuer: ${liar.issuer("late")}, audience: custody, caFile: ${JSON.stringify(stage.liarCa)}, kind: users, username: name }`;
  const changed = before.replace("providers:", late);
  const token = () => liar.token("late", { name: "ann" });
  let access = "";
  await check("a provider that is added is taken from the next sign-in on", async () => {
    assert.match(described((await stage.exchange(await token())).body), /not a provider/);
    await loaded(stage, () => writeFileSync(file, changed));
    const { status, body } = await stage.exchange(await token());
    assert.equal(status, 200, JSON.stringify(body));
    access = String(body.access_token);
    assert.equal(await stage.get("/v1/whoami", access), 200);
  });
  await check(
    "one that is changed is judged by what it is now; an invalid set changes nothing",
    async () => {
      await refused(stage, () =>
        writeFileSync(file, changed.replace("kind: users, username: name", "kind: nobody")),
      );
      assert.equal((await stage.exchange(await token())).status, 200);
      await loaded(stage, () =>
        writeFileSync(file, changed.replace("audience: custody", "audience: elsewhere")),
      );
      assert.match(described((await stage.exchange(await token())).body), /audience/);
      assert.equal(await stage.get("/v1/whoami", access), 200);
    },
  );
  await check("one that is removed is no provider, and what it vouched for ends", async () => {
    await loaded(stage, () => writeFileSync(file, before));
    assert.match(described((await stage.exchange(await token())).body), /not a provider/);
    assert.equal(await stage.get("/v1/whoami", access), 401);
  });
}

async function loaded(stage: Stage, change: () => void): Promise<void> {
  await said(stage, /configuration loaded/, change);
}

async function refused(stage: Stage, change: () => void): Promise<void> {
  await said(stage, /refused, the running one stays/, change);
}

async function said(stage: Stage, pattern: RegExp, change: () => void): Promise<void> {
  const start = stage.gateway.output().length;
  change();
  const until = performance.now() + SETTLED_MS;
  while (!pattern.test(stage.gateway.output().slice(start))) {
    assert.ok(performance.now() < until, `the gateway did not say ${pattern}`);
    await delay(20);
  }
}
