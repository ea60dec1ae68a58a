// What takes more than one request to try, against a real API server with policies that hold, filter and
// mask: oracles that compare, lists and watches of which some may be seen, what runs while policies change,
// certificates, and what approvers are shown. On a stage of its own; each step must end as it says.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Agent, fetch } from "undici";
import { runKubectl } from "../../kubernetes/clients.ts";

import {
  begun,
  CARD,
  credential,
  defineGadget,
  eventually,
  GUESSED,
  HIDDEN,
  openScene,
  plant,
  plugin,
  type Scene,
  SHOP,
  WAIT_MS,
  waiting,
} from "./steps-scene.ts";

export interface StepsReport {
  readonly checks: number;
  readonly wrong: readonly string[];
}

const APPLY = "application/apply-patch+yaml";
const MERGE = "application/merge-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";

const STEPS: Readonly<Record<string, (scene: Scene) => Promise<void>>> = {
  "server-side apply without force does not tell whether a guess is right": async ({ ask }) => {
    const data = (value: string) => ({ key: Buffer.from(value).toString("base64") });
    const coded = (name: string, value: string, query = "") =>
      ask(
        "PATCH",
        `${SHOP}/secrets/${name}?fieldManager=guesser${query}`,
        { apiVersion: "v1", kind: "Secret", metadata: { name }, data: data(value) },
        APPLY,
      );
    const answers = [await coded("guessed", GUESSED), await coded("guessed", "wrong")];
    for (const one of answers) {
      assert.equal(one.status, 403, one.text);
      assert.match(one.text, /it would tell whether/);
    }
    const [right, wrong] = answers.map(({ text }) => text.replaceAll(/r-[a-z0-9-]+/g, ""));
    assert.equal(right, wrong);
    for (const query of ["&dryRun=All", "&force=false", "&force=0"])
      assert.equal((await coded("guessed", GUESSED, query)).status, 403);
    // A new object, one's own, and with force, are no comparisons.
    assert.equal((await coded("own", "first")).status, 201);
    assert.equal((await coded("own", "second")).status, 200);
    assert.equal((await coded("overwritten", "x", "&force=true")).status, 200);
  },

  "an apply is read by the API server as it was judged": async ({ ask, stage }) => {
    // Ends of lines in YAML 1.1, which are no ends in JSON.
    for (const [name, key] of [
      ["nel", "a \u0085 b"],
      ["ls", "a \u2028 b"],
    ] as const) {
      const path = `${SHOP}/configmaps/${name}`;
      const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { key } };
      const made = await ask("PATCH", `${path}?fieldManager=x`, body, APPLY);
      assert.equal(made.status, 201, made.text);
      const { data } = (await stage.cluster.call("GET", path)) as { data: unknown };
      assert.deepEqual(data, { key });
    }
  },

  "an immutable secret does not tell whether a guess is right": async ({ ask }) => {
    const data = (value: string) => ({ data: { key: Buffer.from(value).toString("base64") } });
    for (const value of [GUESSED, "wrong"]) {
      const one = await ask("PATCH", `${SHOP}/secrets/fixed`, data(value), MERGE);
      assert.equal(one.status, 403, one.text);
      assert.match(one.text, /the secret is immutable/);
    }
    const label = { metadata: { labels: { a: "b" } } };
    assert.equal((await ask("PATCH", `${SHOP}/secrets/fixed`, label, MERGE)).status, 200);
  },

  "a pod's environment and a dry run's counts do not tell either": async ({ ask, stage }) => {
    const pod = (value: string) => ({
      spec: { containers: [{ name: "c", image: "x:1", env: [{ name: "A", value }] }] },
    });
    for (const value of [GUESSED, "wrong"]) {
      const one = await ask("PATCH", `${SHOP}/pods/fixed`, pod(value), STRATEGIC);
      assert.equal(one.status, 403, one.text);
    }
    const path = "/apis/apps/v1/namespaces/shop/deployments/tried";
    const live = (await stage.cluster.call("GET", path)) as { metadata: { generation: number } };
    const counts = [];
    for (const value of [GUESSED, "wrong"]) {
      const body = { spec: { template: pod(value) } };
      const tried = await ask("PATCH", `${path}?dryRun=All`, body, STRATEGIC);
      assert.equal(tried.status, 200, tried.text);
      const { metadata } = JSON.parse(tried.text) as { metadata: Record<string, unknown> };
      assert.equal(metadata.managedFields, undefined);
      counts.push([metadata.generation, metadata.resourceVersion]);
    }
    assert.deepEqual(counts[0], counts[1]);
    assert.equal(counts[0]?.[0], live.metadata.generation);
  },

  "a filtered list and watch show what may be read, in every form": async ({
    ask,
    follow,
    kubectl,
    stage,
  }) => {
    const { call } = stage.cluster;
    for (const query of ["", "?limit=1"]) {
      const list = await ask("GET", `/api/v1/configmaps${query}`);
      assert.equal(list.status, 200, list.text);
      assert.ok(!list.text.includes(HIDDEN) && list.text.includes('"shown"'), list.text);
      const { metadata } = JSON.parse(list.text) as { metadata: Record<string, unknown> };
      assert.deepEqual(Object.keys(metadata), ["resourceVersion"]);
    }
    const table = await kubectl(["get", "configmaps", "-A"]);
    assert.equal(table.code, 0, table.stderr);
    assert.ok(table.stdout.includes("shown") && !table.stdout.includes(HIDDEN), table.stdout);
    assert.equal((await ask("GET", "/api/v1/configmaps?continue=x")).status, 403);
    const list = JSON.parse((await ask("GET", "/api/v1/configmaps")).text) as {
      metadata: { resourceVersion: string };
    };
    for (const form of ["", ";as=Table;v=v1;g=meta.k8s.io"]) {
      const from = list.metadata.resourceVersion;
      await using watch = await follow(`/api/v1/configmaps?watch=1&resourceVersion=${from}`, {
        accept: `application/json${form}`,
      });
      const name = `new${randomBytes(4).toString("hex")}`;
      for (const [namespace, one] of [
        [HIDDEN, `${HIDDEN}-${name}`],
        ["shop", name],
      ])
        await call("POST", `/api/v1/namespaces/${namespace}/configmaps`, {
          metadata: { name: one },
        });
      // Events come in order: what is hidden would have come before.
      const text = await watch.until(name);
      assert.ok(text.includes("ADDED") && !text.includes(HIDDEN), text);
    }
  },

  "columns and members of a custom resource do not show an environment": async ({
    kubectl,
    stage,
  }) => {
    await defineGadget(stage);
    const printed = await eventually(async () => {
      const ran = await kubectl(["get", "gadgets", "-n", "shop"]);
      return ran.code === 0 && ran.stdout.includes("g1") ? ran : undefined;
    });
    assert.match(printed.stdout, /LIST +MEMBER +SIZE/);
    assert.match(printed.stdout, /g1 +\[masked \S+ +\[masked \S+ +7/);
    for (const form of ["wide", "yaml", "json", "jsonpath={.items[*].spec}"]) {
      const { stdout } = await kubectl(["get", "gadgets", "-n", "shop", "-o", form]);
      assert.ok(stdout.includes("masked") && !stdout.includes(GUESSED), stdout);
    }
  },

  "output and what approvers see hold no classified value": async ({ ask, kubectl, stage }) => {
    writeFileSync(join(stage.folder, "container", "paid"), `paid with ${CARD}\nend\n`);
    const shown = await kubectl(["exec", "web-1", "--", "cat", "paid"]);
    assert.equal(shown.stdout, "paid with [masked pii.card]\nend\n", shown.stderr);
    assert.match(shown.stderr, /masked what was found of pii\.card \(1\)/);
    const patch = {
      metadata: { labels: { held: "yes" } },
      data: { key: Buffer.from(GUESSED).toString("base64") },
    };
    const asked = ask("PATCH", `${SHOP}/secrets/previewed`, patch, MERGE);
    const request = await waiting(stage, "operator", "previewed");
    const text = JSON.stringify(request);
    assert.ok(!text.includes(GUESSED) && !text.includes(patch.data.key), text);
    assert.match(
      request.preview[0]?.text ?? "",
      /\+ data\.key: "\[masked secret\.k8s\] as written"/,
    );
    assert.match(request.preview[0]?.text ?? "", /\+ metadata\.labels\.held: "yes"/);
    const own = await waiting(stage, "engineer", "previewed");
    assert.deepEqual(own.preview, []);
    await stage.as("operator", ["deny", request.id, "--reason", "steps"]);
    assert.equal((await asked).status, 403);
    const scaled = ask(
      "PATCH",
      "/apis/apps/v1/namespaces/shop/deployments/tried",
      { metadata: { labels: { held: "yes" } }, spec: { replicas: 0 } },
      MERGE,
    );
    const rehearsed = await waiting(stage, "operator", "deployments.apps tried");
    assert.match(rehearsed.preview[1]?.title ?? "", /in a dry run/);
    assert.match(rehearsed.preview[1]?.text ?? "", /- spec\.replicas: 1\n\+ spec\.replicas: 0/);
    await stage.as("operator", ["approve", rehearsed.id, "--reason", "steps"]);
    assert.equal((await scaled).status, 200);
  },

  "a justification comes by kubectl's environment, and is asked for where it lacks": async ({
    stage,
  }) => {
    const { config, env, program } = await plugin(stage, []);
    const remove = (more: Record<string, string>) =>
      runKubectl(program, config, ["delete", "configmap", "shown", "-n", "shop", "--wait=false"], {
        env: { ...env, ...more },
        timeoutMs: WAIT_MS,
      });
    const lacking = await remove({});
    assert.notEqual(lacking.code, 0);
    assert.match(lacking.stderr, /needs a justification/);
    const said = remove({ CUSTODY_JUSTIFICATION: "ticket 4711" });
    const request = await waiting(stage, "operator", "shown");
    assert.equal(request.justification, "ticket 4711");
    assert.match(request.preview[0]?.title ?? "", /takes away/);
    await stage.as("operator", ["approve", request.id, "--reason", "steps"]);
    assert.equal((await said).code, 0);
  },

  "a client certificate is good at the door, nowhere else, and not when it is revoked": async ({
    stage,
  }) => {
    const handle = await stage.delegate("engineer", "certified", "k8s:data", "*");
    const { config, env, program } = await plugin(stage, ["--certificate"]);
    const own = {
      ...env,
      CUSTODY_TOKEN: handle,
      CUSTODY_URL: stage.gateway.url,
      CUSTODY_CA: stage.gateway.caFile,
    };
    const get = () =>
      runKubectl(program, config, ["get", "pods", "-n", "shop", "-o", "name"], {
        ...{ env: own, timeoutMs: WAIT_MS },
      });
    const listed = await get();
    assert.match(listed.stdout, /^pod\/web-1$/m, listed.stderr);
    const shown = await credential(stage, own);
    assert.match(shown.clientCertificateData, /BEGIN CERTIFICATE/);
    const tls = { cert: shown.clientCertificateData, key: shown.clientKeyData };
    const at = async (url: string, ca: string) => {
      const dispatcher = new Agent({ connect: { ...tls, ca } });
      const answer = await fetch(url, { dispatcher });
      await answer.text();
      await dispatcher.destroy();
      return answer.status;
    };
    const ca = readFileSync(stage.gateway.caFile, "utf8");
    const door = `${stage.address.replace("/prod", "/edit~prod")}${SHOP}/pods/web-1`;
    assert.equal(await at(door, ca), 200);
    // The cluster and the control API know nothing of it.
    assert.equal(await at(`${stage.cluster.server}${SHOP}/pods/web-1`, stage.cluster.ca), 401);
    assert.equal(await at(`${stage.gateway.url}/v1/whoami`, ca), 401);
    await stage.as("engineer", ["revoke", `d-${/^cst_([a-z0-9]+)_/.exec(handle)?.[1]}`]);
    assert.equal(await at(door, ca), 401);
    assert.notEqual((await get()).code, 0);
  },

  "tokens made for the session and client certificates are what the cluster is shown": async ({
    stage,
  }) => {
    const handle = await stage.delegate("engineer", "accounts", "k8s:data", "*");
    const ca = readFileSync(stage.gateway.caFile, "utf8");
    const dispatcher = new Agent({ connect: { ca } });
    for (const [account, user, impersonated] of [
      ["minted", "system:serviceaccount:shop:minted", undefined],
      ["certified", "gateway-cert", "custody:corp/engineer"],
    ] as const) {
      const address = stage.address.replace("/prod", `/${account}~prod`);
      const answer = await fetch(`${address}${SHOP}/pods/web-1?account=${account}`, {
        dispatcher,
        headers: { authorization: `Bearer ${handle}` },
      });
      assert.equal(answer.status, 200, await answer.text());
      const event = await eventually(() =>
        stage.cluster.audited().find((one) => one.requestURI.includes(`account=${account}`)),
      );
      assert.equal(event.user.username, user);
      assert.equal(event.impersonatedUser?.username, impersonated);
    }
    await dispatcher.destroy();
  },

  // Last: it changes the policies of all of them.
  "what runs ends when policies no longer permit it": async ({
    config,
    follow,
    kubectl,
    program,
    stage,
  }) => {
    const exec = kubectl(["exec", "-i", "web-1", "--", "sleep", "600"]);
    const { ran } = stage.kubelet;
    await eventually(() => ran.find((words) => words.includes("600")));
    await using watch = await follow(`${SHOP}/secrets?watch=1`, {});
    await watch.until("ADDED");
    await using log = await follow(`${SHOP}/pods/web-1/log?follow=true`, {});
    await log.until("line 1");
    const forward = spawn(
      program.program,
      ["--kubeconfig", config, "-n", "shop", "port-forward", "pod/web-1", ":9"],
      { env: { HOME: stage.folder, PATH: "/usr/bin:/bin" }, stdio: ["ignore", "pipe", "pipe"] },
    );
    const forwardEnds = once(forward, "close");
    try {
      await begun(forward);
      const folder = join(dirname(stage.gateway.configFile), "policies");
      writeFileSync(
        join(folder, "zz-stop.cedar"),
        `@id("stopped") @message("stopped for the steps") forbid (principal, action in [K8s::Action::"data", K8s::Action::"portforward"], resource);\n`,
      );
      process.kill(stage.gateway.pid, "SIGHUP");
      const ended = await exec;
      assert.match(ended.stderr, /no longer permitted: stopped for the steps/);
      const last = await watch.until('"ERROR"');
      assert.match(last, /no longer permitted: stopped for the steps/);
      await log.end();
      await forwardEnds;
    } finally {
      forward.kill();
    }
  },
};

export async function runSteps(words: readonly string[]): Promise<StepsReport> {
  const folder = mkdtempSync(join(tmpdir(), "custody-steps-"));
  const wrong: string[] = [];
  const chosen = Object.entries(STEPS).filter(
    ([name]) => words.length === 0 || words.some((word) => name.includes(word)),
  );
  try {
    const scene = await openScene(folder);
    await using stage = scene.stage;
    await plant(stage);
    for (const [name, step] of chosen) {
      const message = await step(scene).then(
        () => undefined,
        (error: Error) => error.message,
      );
      if (message !== undefined) wrong.push(`${name}: ${message.slice(0, 1500)}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { checks: chosen.length, wrong };
}
