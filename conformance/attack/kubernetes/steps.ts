// What takes more than one request to try, against a real API server with policies that hold, filter and
// mask: oracles that compare, lists and watches of which some may be seen, what runs while policies change,
// certificates, and what approvers are shown. On a stage of its own; each step must end as it says.

import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { openClientAuthority } from "@custody/gateway/config/client-authority.ts";
import { Agent, fetch } from "undici";
import { type Kubectl, kubectls, type Ran, runKubectl } from "../../kubernetes/clients.ts";
import { type KubernetesStage, openKubernetesStage } from "../../kubernetes/stage.ts";
import { CUSTODY, runCustody, userEnvironment } from "../../support/command-line.ts";

export interface StepsReport {
  readonly checks: number;
  readonly wrong: readonly string[];
}

const CARD = "4111111111111111";
const HIDDEN = `hidden${randomBytes(6).toString("hex")}`;
const GUESSED = `value${randomBytes(6).toString("hex")}`;
const WAIT_MS = 120_000;

const POLICIES = `
@id("steps-connect") permit (principal, action == Custody::Action::"connect", resource);
@id("steps-delegate") permit (principal, action == Custody::Action::"delegate", resource);
@id("steps-read") permit (principal, action == K8s::Action::"get", resource)
unless { resource is K8s::Resource && resource.namespace == "${HIDDEN}" };
@id("steps-lists") @filter("items")
permit (principal, action in [K8s::Action::"list", K8s::Action::"watch"], resource);
@id("steps-logs") @mask("pii.card")
permit (principal, action in [K8s::Action::"exec", K8s::Action::"log"], resource);
@id("steps-write") permit (principal, action in K8s::Action::"write", resource);
@id("steps-ports") permit (principal, action == K8s::Action::"portforward", resource);
@id("steps-hold") @justification("required")
forbid (principal, action in [K8s::Action::"delete"], resource)
unless { context.approved };
@id("steps-hold-labelled")
forbid (principal, action in [K8s::Action::"patch"], resource is K8s::Resource)
when { resource.labels.contains("held=yes") && !resource.dryRun } unless { context.approved };
`;

/** More accounts of the target, as the stage writes it, and what is beside them. */
const TARGET = (certificate: string, key: string) => `        minted:
          credential:
            serviceAccount: { namespace: shop, name: minted, token: "file:./../token" }
        certified:
          credential: { certificate: { cert: ${certificate}, key: "file:${key}" } }
          impersonate: { groups: [custody:editors] }
      preview: dry-run
      detect: { pii.card: card-number }
      classify:
        - { resource: configmaps, field: data.token, class: secret.token }
`;

interface Scene {
  readonly stage: KubernetesStage;
  readonly program: Kubectl;
  readonly config: string;
  /** An answer that goes on. */
  follow(path: string, headers: Readonly<Record<string, string>>): Promise<Followed>;
  /** As an agent of the engineer's. */
  ask(method: string, path: string, body?: unknown, type?: string): Promise<Asked>;
  kubectl(args: readonly string[], options?: Parameters<typeof runKubectl>[3]): Promise<Ran>;
}

interface Followed extends AsyncDisposable {
  /** All of it so far, once it has this. */
  until(word: string): Promise<string>;
  /** Resolves when it ends, however it does. */
  end(): Promise<void>;
}

interface Asked {
  readonly status: number;
  readonly text: string;
}

const SHOP = "/api/v1/namespaces/shop";
const APPLY = "application/apply-patch+yaml";
const MERGE = "application/merge-patch+json";

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

const STRATEGIC = "application/strategic-merge-patch+json";

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

