// `custody doctor` against a real API server: nothing is open where the cluster has what `custody kubernetes rbac`
// prints, with its names; and what is wrong is told.

import assert from "node:assert/strict";
import { runCustody } from "../support/command-line.ts";
import { type Kubectl, runKubectl } from "./clients.ts";
import { type KubernetesStage, openKubernetesStage } from "./stage.ts";

interface Found {
  readonly severity: string;
  readonly check: string;
  readonly what: string;
}

const AGENTS = "agents";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";

/** A stage of its own: rights of the gateway are given and taken on it. */
export async function doctorOfClusters(kubectl: Kubectl): Promise<void> {
  const target = (name: string, ca: string, token: string, account: string) => `  ${name}:
    kubernetes:
      server: SERVER
      caFile: ./../${ca}
      accounts:
        it:
          credential: ${account.includes("impersonate") ? `{ token: "file:./../${token}" }` : `{ serviceAccount: { namespace: ${AGENTS}, name: worker, token: "file:./../${token}" } }`}
${account}`;
  const impersonate = "          impersonate: { groups: [custody:editors] }\n";
  await using stage = await openKubernetesStage({
    isBare: true,
    files: { "wrong-token": "nobody" },
    configuration: (server) =>
      [
        target("groups", "cluster-ca.pem", "token", impersonate),
        target("tokens", "cluster-ca.pem", "token", ""),
        target("refused", "cluster-ca.pem", "wrong-token", impersonate),
        target("another", "provider-ca.pem", "token", impersonate),
      ]
        .join("")
        .replaceAll("SERVER", server),
  });
  const { cluster, gateway } = stage;
  const examined = async (name: string) => {
    const args = ["doctor", name, "--config", gateway.configFile, "--json"];
    const { exitCode, stdout, stderr } = await runCustody(args, { home: stage.folder });
    const { examined } = JSON.parse(stdout || "{}") as {
      examined?: { found: Found[]; failed?: string }[];
    };
    const [one] = examined ?? [];
    assert.ok(one !== undefined && one.failed === undefined, stdout + stderr);
    // Certificates of tests are for a week.
    const told = one.found
      .filter(({ check }) => check !== "expires")
      .map(({ severity, check }) => `${severity} ${check}`);
    assert.equal(
      exitCode === 0,
      told.every((line) => line.startsWith("loose")),
      stdout,
    );
    return told;
  };

  assert.deepEqual(await examined("refused"), ["loose no-expiry", "missing refused"]);
  assert.deepEqual(await examined("another"), ["missing certificate", "loose no-expiry"]);
  // Nothing was applied yet: users, one group and three extras; the token's, and its Secret made and deleted.
  const lacks = (count: number) => ["loose no-expiry", ...Array(count).fill("missing rights")];
  assert.deepEqual(await examined("groups"), lacks(5));
  assert.deepEqual(await examined("tokens"), lacks(3));

  await cluster.call("POST", "/api/v1/namespaces", { metadata: { name: AGENTS } });
  await applyPrinted(stage, kubectl, "groups");
  await applyPrinted(stage, kubectl, "tokens");
  // What is printed cannot name users: the operator can.
  const role = `${RBAC}/clusterroles/custody-impersonate-it`;
  assert.deepEqual(await examined("groups"), ["loose no-expiry", "loose all-users"]);
  const { rules } = (await cluster.call("GET", role)) as { rules: { resources: string[] }[] };
  const named = rules.map((rule) =>
    rule.resources.includes("users") ? { ...rule, resourceNames: ["custody:corp/engineer"] } : rule,
  );
  await cluster.call("PATCH", role, { rules: named });
  await until(async () => assert.deepEqual(await examined("groups"), ["loose no-expiry"]));

  const bind = (name: string) =>
    cluster.call("POST", `${RBAC}/clusterrolebindings`, {
      metadata: { name: `gateway-${name}` },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "gateway-sa" }],
    });
  await cluster.call("POST", `${RBAC}/clusterroles`, {
    metadata: { name: "too-much" },
    rules: [
      { apiGroups: [""], resources: ["groups"], verbs: ["impersonate"] },
      { apiGroups: [""], resources: ["nodes/proxy", "pods/exec"], verbs: ["create"] },
      { apiGroups: [""], resources: ["secrets"], verbs: ["list"] },
      {
        ...{ apiGroups: ["rbac.authorization.k8s.io"], resources: ["clusterroles"] },
        verbs: ["bind", "escalate"],
      },
    ],
  });
  await bind("too-much");
  await until(async () =>
    assert.deepEqual(await examined("groups"), [
      "loose no-expiry",
      "open system-masters",
      "open escalate",
      "open bind",
      "open nodes-proxy",
      "open secrets",
      "open exec",
      "loose all-groups",
    ]),
  );
  await bind("cluster-admin");
  await until(async () =>
    assert.deepEqual(await examined("groups"), ["loose no-expiry", "open everything"]),
  );
}

async function applyPrinted(
  { cluster, gateway, folder, kubeconfig }: KubernetesStage,
  kubectl: Kubectl,
  name: string,
): Promise<void> {
  const args = ["kubernetes", "rbac", name, "it", "--config", gateway.configFile];
  const printed = await runCustody(args, { home: folder });
  assert.equal(printed.exitCode, 0, printed.stderr);
  const input = printed.stdout.replaceAll(
    "{ kind: ServiceAccount, name: custody-gateway, namespace: custody }",
    "{ kind: User, name: gateway-sa, apiGroup: rbac.authorization.k8s.io }",
  );
  const direct = kubeconfig(cluster.adminToken, true);
  const applied = await runKubectl(kubectl, direct, ["apply", "-f", "-"], { input });
  assert.equal(applied.code, 0, applied.stderr);
}

const WAIT_MS = 30_000;

/** RBAC hears of its objects by a watch of its own. */
async function until(holds: () => Promise<void>): Promise<void> {
  for (const untilMs = Date.now() + WAIT_MS; ; )
    try {
      return await holds();
    } catch (error) {
      if (Date.now() > untilMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
}
