// What kubectl does through the gateway, held against what it does direct.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { CUSTODY, runCustody, userEnvironment } from "../support/command-line.ts";
import { freePort } from "../support/free-port.ts";
import { type Kubectl, type Ran, runKubectl } from "./clients.ts";
import type { KubernetesStage } from "./stage.ts";

export interface CaseContext {
  readonly stage: KubernetesStage;
  readonly kubectl: Kubectl;
  /** Kubeconfigs. */
  readonly gateway: string;
  readonly direct: string;
}

export interface Case {
  readonly name: string;
  readonly run: (context: CaseContext) => Promise<void>;
}

const folder = mkdtempSync(join(tmpdir(), "custody-cases-"));

async function through(
  context: CaseContext,
  args: readonly string[],
  input?: string,
): Promise<Ran> {
  const ran = await runKubectl(
    context.kubectl,
    context.gateway,
    args,
    input === undefined ? {} : { input },
  );
  assert.equal(ran.code, 0, `${args.join(" ")}: ${ran.stdout}${ran.stderr}`);
  return ran;
}

/** The same words, but for ages. */
async function same(context: CaseContext, args: readonly string[]): Promise<void> {
  const [one, other] = await Promise.all([
    runKubectl(context.kubectl, context.gateway, args),
    runKubectl(context.kubectl, context.direct, args),
  ]);
  const plain = (text: string) => text.replace(/\b\d+[smh](\d+s)?\b/g, "AGE").replace(/ +/g, " ");
  assert.deepEqual([one.code, plain(one.stdout)], [other.code, plain(other.stdout)], one.stderr);
}

const nameOf = ({ kubectl }: Pick<CaseContext, "kubectl">, what: string) =>
  `${what}-${kubectl.version.replace(".", "-")}`;

const READS: readonly (readonly string[])[] = [
  ["get", "namespaces"],
  ["get", "pods", "-o", "wide"],
  ["get", "pods", "-A", "--show-labels"],
  ["get", "pods", "-l", "app=web", "-o", "name"],
  ["get", "nodes", "-o", "json"],
  ["get", "clusterrole", "system:node", "-o", "yaml"],
  ["get", "configmaps", "-A", "-o", "json"],
  ["api-resources", "--sort-by=name"],
  ["api-versions"],
  ["explain", "pod.spec.containers"],
  ["version", "-o", "json"],
  ["get", "pod", "nobody"],
  ["get", "nothings"],
  ["logs", "web-1"],
  ["exec", "web-1", "--", "ls", "/etc/hostname"],
  ["exec", "web-1", "-c", "web", "--", "ls", "/there/is/nothing"],
  ["wait", "--for=condition=Ready", "pod/web-1", "--timeout=5s"],
];

