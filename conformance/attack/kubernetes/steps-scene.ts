// The stage that steps are tried on: a real API server with something classified, hidden and fixed in it, the
// gateway with accounts of every kind, and a person, an agent and kubectl in front of it.

import assert from "node:assert/strict";
import type { ChildProcessByStdio } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { openClientAuthority } from "@custody/gateway/config/client-authority.ts";
import { Agent, fetch } from "undici";
import { type Kubectl, kubectls, type Ran, runKubectl } from "../../kubernetes/clients.ts";
import { type KubernetesStage, openKubernetesStage } from "../../kubernetes/stage.ts";
import { CUSTODY, runCustody, userEnvironment } from "../../support/command-line.ts";

export const CARD = "4111111111111111";
export const HIDDEN = `hidden${randomBytes(6).toString("hex")}`;
export const GUESSED = `value${randomBytes(6).toString("hex")}`;
export const WAIT_MS = 120_000;

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

export interface Scene {
  readonly stage: KubernetesStage;
  readonly program: Kubectl;
  readonly config: string;
  /** An answer that goes on. */
  follow(path: string, headers: Readonly<Record<string, string>>): Promise<Followed>;
  /** As an agent of the engineer's. */
  ask(method: string, path: string, body?: unknown, type?: string): Promise<Asked>;
  kubectl(args: readonly string[], options?: Parameters<typeof runKubectl>[3]): Promise<Ran>;
}

export interface Followed extends AsyncDisposable {
  /** All of it so far, once it has this. */
  until(word: string): Promise<string>;
  /** Resolves when it ends, however it does. */
  end(): Promise<void>;
}

export interface Asked {
  readonly status: number;
  readonly text: string;
}

export const SHOP = "/api/v1/namespaces/shop";

export async function openScene(folder: string): Promise<Scene> {
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

export function followed(body: AsyncIterable<Uint8Array>, controller: AbortController): Followed {
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

export async function plant({ cluster: { call } }: KubernetesStage): Promise<void> {
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
    rules: [
      { apiGroups: [""], resources: ["serviceaccounts/token"], verbs: ["create"] },
      { apiGroups: [""], resources: ["secrets"], verbs: ["create", "delete"] },
    ],
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

export async function defineGadget({ cluster: { call } }: KubernetesStage): Promise<void> {
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
export function begun(forward: ChildProcessByStdio<null, Readable, Readable>): Promise<void> {
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
export async function plugin(stage: KubernetesStage, more: readonly string[]) {
  const args = ["kubeconfig", "edit~prod", "--command", CUSTODY, ...more];
  const config = join(stage.folder, `plugin-${randomBytes(4).toString("hex")}.json`);
  writeFileSync(config, await stage.as("engineer", args));
  const home = userEnvironment(await stage.homeOf("engineer")) as Record<string, string>;
  const env = { ...home, PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
  const [program] = kubectls().slice(-1);
  if (program === undefined) throw new Error("there is no kubectl");
  return { config, env, program };
}

export interface ShownCertificate {
  readonly clientCertificateData: string;
  readonly clientKeyData: string;
}

export async function credential(
  stage: KubernetesStage,
  env: Record<string, string>,
): Promise<ShownCertificate> {
  const args = ["kubernetes", "credential", "--certificate"];
  const ran = await runCustody(args, { home: await stage.homeOf("engineer"), env });
  return (JSON.parse(ran.stdout) as { status: ShownCertificate }).status;
}

export interface Waiting {
  readonly id: string;
  readonly state: string;
  readonly what: string;
  readonly justification: string | null;
  readonly preview: readonly { readonly title: string; readonly text: string }[];
}

export function waiting(stage: KubernetesStage, person: string, name: string): Promise<Waiting> {
  return eventually(async () => {
    const out = await stage.as(person, ["requests"]);
    const { requests } = JSON.parse(out) as { requests: Waiting[] };
    return requests.find((one) => one.state === "waiting" && one.what.includes(name));
  });
}

export async function eventually<T>(
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const untilMs = Date.now() + WAIT_MS;
  while (Date.now() < untilMs) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  throw new Error("it did not come about");
}
