// Tokens of service accounts made for sessions, on a real API server: with no more rights than `custody kubernetes
// rbac` prints, and taken from the wire between the gateway and the API server, where nobody should be.

import assert from "node:assert/strict";
import { createServer, request as httpsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Agent, fetch } from "undici";
import { createTestAuthority } from "../support/certificates.ts";
import { runCustody } from "../support/command-line.ts";
import { restartGateway } from "../support/gateway.ts";
import { type Kubectl, runKubectl } from "./clients.ts";
import { type KubernetesStage, openKubernetesStage } from "./stage.ts";

/** An API server remembers a token it accepted for ten seconds (TokenSuccessCacheTTL). */
const WAIT_MS = 60_000;
const NAMESPACE = "agents";
const CONFIGMAPS = `/api/v1/namespaces/${NAMESPACE}/configmaps`;
const SECRETS = `/api/v1/namespaces/${NAMESPACE}/secrets`;

/** What stands between the gateway and the API server, and reads every token. */
async function openWire() {
  const authority = createTestAuthority("Throw-away CA of somebody on the wire");
  const tokens = new Set<string>();
  let behind = { host: "", port: 0, ca: "" };
  const server = createServer(authority.issue(["127.0.0.1"]), (request, answer) => {
    const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? "") ?? [];
    if (token !== undefined) tokens.add(token);
    const { headers, method, url: path } = request;
    const onward = httpsRequest({ ...behind, headers, method, path }, (given) => {
      answer.writeHead(given.statusCode ?? 502, given.headers);
      given.pipe(answer);
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    ...{ ca: authority.cert, tokens },
    address: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    leadsTo(url: string, ca: string) {
      const { hostname, port } = new URL(url);
      behind = { host: hostname, port: Number(port), ca };
    },
    [Symbol.dispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A stage of its own: the gateway is killed on it. */
export async function boundTokens(kubectl: Kubectl): Promise<void> {
  using wire = await openWire();
  await using stage = await openKubernetesStage({
    files: { "wire-ca.pem": wire.ca },
    // A target beside the one that is there.
    configuration: `  bound:
    kubernetes:
      server: ${wire.address}
      caFile: ./../wire-ca.pem
      accounts:
        worker:
          credential:
            serviceAccount: { namespace: ${NAMESPACE}, name: worker, token: "file:./../token" }
    tags: { env: test }
`,
  });
  const { cluster, gateway } = stage;
  wire.leadsTo(cluster.server, cluster.ca);
  await prepare(stage, kubectl);
  const agent = new Agent({ connect: { ca: cluster.ca } });
  await using _agent = { [Symbol.asyncDispose]: () => agent.destroy() };
  /** As whoever has the token and goes to the API server itself. */
  const direct = async (token: string) => {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(cluster.server + CONFIGMAPS, { headers, dispatcher: agent });
    await answer.body?.cancel();
    return answer.status;
  };
  const refused = async (token: string) => {
    for (const untilMs = Date.now() + WAIT_MS; (await direct(token)) !== 401; await delay(250))
      assert.ok(Date.now() < untilMs, "a token is taken after its session has ended");
  };
  const begun = async (actor: string) => {
    const before = new Set(wire.tokens);
    const { handle, id } = await delegated(stage, actor);
    const through = new Agent({ connect: { rejectUnauthorized: false } });
    const at = stage.address.replace(/prod$/, "bound");
    const answer = await fetch(at + CONFIGMAPS, {
      headers: { authorization: `Bearer ${handle}` },
      dispatcher: through,
    });
    assert.equal(answer.status, 200, await answer.text());
    await through.destroy();
    const token = [...wire.tokens].find((one) => !before.has(one) && one !== cluster.gatewayToken);
    assert.ok(token !== undefined, "no token was seen on the wire");
    return { id, token };
  };

  const [one, other] = [await begun("one"), await begun("other")];
  assert.equal(await direct(one.token), 200);
  assert.deepEqual(await named(stage), [boundTo(one.token), boundTo(other.token)].sort());
  await stage.as("engineer", ["revoke", one.id]);
  await refused(one.token);
  assert.equal(await direct(other.token), 200, "a session ended another's token");
  assert.deepEqual(await named(stage), [boundTo(other.token)]);

  // A gateway that is killed ends nothing; the next one does.
  gateway.process.child.kill("SIGKILL");
  await gateway.process.exited;
  assert.equal(await direct(other.token), 200);
  await using _next = await restartGateway(`${stage.folder}/gateway`);
  await refused(other.token);
  assert.deepEqual(await named(stage), []);
}

/** What `custody kubernetes rbac` prints, for the user that the gateway is here; and something to read. */
async function prepare(
  { cluster, gateway, kubeconfig, folder }: KubernetesStage,
  kubectl: Kubectl,
) {
  const { call } = cluster;
  const metadata = (name: string) => ({ name, namespace: NAMESPACE });
  await call("POST", "/api/v1/namespaces", { metadata: { name: NAMESPACE } });
  await call("POST", `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`, {
    metadata: metadata("worker"),
  });
  const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${NAMESPACE}`;
  await call("POST", `${rbac}/roles`, {
    metadata: metadata("reads"),
    rules: [{ apiGroups: [""], resources: ["configmaps"], verbs: ["list"] }],
  });
  await call("POST", `${rbac}/rolebindings`, {
    metadata: metadata("reads"),
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "reads" },
    subjects: [{ kind: "ServiceAccount", name: "worker", namespace: NAMESPACE }],
  });
  const printed = await runCustody(
    ["kubernetes", "rbac", "bound", "worker", "--config", gateway.configFile],
    { home: folder },
  );
  assert.equal(printed.exitCode, 0, printed.stderr);
  const subject = "{ kind: ServiceAccount, name: custody-gateway, namespace: custody }";
  assert.ok(printed.stdout.includes(subject), printed.stdout);
  const own = "{ kind: User, name: gateway-sa, apiGroup: rbac.authorization.k8s.io }";
  const input = printed.stdout.replaceAll(subject, own);
  const args = ["apply", "-f", "-"];
  const applied = await runKubectl(kubectl, kubeconfig(cluster.adminToken, true), args, { input });
  assert.equal(applied.code, 0, applied.stderr);
}

async function delegated(stage: KubernetesStage, actor: string) {
  const out = await stage.as("engineer", [
    ...["delegate", "--actor", actor, "--target", "bound", "--account", "*", "--ttl", "1h"],
    ...["--actions", "k8s:data", "--resources", "*", "--handle"],
  ]);
  const handle = (JSON.parse(out) as { access_token: string }).access_token;
  return { handle, id: `d-${/^cst_([a-z0-9]+)_/.exec(handle)?.[1]}` };
}

/** The names of the Secrets there. */
async function named({ cluster }: KubernetesStage): Promise<string[]> {
  const { items } = (await cluster.call("GET", SECRETS)) as {
    items: { metadata: { name: string }; data?: unknown }[];
  };
  assert.ok(items.every(({ data }) => data === undefined));
  return items.map(({ metadata }) => metadata.name).sort();
}

/** By the token's own claims. */
function boundTo(token: string): string {
  const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as {
    "kubernetes.io"?: { secret?: { name: string } };
  };
  return claims["kubernetes.io"]?.secret?.name ?? "nothing";
}