async function openScene(folder: string): Promise<Scene> {
  const nowMs = Date.now();
  // An authority of client certificates like any other; its names are users to this cluster.
  const clients = await openClientAuthority(folder, nowMs);
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const made = await clients.certify({
    ...{ delegationId: "gateway-cert", nowMs, expiresAtMs: nowMs + 3_600_000 },
    publicKey: publicKey.export({ type: "spki", format: "pem" }).toString(),
  });
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const certificate = file("gateway-cert.pem", made.certificatePem);
  const key = file(
    "gateway-cert.key",
    privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  );
  const stage = await openKubernetesStage({
    policies: {
      ...{ "agents.cedar": "", "guards.cedar": "", "people.cedar": "", "operators.cedar": "" },
      "steps.cedar": POLICIES,
    },
    target: TARGET(certificate, key),
    cluster: { flags: [`--client-ca-file=${join(folder, "ca", "client-ca.pem")}`] },
  });
  const token = await stage.delegate("engineer", "stepper", "k8s:*", "*");
  const config = stage.kubeconfig(token);
  writeFileSync(config, readFileSync(config, "utf8").replace('/prod"', '/edit~prod"'));
  const [program] = kubectls().slice(-1);
  if (program === undefined) throw new Error("there is no kubectl");
  const ca = readFileSync(stage.gateway.caFile, "utf8");
  const dispatcher = new Agent({ connect: { ca } });
  const origin = stage.address.replace("/prod", "/edit~prod");
  const authorization = `Bearer ${token}`;
  return {
    ...{ stage, program, config },
    async follow(path, headers) {
      const controller = new AbortController();
      const { signal } = controller;
      const answer = await fetch(`${origin}${path}`, {
        ...{ dispatcher, signal, headers: { ...headers, authorization } },
      });
      assert.equal(answer.status, 200);
      return followed(answer.body ?? assert.fail("no body"), controller);
    },
    kubectl: (args, options) =>
      runKubectl(program, config, args, { timeoutMs: WAIT_MS, ...options }),
    async ask(method, path, body, type = "application/json") {
      const answer = await fetch(`${origin}${path}`, {
        ...{ method, dispatcher },
        headers: { authorization, "content-type": type },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: answer.status, text: await answer.text() };
    },
  };
}

function followed(body: AsyncIterable<Uint8Array>, controller: AbortController): Followed {
  const chunks = body[Symbol.asyncIterator]();
  let text = "";
  const next = async (): Promise<boolean> => {
    const { done, value } = await chunks.next();
    if (done !== true) text += Buffer.from(value).toString();
    return done !== true;
  };
  return {
    async until(word) {
      while (!text.includes(word))
        if (!(await next())) throw new Error(`it ended without ${word}: ${text.slice(-500)}`);
      return text;
    },
    async end() {
      while (await next().catch(() => false));
    },
    async [Symbol.asyncDispose]() {
      controller.abort();
      await chunks.return?.().catch(() => undefined);
    },
  };
}

async function plant({ cluster: { call } }: KubernetesStage): Promise<void> {
  const rbac = "/apis/rbac.authorization.k8s.io/v1";
  const bind = (name: string, role: string, subject: Record<string, string>) =>
    call("POST", `${rbac}/clusterrolebindings`, {
      metadata: { name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
      subjects: [subject],
    });
  const user = (name: string) => ({ apiGroup: "rbac.authorization.k8s.io", kind: "User", name });
  await call("POST", `${SHOP}/serviceaccounts`, { metadata: { name: "minted" } });
  await call("POST", `${rbac}/clusterroles`, {
    metadata: { name: "custody-token" },
    rules: [{ apiGroups: [""], resources: ["serviceaccounts/token"], verbs: ["create"] }],
  });
  await bind("custody-token", "custody-token", user("gateway-sa"));
  await bind("custody-cert", "custody-impersonate", user("gateway-cert"));
  await bind("minted", "cluster-admin", {
    kind: "ServiceAccount",
    name: "minted",
    namespace: "shop",
  });
  await call("POST", "/api/v1/namespaces", { metadata: { name: HIDDEN } });
  for (const [namespace, name] of [
    [HIDDEN, HIDDEN],
    ["shop", "shown"],
  ])
    await call("POST", `/api/v1/namespaces/${namespace}/configmaps`, { metadata: { name } });
  for (const [name, more] of [
    ["guessed", {}],
    ["overwritten", {}],
    ["previewed", {}],
    ["fixed", { immutable: true }],
  ] as const)
    await call("POST", `${SHOP}/secrets`, {
      ...{ metadata: { name }, stringData: { key: GUESSED }, ...more },
    });
  const env = [{ name: "A", value: GUESSED }];
  const containers = [{ name: "c", image: "x", env }];
  await call("POST", `${SHOP}/pods`, { metadata: { name: "fixed" }, spec: { containers } });
  await call("POST", "/apis/apps/v1/namespaces/shop/deployments", {
    metadata: { name: "tried" },
    spec: {
      selector: { matchLabels: { app: "tried" } },
      template: {
        metadata: { labels: { app: "tried" } },
        spec: { containers: [{ ...containers[0], image: "x:1" }] },
      },
    },
  });
}

async function defineGadget({ cluster: { call } }: KubernetesStage): Promise<void> {
  const column = (name: string, jsonPath: string) => ({ name, type: "string", jsonPath });
  const anything = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  await call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
    metadata: { name: "gadgets.example.org" },
    spec: {
      ...{ group: "example.org", scope: "Namespaced" },
      names: { plural: "gadgets", singular: "gadget", kind: "Gadget" },
      versions: [
        {
          ...{ name: "v1", served: true, storage: true },
          additionalPrinterColumns: [
            column("List", ".spec.containers[0].env[0].value"),
            column("Member", ".spec.env.PASSWORD"),
            column("Size", ".spec.size"),
          ],
          schema: { openAPIV3Schema: { type: "object", properties: { spec: anything } } },
        },
      ],
    },
  });
  const env = [{ name: "A", value: GUESSED }];
  const spec = { size: "7", containers: [{ env }], env: { PASSWORD: GUESSED } };
  const path = "/apis/example.org/v1/namespaces/shop/gadgets";
  const gadget = { apiVersion: "example.org/v1", kind: "Gadget", metadata: { name: "g1" }, spec };
  // Until the kind is served.
  await eventually(() => call("POST", path, gadget).catch(() => undefined));
}

