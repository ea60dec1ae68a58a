// Kubernetes through the gateway against the API server direct, `kubectl proxy` and nginx where this machine
// has one (Debian's, or the one CUSTODY_NGINX names), all in one run: `npm run bench:kubernetes [-- --json]`;
// the words gets, lists, memory, watches and execs choose, `--watches=` how many. nginx speaks TLS to both sides, as
// the gateway does. Figures of a small machine on which the API server, the gateway and the clients share the cores;
// the ratios count.
// CUSTODY_PROFILE names a folder for a profile of the gateway (`--cpu-prof`).

import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Agent, request } from "undici";
import { kubectls, runKubectl } from "../conformance/kubernetes/clients.ts";
import { type KubernetesStage, openKubernetesStage } from "../conformance/kubernetes/stage.ts";
import { createTestAuthority } from "../conformance/support/certificates.ts";
import { freePort } from "../conformance/support/free-port.ts";
import { clusterProblem } from "../conformance/support/kubernetes-server.ts";
import { startWatched } from "../conformance/support/watched-process.ts";
import { watchRows } from "./kubernetes-watches.ts";
import { median, printRows, type Row } from "./rows.ts";

const RUNS = 3;
const GET_MS = 1500;
const CLIENTS = 8;
const WATCHES = Number(
  process.argv.find((word) => word.startsWith("--watches="))?.slice("--watches=".length) ?? 1000,
);
const NGINX = process.env.CUSTODY_NGINX ?? "/usr/sbin/nginx";

interface Peer {
  readonly name: string;
  /** Up to where the API's paths begin. */
  readonly base: string;
  readonly agent: Agent;
  readonly token: string | undefined;
  /** Of what is between, whose processor time is counted. */
  readonly pid: number | undefined;
}

const problem = clusterProblem();
if (problem !== undefined) {
  process.stdout.write(`${problem}\n`);
  process.exit(0);
}
const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const wants = (word: string) => words.length === 0 || words.includes(word);
const { CUSTODY_PROFILE: profile } = process.env;
await using stage = await openKubernetesStage({
  configuration: "limits: { connections: 6000 }",
  ...(profile === undefined
    ? {}
    : { env: { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profile}` } }),
});
await using parts = new AsyncDisposableStack();
const { cluster } = stage;
const handle = await stage.delegate("engineer", "bench", "k8s:data", "*");
const agentOf = (ca: string | undefined) =>
  parts.adopt(
    new Agent({
      connections: 2000,
      allowH2: false,
      ...(ca === undefined ? {} : { connect: { ca } }),
    }),
    (one) => one.destroy(),
  );
const direct: Peer = {
  name: "direct",
  base: cluster.server,
  agent: agentOf(cluster.ca),
  token: cluster.adminToken,
  pid: undefined,
};
const gatewayCa = readFileSync(stage.gateway.caFile, "utf8");
const custody: Peer = {
  name: "custody",
  base: stage.address,
  agent: agentOf(gatewayCa),
  token: handle,
  pid: stage.gateway.pid,
};
const peers = [direct, ...(await startProxies(stage))];
await fill();
const rows: Row[] = [];
if (wants("gets")) rows.push(...(await gets()));
if (wants("lists")) rows.push(...(await lists()));
if (wants("watches"))
  rows.push(
    ...(await watchRows({
      cluster,
      custody: { base: custody.base, ca: gatewayCa, token: handle },
      direct: { base: direct.base, ca: cluster.ca, token: cluster.adminToken },
      watches: WATCHES,
    })),
  );
if (wants("memory")) rows.push(await memory());
if (wants("execs")) rows.push(...(await execs()));
if (!peers.some(({ name }) => name === "nginx"))
  process.stderr.write(`no row of nginx: there is none at ${NGINX} (CUSTODY_NGINX names one)\n`);
printRows(rows, process.argv.includes("--json"));

/** 10 MB of configmaps and 10 MB of Secrets, in namespaces of their own. */
async function fill(): Promise<void> {
  for (const [namespace, kind, value] of [
    ["plain", "configmaps", () => randomBytes(37_500).toString("base64")],
    [
      "secret",
      "secrets",
      () => Buffer.from(randomBytes(28_100).toString("base64")).toString("base64"),
    ],
  ] as const) {
    await cluster.call("POST", "/api/v1/namespaces", { metadata: { name: namespace } });
    for (let index = 0; wants("lists") && index < 200; index++)
      await cluster.call("POST", `/api/v1/namespaces/${namespace}/${kind}`, {
        metadata: { name: `o${index}` },
        data: { value: value() },
      });
  }
  await cluster.call("POST", "/api/v1/namespaces/shop/configmaps", {
    metadata: { name: "small" },
    data: { a: "b" },
  });
}

async function get({ agent, base, token }: Peer, path: string): Promise<number> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (token !== undefined) headers.authorization = `Bearer ${token}`;
  // Not `fetch`: what the client costs every peer makes them look alike.
  const answer = await request(base + path, { dispatcher: agent, headers });
  const bytes = (await answer.body.arrayBuffer()).byteLength;
  if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode}`);
  return bytes;
}

async function gets(): Promise<Row[]> {
  const path = "/api/v1/namespaces/shop/configmaps/small";
  const costs = new Map<string, number[]>();
  const rate = async (peer: Peer) => {
    let count = 0;
    const before = processorUs(peer);
    const untilMs = performance.now() + GET_MS;
    await Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        while (performance.now() < untilMs) {
          await get(peer, path);
          count++;
        }
      }),
    );
    const cost = (processorUs(peer) - before) / count;
    costs.set(peer.name, [...(costs.get(peer.name) ?? []), cost]);
    return (count * 1000) / GET_MS;
  };
  const rows = await compare(`small gets, ${CLIENTS} clients`, "gets/s", peers, rate);
  const value = median(costs.get("custody") ?? []);
  for (const { name, pid } of peers)
    if (pid !== undefined)
      rows.push({
        ...{ name: "processor time of a small get", unit: "us", value, against: name, runs: RUNS },
        ratio: value / median(costs.get(name) ?? []),
      });
  return rows;
}

