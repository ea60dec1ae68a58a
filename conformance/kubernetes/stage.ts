// What the suites for Kubernetes stand on: a real API server with something in it, an identity provider,
// and the gateway as shipped between them.

import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCustody } from "../support/command-line.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { startKubelet, type TestKubelet } from "../support/kubelet.ts";
import {
  type ClusterOptions,
  startCluster,
  type TestCluster,
} from "../support/kubernetes-server.ts";
import { startOidcProvider, type TestOidcProvider } from "../support/oidc-provider.ts";
import { providerConfiguration } from "../support/provider-configuration.ts";

export interface KubernetesStage extends AsyncDisposable {
  readonly cluster: TestCluster;
  readonly gateway: TestGateway;
  readonly provider: TestOidcProvider;
  readonly kubelet: TestKubelet;
  readonly folder: string;
  /** The address of the target as clients take it: `https://127.0.0.1:<port>/prod`. */
  readonly address: string;
  /** Signs a person in, and makes a delegation of theirs for an agent; the handle. */
  delegate(
    person: string,
    actor: string,
    actions: string,
    resources: string,
    more?: readonly string[],
  ): Promise<string>;
  /** Runs the command line as a person. */
  as(person: string, args: readonly string[]): Promise<string>;
  /** Where the command line of a person who signed in keeps its contexts. */
  homeOf(person: string): Promise<string>;
  /** A kubeconfig with a token in it, for the gateway or directly for the cluster. */
  kubeconfig(token: string, direct?: boolean): string;
}

export interface StageOptions {
  /** More policies: file name → text. */
  readonly policies?: Readonly<Record<string, string>>;
  /** More of the target, below `kubernetes:`, indented by six spaces. */
  readonly target?: string;
  /** More of the configuration, right after the target; of the cluster's address. */
  readonly configuration?: string | ((server: string) => string);
  /** Beside the gateway's folder: name → text. */
  readonly files?: Readonly<Record<string, string>>;
  readonly cluster?: ClusterOptions;
  /** Of the gateway's process. */
  readonly env?: Readonly<Record<string, string>>;
  /** true: nothing is put into the cluster, whose own flags say what is allowed there. */
  readonly isBare?: boolean;
}

