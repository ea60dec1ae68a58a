// A real API server with etcd on loopback, as kubernetes/build-apiserver.ts built them: RBAC, bearer
// tokens of a file, an audit log. There are no controllers and no kubelet; kubelet.ts is one of ours.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, fetch } from "undici";
import { builtPrograms } from "../kubernetes/build-apiserver.ts";
import { createTestAuthority } from "./certificates.ts";
import { freePort, onFreePorts, saysTaken } from "./free-port.ts";
import { startWatched } from "./watched-process.ts";

export interface TestCluster extends AsyncDisposable {
  /** `https://127.0.0.1:<port>` */
  readonly server: string;
  /** PEM of the authority of its certificate. */
  readonly ca: string;
  /** A member of system:masters. */
  readonly adminToken: string;
  /** `gateway-sa`, a user with no rights but those that are given to it. */
  readonly gatewayToken: string;
  /** As the administrator; undefined when the answer is no JSON. Throws for a status of 400 and more. */
  call(method: string, path: string, body?: unknown): Promise<unknown>;
  /** Requests as the cluster's own audit log has them. */
  audited(): readonly AuditEvent[];
}

export interface AuditEvent {
  readonly auditID: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
  readonly impersonatedUser?: {
    readonly username: string;
    readonly groups?: readonly string[];
    readonly extra?: Readonly<Record<string, readonly string[]>>;
  };
}

const READY_MS = 180_000;
/** Of what a program said last. */
const MAX_SAID = 4096;

/** What is missing here to start one; undefined: nothing. */
export function clusterProblem(): string | undefined {
  if (builtPrograms() !== null) return undefined;
  return "no API server is built: node conformance/kubernetes/build-apiserver.ts";
}

export interface ClusterOptions {
  /** More flags of the API server; lists it has already are added to. */
  readonly flags?: readonly string[];
  /** `RBAC` where it is left out. */
  readonly authorization?: string;
  /** true: with a controller manager, where one is built. */
  readonly controllers?: boolean;
}

export function startCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  return onFreePorts(
    () => startOnFreePorts(options),
    (error) => error instanceof EndedEarly && saysTaken(error.message),
  );
}

class EndedEarly extends Error {}

async function startOnFreePorts(options: ClusterOptions): Promise<TestCluster> {
  const programs = builtPrograms();
  if (programs === null) throw new Error(clusterProblem());
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-cluster-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const [etcdPort, peerPort, port] = [await freePort(), await freePort(), await freePort()];
  const { promise: ended, reject } = Promise.withResolvers<never>();
  ended.catch(() => undefined);
  const start = (command: readonly string[]): void => {
    const { child, exited } = parts.use(
      startWatched(command, { env: { PATH: "", HOME: folder }, cwd: folder }),
    );
    let said = "";
    child.stdout?.resume();
    child.stderr?.on("data", (chunk) => {
      said = `${said}${chunk}`.slice(-MAX_SAID);
    });
    exited.then((code) => reject(new EndedEarly(`${command[0]} ended with ${code}:\n${said}`)));
  };
  const etcd = `http://127.0.0.1:${etcdPort}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  mkdirSync(join(folder, "etcd"), { mode: 0o700 });
  start([
    ...[programs.etcd, "--data-dir", join(folder, "etcd"), "--unsafe-no-fsync"],
    ...["--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--log-level", "error"],
    ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
    ...["--initial-cluster", `default=${peer}`],
  ]);
  const authority = createTestAuthority("Throw-away CA of a test cluster");
  const own = authority.issue(["localhost", "127.0.0.1"]);
  const accountKey = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const keyFile = file("sa.key", accountKey.export({ type: "pkcs1", format: "pem" }).toString());
  const [adminToken, gatewayToken] = [newToken(), newToken()];
  const auditLog = join(folder, "audit.log");
  const server = `https://127.0.0.1:${port}`;
  start([
    programs.apiServer,
    `--etcd-servers=${etcd}`,
    ...["--bind-address=127.0.0.1", `--secure-port=${port}`, "--advertise-address=127.0.0.1"],
    `--cert-dir=${folder}`,
    `--tls-cert-file=${file("server.pem", own.cert)}`,
    `--tls-private-key-file=${file("server.key", own.key)}`,
    `--token-auth-file=${file(
      "tokens.csv",
      `${adminToken},admin,1,"system:masters"\n${gatewayToken},gateway-sa,2,"gateways"\n`,
    )}`,
    `--authorization-mode=${options.authorization ?? "RBAC"}`,
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    ...[`--service-account-key-file=${keyFile}`, `--service-account-signing-key-file=${keyFile}`],
    ...["--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount"],
    `--audit-policy-file=${file("audit.yaml", AUDIT_POLICY)}`,
    `--audit-log-path=${auditLog}`,
    "--kubelet-preferred-address-types=InternalIP",
    "--enable-priority-and-fairness=false",
    ...(options.flags ?? []),
  ]);
  const agent = new Agent({ connect: { ca: authority.cert } });
  parts.defer(() => agent.destroy());
  const call = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const answer = await fetch(server + path, {
      method,
      dispatcher: agent,
      headers: {
        authorization: `Bearer ${adminToken}`,
        "content-type": method === "PATCH" ? "application/merge-patch+json" : "application/json",
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text.startsWith("{") ? JSON.parse(text) : undefined;
  };
  await untilReady(() => Promise.race([ended, call("GET", "/readyz")]));
  await untilReady(() => Promise.race([ended, call("GET", "/api/v1/namespaces/default")]));
  if (options.controllers === true && programs.controllerManager !== null)
    start([
      ...[programs.controllerManager, "--bind-address=127.0.0.1", "--leader-elect=false"],
      ...[`--secure-port=${await freePort()}`, `--cert-dir=${folder}`],
      `--kubeconfig=${file("controllers.json", kubeconfigOf(server, authority.cert, adminToken))}`,
    ]);
  const all = parts.move();
  return {
    ...{ server, ca: authority.cert, adminToken, gatewayToken, call },
    audited: () => (existsSync(auditLog) ? readAudit(readFileSync(auditLog, "utf8")) : []),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function kubeconfigOf(server: string, ca: string, token: string): string {
  const authority = Buffer.from(ca).toString("base64");
  return JSON.stringify({
    ...{ apiVersion: "v1", kind: "Config", "current-context": "here" },
    clusters: [{ name: "here", cluster: { server, "certificate-authority-data": authority } }],
    users: [{ name: "me", user: { token } }],
    contexts: [{ name: "here", context: { cluster: "here", user: "me" } }],
  });
}

const AUDIT_POLICY = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{ level: Metadata }]
`;

function readAudit(text: string): AuditEvent[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as AuditEvent);
}

async function untilReady(isReady: () => Promise<unknown>): Promise<void> {
  const untilMs = Date.now() + READY_MS;
  for (;;) {
    try {
      await isReady();
      return;
    } catch (error) {
      if (error instanceof EndedEarly || Date.now() > untilMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

function newToken(): string {
  return randomBytes(24).toString("base64url");
}