/** Of its process so far, in its own code and the kernel's (proc(5), ticks of 10 ms); 0 where none is between. */
function processorUs({ pid }: Peer): number {
  if (pid === undefined) return 0;
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

async function lists(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [what, path] of [
    ["list of 10 MB, nothing masked", "/api/v1/namespaces/plain/configmaps"],
    ["list of 10 MB, all of it masked", "/api/v1/namespaces/secret/secrets"],
  ] as const) {
    const rate = async (peer: Peer) => {
      const begun = performance.now();
      await get(peer, path);
      return 1000 / (performance.now() - begun);
    };
    rows.push(...(await compare(what, "lists/s", peers, rate)));
  }
  return rows;
}

async function compare(
  name: string,
  unit: string,
  others: readonly Peer[],
  measure: (peer: Peer) => Promise<number>,
): Promise<Row[]> {
  const values = new Map<string, number[]>();
  for (const peer of [custody, ...others]) await measure(peer);
  for (let run = 0; run < RUNS; run++)
    for (const peer of [custody, ...others])
      values.set(peer.name, [...(values.get(peer.name) ?? []), await measure(peer)]);
  const value = median(values.get("custody") ?? []);
  return others.map((peer) => ({
    ...{ name, unit, value, against: peer.name, runs: RUNS },
    ratio: value / median(values.get(peer.name) ?? []),
  }));
}

/** How much more memory the gateway has while it hands on a list of 100 MB, masked. */
async function memory(): Promise<Row> {
  const resident = () => {
    const [, kilobytes] =
      /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${stage.gateway.pid}/status`, "utf8")) ?? [];
    return Number(kilobytes) / 1024;
  };
  const value = randomBytes(600_000).toString("base64");
  await cluster.call("POST", "/api/v1/namespaces", { metadata: { name: "large" } });
  for (let index = 0; index < 126; index++)
    await cluster.call("POST", "/api/v1/namespaces/large/secrets", {
      metadata: { name: `o${index}` },
      data: { value },
    });
  const before = resident();
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, resident());
  }, 20);
  await get(custody, "/api/v1/namespaces/large/secrets");
  clearInterval(timer);
  return {
    ...{ name: "list of 100 MB, all of it masked", unit: "MB more", value: most - before },
    ...{ against: "before", ratio: undefined, runs: 1 },
  };
}

async function execs(): Promise<Row[]> {
  const kubectl = kubectls().at(-1);
  if (kubectl === undefined) return [];
  const configs = {
    custody: stage.kubeconfig(handle),
    direct: stage.kubeconfig(cluster.adminToken, true),
  };
  const rate = async (peer: Peer) => {
    const begun = performance.now();
    const ran = await runKubectl(
      kubectl,
      peer.name === "custody" ? configs.custody : configs.direct,
      ["exec", "web-1", "--", "ls", "/"],
    );
    if (ran.code !== 0) throw new Error(ran.stderr);
    return 1000 / (performance.now() - begun);
  };
  return compare(`kubectl ${kubectl.version} exec`, "execs/s", [direct], rate);
}

async function startProxies({ folder, kubeconfig }: KubernetesStage): Promise<Peer[]> {
  const found: Peer[] = [];
  const kubectl = kubectls().at(-1);
  const start = (command: readonly string[]) => {
    const started = parts.use(
      startWatched(command, { env: { HOME: folder, PATH: "/usr/bin:/bin" }, cwd: folder }),
    );
    started.child.stdout?.resume();
    started.child.stderr?.resume();
    return started.pid;
  };
  if (kubectl !== undefined) {
    const port = await freePort();
    const pid = start([
      kubectl.program,
      "--kubeconfig",
      kubeconfig(cluster.adminToken, true),
      "proxy",
      `--port=${port}`,
    ]);
    found.push({
      name: "kubectl proxy",
      base: `http://127.0.0.1:${port}`,
      agent: agentOf(undefined),
      token: undefined,
      pid: await pid,
    });
  }
  if (existsSync(NGINX)) {
    const port = await freePort();
    const authority = createTestAuthority("Throw-away CA of a benchmark");
    const { cert, key } = authority.issue(["127.0.0.1"]);
    writeFileSync(join(folder, "nginx.pem"), cert);
    writeFileSync(join(folder, "nginx.key"), key, { mode: 0o600 });
    writeFileSync(join(folder, "nginx.conf"), nginxConf(folder, port));
    const pid = start([
      NGINX,
      "-p",
      folder,
      "-e",
      join(folder, "nginx.log"),
      "-c",
      join(folder, "nginx.conf"),
    ]);
    found.push({
      name: "nginx",
      base: `https://127.0.0.1:${port}`,
      agent: agentOf(authority.cert),
      token: cluster.adminToken,
      pid: await pid,
    });
  }
  await new Promise((resolve) => setTimeout(resolve, 1500));
  return found;
}

function nginxConf(folder: string, port: number): string {
  return `daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log; worker_processes 1;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000;
  upstream api { server ${cluster.server.replace("https://", "")}; keepalive 32; keepalive_requests 1000000; }
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/nginx-${name};`).join(" ")}
  server { listen 127.0.0.1:${port} ssl;
    ssl_certificate ${folder}/nginx.pem; ssl_certificate_key ${folder}/nginx.key;
    location / { proxy_pass https://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_ssl_session_reuse on; } } }
`;
}