export const CASES: readonly Case[] = [
  ...READS.map((args) => ({
    name: args.join(" "),
    run: (context: CaseContext) => same(context, args),
  })),
  {
    name: "a secret is made, comes masked in every form, and is stored as it was sent",
    async run(context) {
      const name = nameOf(context, "secret");
      const value = randomBytes(12).toString("hex");
      await through(context, ["create", "secret", "generic", name, `--from-literal=key=${value}`]);
      for (const form of [
        "yaml",
        "json",
        "jsonpath={.data.key}",
        "go-template={{.data.key}}",
        "wide",
        "name",
      ]) {
        const { stdout } = await through(context, ["get", "secret", name, "-o", form]);
        const encoded = Buffer.from(value).toString("base64");
        assert.ok(!stdout.includes(value) && !stdout.includes(encoded), form);
      }
      const { stdout } = await through(context, [
        "get",
        "secret",
        name,
        "-o",
        "jsonpath={.data.key}",
      ]);
      assert.equal(Buffer.from(stdout, "base64").toString(), "[masked secret.k8s]");
      const stored = (await context.stage.cluster.call(
        "GET",
        `/api/v1/namespaces/shop/secrets/${name}`,
      )) as {
        data: { key: string };
      };
      assert.equal(Buffer.from(stored.data.key, "base64").toString(), value);
    },
  },
  {
    name: "apply, apply again, server-side apply, diff, patch of every kind, label, annotate, scale",
    async run(context) {
      const name = nameOf(context, "web");
      const manifest = (image: string) => `apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name} }
spec:
  replicas: 1
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec: { containers: [ { name: c, image: ${image}, env: [ { name: A, value: b } ] } ] }
`;
      await through(context, ["apply", "-f", "-"], manifest("web:1"));
      const { stdout } = await through(context, ["apply", "-f", "-"], manifest("web:2"));
      assert.match(stdout, /configured/);
      await through(
        context,
        ["apply", "--server-side", "--force-conflicts", "-f", "-"],
        manifest("web:3"),
      );
      const diff = await runKubectl(context.kubectl, context.gateway, ["diff", "-f", "-"], {
        input: manifest("web:4"),
      });
      assert.equal(diff.code, 1, diff.stderr);
      assert.match(diff.stdout, /web:4/);
      for (const [type, patch] of [
        ["json", `[{"op":"replace","path":"/spec/replicas","value":2}]`],
        ["merge", `{"spec":{"replicas":3}}`],
        [
          "strategic",
          `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"web:5"}]}}}}`,
        ],
      ] as const)
        await through(context, ["patch", "deployment", name, "--type", type, "-p", patch]);
      await through(context, ["label", "deployment", name, "tier=front"]);
      await through(context, ["annotate", "deployment", name, "note=x"]);
      await through(context, ["scale", "deployment", name, "--replicas=4"]);
      const stored = (await context.stage.cluster.call(
        "GET",
        `/apis/apps/v1/namespaces/shop/deployments/${name}`,
      )) as {
        spec: {
          replicas: number;
          template: { spec: { containers: { image: string; env: unknown }[] } };
        };
        metadata: { labels: Record<string, string> };
      };
      assert.equal(stored.spec.replicas, 4);
      assert.equal(stored.metadata.labels.tier, "front");
      const [container] = stored.spec.template.spec.containers;
      assert.deepEqual([container?.image, container?.env], ["web:5", [{ name: "A", value: "b" }]]);
    },
  },
  {
    name: "a mask is never written back",
    async run(context) {
      const name = nameOf(context, "kept");
      await through(context, ["create", "secret", "generic", name, "--from-literal=key=original"]);
      const { stdout } = await through(context, ["get", "secret", name, "-o", "yaml"]);
      const replaced = await runKubectl(context.kubectl, context.gateway, ["replace", "-f", "-"], {
        input: stdout,
      });
      assert.notEqual(replaced.code, 0);
      assert.match(replaced.stderr, /the mask of a value/);
    },
  },
  {
    name: "a watch sees what happens, as it happens",
    async run(context) {
      const name = nameOf(context, "watched");
      const watching = runKubectl(
        context.kubectl,
        context.gateway,
        ["get", "configmaps", "--watch-only", "-o", "name"],
        {
          timeoutMs: 4000,
        },
      );
      await new Promise((resolve) => setTimeout(resolve, 1500));
      await through(context, ["create", "configmap", name, "--from-literal=a=b"]);
      assert.match((await watching).stdout, new RegExp(name));
    },
  },
  {
    name: "logs are followed",
    async run(context) {
      const { stdout } = await runKubectl(
        context.kubectl,
        context.gateway,
        ["logs", "-f", "web-1"],
        { timeoutMs: 2500 },
      );
      assert.match(stdout, /first line[\s\S]*line 3 of the log/);
    },
  },
  {
    name: "exec gives stdin on, and the exit code back",
    async run(context) {
      const text = randomBytes(200_000).toString("hex");
      const ran = await through(context, ["exec", "-i", "web-1", "--", "cat"], text);
      assert.equal(hash(ran.stdout), hash(text));
      const failing = await runKubectl(context.kubectl, context.gateway, [
        "exec",
        "web-1",
        "--",
        "ls",
        "/nothing/here",
      ]);
      assert.equal(failing.code, 2);
    },
  },
  {
    name: "exec of a shell is denied once, with its reason",
    async run(context) {
      const denied = await runKubectl(context.kubectl, context.gateway, [
        "exec",
        "web-1",
        "--",
        "sh",
        "-c",
        "id; $(id)",
      ]);
      assert.equal(denied.code, 1);
      assert.equal(denied.stderr.match(/Custody denied/g)?.length, 1, denied.stderr);
      assert.match(denied.stderr, /Request r-[a-z0-9]+-\d+/);
    },
  },
  {
    name: "cp in and out, with the same bytes",
    async run(context) {
      const name = nameOf(context, "file");
      const source = join(folder, name);
      writeFileSync(source, randomBytes(300_000));
      await through(context, ["cp", source, `web-1:${source}.in`]);
      await through(context, ["cp", `web-1:${source}.in`, `${source}.out`]);
      assert.equal(hash(readFileSync(`${source}.out`)), hash(readFileSync(source)));
    },
  },
  { name: "port-forward", run: forwarded },
  { name: "a revocation ends a forwarded port", run: forwardEnded },
  {
    name: "debug with a container of one's own counts as running code, and is let in where that is permitted",
    async run(context) {
      const { kubectl, stage } = context;
      const args = ["debug", "web-1", "--image=tools:1", "--attach=false", "--", "sleep", "1"];
      const denied = await runKubectl(kubectl, context.gateway, args);
      assert.notEqual(denied.code, 0);
      assert.match(denied.stderr, /Custody denied exec_code/);
      const actor = nameOf({ kubectl }, "debugs");
      const handle = await stage.delegate("operator", actor, "k8s:data,k8s:exec_code", "*");
      const ran = await runKubectl(kubectl, stage.kubeconfig(handle), args);
      assert.equal(ran.code, 0, ran.stderr);
      const pod = (await stage.cluster.call("GET", "/api/v1/namespaces/shop/pods/web-1")) as {
        spec: { ephemeralContainers: { image: string }[] };
      };
      assert.ok(pod.spec.ephemeralContainers.some(({ image }) => image === "tools:1"));
    },
  },
  {
    // Before 1.34 kubectl puts a raw path in the place of the server's own: the target is named in it.
    name: "get --raw",
    async run(context) {
      const path = context.kubectl.version === "1.34" ? "/readyz" : "/prod/readyz";
      assert.equal((await through(context, ["get", "--raw", path])).stdout, "ok");
    },
  },
  {
    name: "a delete waits for an operator, and runs when approved",
    async run(context) {
      const name = nameOf(context, "gone");
      await through(context, ["create", "configmap", name]);
      const deleting = runKubectl(
        context.kubectl,
        context.gateway,
        ["delete", "configmap", name, "--wait=false"],
        {
          timeoutMs: 30_000,
        },
      );
      await approveNext(context.stage, name);
      const ran = await deleting;
      assert.equal(ran.code, 0, ran.stderr);
      await assert.rejects(
        context.stage.cluster.call("GET", `/api/v1/namespaces/shop/configmaps/${name}`),
        /404/,
      );
    },
  },
  {
    name: "the credential comes from the exec plugin of a kubeconfig that holds none",
    async run({ kubectl, stage }) {
      const args = ["kubeconfig", "prod", "--namespace", "shop", "--command", CUSTODY];
      const file = join(folder, "plugin.json");
      writeFileSync(file, await stage.as("engineer", args));
      assert.ok(!/cst_|eyJ[A-Za-z0-9]/.test(readFileSync(file, "utf8")));
      const home = userEnvironment(await stage.homeOf("engineer")) as Record<string, string>;
      const env = { ...home, PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
      const ran = await runKubectl(kubectl, file, ["get", "pods", "-o", "name"], { env });
      assert.equal(ran.stdout, "pod/web-1\n", ran.stderr);
    },
  },
  {
    name: "an agent of custody run finds its cluster by KUBECONFIG, with what its delegation has",
    async run({ stage, kubectl }) {
      const home = await stage.homeOf("engineer");
      const asked = ["run", "--target", "prod/edit:get,list", "--resources", "shop/*", "--quiet"];
      const agent = (...args: string[]) =>
        runCustody([...asked, "--", kubectl.program, ...args], { home });
      const listed = await agent("get", "pods", "-n", "shop", "-o", "name");
      assert.equal(listed.exitCode, 0, listed.stderr);
      assert.match(listed.stdout, /^pod\//m);
      const refused = await agent("delete", "pod", "none", "-n", "shop");
      assert.notEqual(refused.exitCode, 0);
      assert.match(refused.stderr, /does not carry k8s:delete/);
    },
  },
  {
    name: "a revocation ends an exec, a watch and followed logs at once",
    async run({ kubectl, stage }) {
      const handle = await stage.delegate(
        "engineer",
        nameOf({ kubectl }, "revoked"),
        "k8s:data",
        "*",
      );
      const config = stage.kubeconfig(handle);
      const timeoutMs = 30_000;
      const running = [
        ["exec", "-i", "web-1", "--", "sleep", "60"],
        ["get", "pods", "--watch"],
        ["logs", "-f", "web-1"],
      ].map((args) => runKubectl(kubectl, config, args, { timeoutMs }));
      await new Promise((resolve) => setTimeout(resolve, 4000));
      const id = `d-${/^cst_([a-z0-9]+)_/.exec(handle)?.[1]}`;
      await stage.as("engineer", ["revoke", id]);
      const revokedMs = performance.now();
      await Promise.all(
        running.map((one) =>
          one.then((ran) => assert.notEqual(ran.code, -1, "it was never ended")),
        ),
      );
      assert.ok(performance.now() - revokedMs < 5000);
      const after = await runKubectl(kubectl, config, ["get", "pods"]);
      assert.notEqual(after.code, 0);
    },
  },
  {
    name: "impersonation is refused, and the cluster's audit log names the requestor",
    async run(context) {
      const refused = await runKubectl(context.kubectl, context.gateway, [
        "get",
        "pods",
        "--as=system:admin",
      ]);
      assert.match(refused.stderr, /is not taken from clients/);
      await through(context, ["get", "pods"]);
      const event = context.stage.cluster
        .audited()
        .findLast(({ auditID }) => auditID.startsWith("r-"));
      assert.equal(event?.impersonatedUser?.username, "custody:corp/engineer");
      assert.match(
        event.impersonatedUser.extra?.["custody-chain"]?.[0] ?? "",
        /corp\/engineer > conformance/,
      );
    },
  },
];

async function forwarded(context: CaseContext): Promise<void> {
  const text = randomBytes(50_000).toString("hex");
  await using forward = await startForward(context, context.gateway, text);
  for (let round = 0; round < 3; round++)
    assert.equal(hash(await forward.get()), hash(text), forward.said());
}

async function forwardEnded(context: CaseContext): Promise<void> {
  const { kubectl, stage } = context;
  const actions = "k8s:data,k8s:portforward";
  const handle = await stage.delegate("engineer", nameOf({ kubectl }, "forwards"), actions, "*");
  await using forward = await startForward(context, stage.kubeconfig(handle), "reached");
  assert.equal(await forward.get(), "reached");
  await stage.as("engineer", ["revoke", `d-${/^cst_([a-z0-9]+)_/.exec(handle)?.[1]}`]);
  await assert.rejects(forward.get(), "it is forwarded after the revocation");
}

interface Forward extends AsyncDisposable {
  /** What the server behind it answers; throws when it is not reached. */
  get(): Promise<string>;
  said(): string;
}

/** `kubectl port-forward` to a server of our own that answers with this text. */
async function startForward(
  { kubectl }: Pick<CaseContext, "kubectl">,
  kubeconfig: string,
  text: string,
): Promise<Forward> {
  await using parts = new AsyncDisposableStack();
  const server = createServer((_request, answer) => answer.end(text));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  parts.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const remote = (server.address() as AddressInfo).port;
  const local = await freePort();
  const child = spawn(
    kubectl.program,
    ["--kubeconfig", kubeconfig, "port-forward", "pod/web-1", `${local}:${remote}`],
    { env: { HOME: folder, PATH: "/usr/bin:/bin" }, stdio: ["ignore", "pipe", "pipe"] },
  );
  parts.defer(() => {
    child.kill();
  });
  let said = "";
  child.stderr.on("data", (chunk) => {
    said += String(chunk);
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", (chunk) => {
      if (String(chunk).includes("Forwarding from")) resolve();
    });
    child.on("close", () => reject(new Error(said)));
    setTimeout(() => reject(new Error(`it does not forward: ${said}`)), 30_000).unref();
  });
  const all = parts.move();
  return {
    said: () => said,
    async get() {
      const signal = AbortSignal.timeout(10_000);
      const answer = await fetch(`http://127.0.0.1:${local}/`, {
        signal,
        headers: { connection: "close" },
      });
      return await answer.text();
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** The operator approves what waits and names this. */
export async function approveNext(stage: KubernetesStage, name: string): Promise<void> {
  const untilMs = Date.now() + 15_000;
  while (Date.now() < untilMs) {
    const out = await stage.as("operator", ["requests"]);
    const { requests } = JSON.parse(out) as {
      requests: { id: string; command?: string; what: string; state: string }[];
    };
    const found = requests.find(
      (one) => one.state === "waiting" && `${one.what} ${one.command}`.includes(name),
    );
    if (found !== undefined) {
      await stage.as("operator", ["approve", found.id, "--reason", "conformance"]);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  throw new Error(`nothing waits that names ${name}`);
}

function hash(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}