/** Until it says that it forwards. */
function begun(forward: ChildProcessByStdio<null, Readable, Readable>): Promise<void> {
  let said = "";
  forward.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    forward.stdout.once("data", () => resolve());
    forward.once("close", () => reject(new Error(`it does not forward: ${said}`)));
  });
}

/** kubectl with the exec plugin, as a person has it. */
async function plugin(stage: KubernetesStage, more: readonly string[]) {
  const args = ["kubeconfig", "edit~prod", "--command", CUSTODY, ...more];
  const config = join(stage.folder, `plugin-${randomBytes(4).toString("hex")}.json`);
  writeFileSync(config, await stage.as("engineer", args));
  const home = userEnvironment(await stage.homeOf("engineer")) as Record<string, string>;
  const env = { ...home, PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
  const [program] = kubectls().slice(-1);
  if (program === undefined) throw new Error("there is no kubectl");
  return { config, env, program };
}

interface ShownCertificate {
  readonly clientCertificateData: string;
  readonly clientKeyData: string;
}

async function credential(
  stage: KubernetesStage,
  env: Record<string, string>,
): Promise<ShownCertificate> {
  const args = ["kubernetes", "credential", "--certificate"];
  const ran = await runCustody(args, { home: await stage.homeOf("engineer"), env });
  return (JSON.parse(ran.stdout) as { status: ShownCertificate }).status;
}

interface Waiting {
  readonly id: string;
  readonly state: string;
  readonly what: string;
  readonly justification: string | null;
  readonly preview: readonly { readonly title: string; readonly text: string }[];
}

function waiting(stage: KubernetesStage, person: string, name: string): Promise<Waiting> {
  return eventually(async () => {
    const out = await stage.as(person, ["requests"]);
    const { requests } = JSON.parse(out) as { requests: Waiting[] };
    return requests.find((one) => one.state === "waiting" && one.what.includes(name));
  });
}

async function eventually<T>(look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const untilMs = Date.now() + WAIT_MS;
  while (Date.now() < untilMs) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  throw new Error("it did not come about");
}
