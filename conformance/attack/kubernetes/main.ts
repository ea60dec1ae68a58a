// Attempts to get past the gateway to a real API server, every one of which must fail, and a hunt for canaries
// by random requests: `npm run attack:kubernetes [-- --runs 300 --seed 1]`; with words as arguments only the
// attempts whose ids contain one of them, the hunt for the word `hunt`, and for `connections` and `steps` those whose
// ids contain one of the others. The last line is `N passed, N failed, N skipped`.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { openKubernetesStage } from "../../kubernetes/stage.ts";
import { clusterProblem, type TestCluster } from "../../support/kubernetes-server.ts";
import { attack } from "./attack.ts";
import { BY_HAND } from "./by-hand.ts";
import { runConnections } from "./connections.ts";
import { generatedAttempts } from "./generated.ts";
import { hunt } from "./hunt.ts";
import { runSteps } from "./steps.ts";

const AT_ONCE = 4;

/** Nearly everything is permitted, so that what stops an attempt is the gateway's judgement. */
const POLICIES = `
@id("attackers-do-everything")
permit (principal, action in [K8s::Action::"data", K8s::Action::"portforward", K8s::Action::"attach"], resource);
@id("attackers-connect")
permit (principal, action == Custody::Action::"connect", resource);
@id("who-carries-it-may-see-it")
permit (principal, action == Custody::Action::"unmask", resource);
@id("anybody-delegates")
permit (principal, action == Custody::Action::"delegate", resource);
@id("no-privileges")
forbid (principal, action in K8s::Action::"privilege", resource);
@id("no-real-deletes")
forbid (principal, action in [K8s::Action::"delete", K8s::Action::"deletecollection"], resource)
unless { resource.dryRun };
@id("no-host-access")
forbid (principal, action in [K8s::Action::"create", K8s::Action::"update", K8s::Action::"patch"], resource)
when { resource.privileged || !resource.hostPaths.isEmpty() || !resource.capabilities.isEmpty() };
`;