export async function openKubernetesStage(options: StageOptions = {}): Promise<KubernetesStage> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-kubernetes-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const cluster = parts.use(await startCluster(options.cluster));
  if (options.isBare !== true) await prepareCluster(cluster);
  const work = join(folder, "container");
  mkdirSync(work);
  const kubelet = parts.use(await startKubelet(work));
  if (options.isBare !== true) await preparePod(cluster, kubelet.port);
  const provider = parts.use(
    await startOidcProvider({
      accounts: [
        { name: "engineer", groups: ["engineers"] },
        { name: "operator", groups: ["operators"] },
      ],
    }),
  );
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  for (const [name, text] of Object.entries(options.files ?? {})) file(name, text);
  const more = options.configuration ?? "";
  const gateway = parts.use(
    await startGateway({
      folder: join(folder, "gateway"),
      kubernetes: true,
      ...(options.env === undefined ? {} : { env: options.env }),
      policies: { "operators-approve.cedar": APPROVERS, ...options.policies },
      configuration: `
${providerConfiguration(provider, file("provider-ca.pem", provider.ca))}people:
  Erin Engineer: [corp/engineer]
  Otto Operator: [corp/operator]
targets:
  prod:
    kubernetes:
      server: ${cluster.server}
      caFile: ${file("cluster-ca.pem", cluster.ca)}
      accounts:
        edit:
          credential: { token: "file:${file("token", cluster.gatewayToken)}" }
          impersonate: { groups: [custody:editors], rootGroups: true }
${options.target ?? ""}
    tags: { env: test }
${typeof more === "function" ? more(cluster.server) : more}
`,
    }),
  );
  const homes = new Map<string, Promise<string>>();
  const homeOf = (person: string) => {
    const known = homes.get(person);
    if (known !== undefined) return known;
    const made = signIn(person);
    homes.set(person, made);
    return made;
  };
  async function signIn(person: string): Promise<string> {
    const home = join(folder, `home-${person}`);
    mkdirSync(home, { mode: 0o700 });
    const token = file(`token-${person}`, await provider.idToken(person));
    const args = ["login", gateway.url, "--ca-fingerprint", gateway.fingerprint];
    await run(home, [...args, "--provider", "corp", "--token-file", token]);
    return home;
  }
  async function run(home: string, args: readonly string[]): Promise<string> {
    const result = await runCustody([...args, "--json"], { home });
    if (result.exitCode !== 0)
      throw new Error(`custody ${args.join(" ")}: ${result.stdout}${result.stderr}`);
    return result.stdout;
  }
  const { host, port } = gateway.kubernetes ?? { host: "", port: 0 };
  const address = `https://${host}:${port}/prod`;
  const all = parts.move();
  return {
    ...{ cluster, gateway, provider, kubelet, folder, address },
    async delegate(person, actor, actions, resources, more = []) {
      const given = ["delegate", "--actor", actor, "--target", "prod", "--account", "*"];
      const out = await run(await homeOf(person), [
        ...[...given, "--actions", ...actions.split(","), "--resources", ...resources.split(",")],
        ...["--ttl", "1h", "--handle", ...more],
      ]);
      return (JSON.parse(out) as { access_token: string }).access_token;
    },
    homeOf,
    as: async (person, args) => await run(await homeOf(person), args),
    kubeconfig(token, direct = false) {
      const server = direct ? cluster.server : address;
      const ca = direct ? file("cluster-ca-client.pem", cluster.ca) : gateway.caFile;
      return file(
        `kubeconfig-${randomBytes(4).toString("hex")}`,
        kubeconfigText(server, ca, token),
      );
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function kubeconfigText(server: string, caFile: string, token: string): string {
  return JSON.stringify({
    ...{ apiVersion: "v1", kind: "Config", "current-context": "here" },
    clusters: [{ name: "here", cluster: { server, "certificate-authority": caFile } }],
    users: [{ name: "me", user: { token } }],
    contexts: [{ name: "here", context: { cluster: "here", user: "me", namespace: "shop" } }],
  });
}

const APPROVERS = `
@id("cluster-operators-approve")
permit (principal in Custody::Group::"corp/operators", action == Custody::Action::"approve", resource);
`;

/** Rights of the gateway and of those it impersonates, and a namespace with something in it. */
async function prepareCluster(cluster: TestCluster): Promise<void> {
  const { call } = cluster;
  const rbac = "/apis/rbac.authorization.k8s.io/v1";
  const metadata = (name: string) => ({ name });
  await call("POST", `${rbac}/clusterroles`, {
    metadata: metadata("custody-impersonate"),
    rules: [
      { apiGroups: [""], resources: ["users", "groups"], verbs: ["impersonate"] },
      {
        apiGroups: ["authentication.k8s.io"],
        resources: [
          "userextras/custody-chain",
          "userextras/custody-delegation",
          "userextras/custody-session",
        ],
        verbs: ["impersonate"],
      },
    ],
  });
  const bind = (name: string, role: string, kind: string, subject: string) =>
    call("POST", `${rbac}/clusterrolebindings`, {
      metadata: metadata(name),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind, name: subject }],
    });
  await bind("custody-impersonate", "custody-impersonate", "User", "gateway-sa");
  await bind("custody-editors", "cluster-admin", "Group", "custody:editors");
  await call("POST", "/api/v1/namespaces", { metadata: metadata("shop") });
}

/** A node where our kubelet is, and a pod that runs on it. */
async function preparePod({ call }: TestCluster, kubeletPort: number): Promise<void> {
  const now = new Date().toISOString();
  await call("POST", "/api/v1/nodes", { metadata: { name: "n1" } });
  await call("PUT", "/api/v1/nodes/n1/status", {
    ...{ apiVersion: "v1", kind: "Node", metadata: { name: "n1" } },
    status: {
      addresses: [{ type: "InternalIP", address: "127.0.0.1" }],
      daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } },
      conditions: [{ type: "Ready", status: "True" }],
    },
  });
  await call("POST", "/api/v1/namespaces/shop/pods", {
    metadata: { name: "web-1", labels: { app: "web" } },
    spec: {
      nodeName: "n1",
      containers: [
        { name: "web", image: "web:1", env: [{ name: "PLAIN", value: "not a secret, they say" }] },
      ],
    },
  });
  await call("PATCH", "/api/v1/namespaces/shop/pods/web-1/status", {
    status: {
      phase: "Running",
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: [
        {
          ...{ name: "web", image: "web:1", imageID: "", ready: true, restartCount: 0 },
          ...{ containerID: "test://web", state: { running: { startedAt: now } } },
        },
      ],
    },
  });
}