const { values, positionals: words } = parseArgs({
  options: { runs: { type: "string", default: "300" }, seed: { type: "string", default: "1" } },
  allowPositionals: true,
});
const problem = clusterProblem();
if (problem !== undefined) {
  console.log(`${problem}\n\n0 passed, 0 failed, 1 skipped`);
  process.exit(0);
}
const attempts = [...BY_HAND, ...generatedAttempts()].filter(
  ({ id }) => words.length === 0 || words.some((word) => id.includes(word)),
);
const canaries = Array.from({ length: 5 }, () => `canary${randomBytes(9).toString("hex")}`);
await using stage = await openKubernetesStage({
  policies: {
    "agents.cedar": "",
    "guards.cedar": "",
    "people.cedar": "",
    "operators.cedar": "",
    "attack.cedar": POLICIES,
  },
  target: `      classify:
        - { resource: configmaps, field: data.token, class: secret.token }
        - { resource: widgets.example.com, field: spec.apiKey, class: secret.token }`,
});
await plant(stage.cluster, canaries);
const token = await stage.delegate("engineer", "attacker", "k8s:*", "*");
const url = new URL(stage.address);
const at = {
  ...{ host: url.hostname, port: Number(url.port), token, canaries },
  ca: readFileSync(stage.gateway.caFile, "utf8"),
};
let failed = 0;
const left = [...attempts];
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let attempt = left.shift(); attempt !== undefined; attempt = left.shift()) {
      const wrong = await attack(at, attempt).catch((error: Error) => [error.message]);
      if (wrong.length === 0) continue;
      failed++;
      console.log(`FAILED   ${attempt.id} (${attempt.threat})`);
      for (const sentence of wrong.slice(0, 3)) console.log(`           ${sentence}`);
    }
  }),
);
const { data } = (await stage.cluster.call("GET", "/api/v1/namespaces/shop/secrets/s1")) as {
  data: { key: string };
};
if (Buffer.from(data.key, "base64").toString() !== canaries[0]) {
  failed++;
  console.log("FAILED   the secret is no longer what it was");
}
let checks = attempts.length + 1;
if (words.length === 0 || words.includes("hunt")) {
  const objects = Math.min(150, 20 + Math.round(Number(values.runs) / 10));
  const options = { seed: Number(values.seed), requests: Number(values.runs), objects };
  const report = await hunt(stage, at, options);
  checks += report.checks;
  failed += report.wrong.length;
  for (const sentence of report.wrong) console.log(`FAILED   ${sentence}`);
  console.log(report.summary);
}
if (words.length === 0 || words.includes("connections")) {
  const report = await runConnections(
    stage,
    at,
    words.filter((word) => word !== "connections"),
  );
  checks += report.checks;
  failed += report.wrong.length;
  for (const sentence of report.wrong) console.log(`FAILED   ${sentence}`);
}
if (words.length === 0 || words.includes("steps")) {
  const report = await runSteps(words.filter((word) => word !== "steps"));
  checks += report.checks;
  failed += report.wrong.length;
  for (const sentence of report.wrong) console.log(`FAILED   ${sentence}`);
}
console.log(`\n${checks - failed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 && checks > 1 ? 0 : 1;

/** Each canary where something classified is, and in what repeats it. */
async function plant({ call }: TestCluster, values: readonly string[]): Promise<void> {
  const [secret = "", pod = "", deployment = "", configured = "", field = ""] = values;
  const shop = "/api/v1/namespaces/shop";
  const applied = (object: unknown) => ({
    "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify(object),
  });
  const secretObject = { apiVersion: "v1", kind: "Secret", stringData: { key: secret } };
  await call("POST", `${shop}/secrets`, {
    ...secretObject,
    metadata: {
      name: "s1",
      annotations: { ...applied(secretObject), "example.com/copy": secret, note: secret },
    },
  });
  const env = (value: string) => [{ name: "PASSWORD", value }];
  await call("POST", `${shop}/pods`, {
    metadata: {
      name: "leaky",
      annotations: applied({ kind: "Pod", spec: { containers: [{ env: env(pod) }] } }),
    },
    spec: {
      containers: [{ name: "c", image: "x", env: env(pod) }],
      initContainers: [{ name: "i", image: "x", env: env(pod) }],
    },
  });
  const template = {
    metadata: { labels: { app: "leaky" } },
    spec: { containers: [{ name: "c", image: "x", env: env(deployment) }] },
  };
  await call("POST", "/apis/apps/v1/namespaces/shop/deployments", {
    metadata: { name: "leaky", annotations: applied({ kind: "Deployment", spec: { template } }) },
    spec: { selector: { matchLabels: { app: "leaky" } }, template },
  });
  await call("POST", `${shop}/configmaps`, {
    metadata: {
      name: "c1",
      annotations: applied({ kind: "ConfigMap", data: { token: configured } }),
    },
    data: { token: configured, plain: "x" },
  });
  await call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
    metadata: { name: "widgets.example.com" },
    spec: {
      group: "example.com",
      scope: "Namespaced",
      names: { plural: "widgets", singular: "widget", kind: "Widget" },
      versions: [
        {
          ...{ name: "v1", served: true, storage: true },
          additionalPrinterColumns: [{ name: "Key", type: "string", jsonPath: ".spec.apiKey" }],
          selectableFields: [{ jsonPath: ".spec.apiKey" }],
          subresources: {
            scale: {
              ...{ specReplicasPath: ".spec.size", statusReplicasPath: ".status.size" },
              labelSelectorPath: ".spec.apiKey",
            },
          },
          schema: {
            openAPIV3Schema: {
              type: "object",
              properties: { spec: { type: "object", properties: { apiKey: { type: "string" } } } },
            },
          },
        },
      ],
    },
  });
  for (let tries = 0; ; tries++)
    try {
      await call("POST", "/apis/example.com/v1/namespaces/shop/widgets", {
        ...{ apiVersion: "example.com/v1", kind: "Widget", metadata: { name: "w1" } },
        spec: { apiKey: field },
      });
      return;
    } catch (error) {
      if (tries > 40) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
}
