// Against an HTTPS server that keeps Secrets and gives tokens as an API server does; what a real one makes of a
// token after its session is conformance/kubernetes/bound-tokens.ts.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createTestAuthority } from "../../../../conformance/support/certificates.ts";
import { systemClock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import type { Chain } from "../../delegation/chain.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { createKubernetesBroker, type KubernetesBroker } from "./session-credentials.ts";

const authority = createTestAuthority();
const certificate = authority.issue(["127.0.0.1"]);
const WAIT_MS = 30_000;
const SECRETS = "/api/v1/namespaces/agents/secrets";
const TOKEN = "/api/v1/namespaces/agents/serviceaccounts/worker/token";

interface Asked {
  readonly spec?: { readonly expirationSeconds?: number; readonly boundObjectRef?: unknown };
  readonly metadata?: { readonly name: string };
}

async function openApi() {
  const secrets = new Map<string, string>();
  const tokens: unknown[] = [];
  let connections = 0;
  const api = {
    ...{ secrets, tokens, refuses: "", ignoresBinding: false, givesSeconds: 0 },
    /** Before a Secret is made. */
    making: async () => {},
    connections: () => connections,
  };
  const reply = (method: string, path: string, { spec, metadata }: Asked) => {
    if (api.refuses !== "" && `${method} ${path}`.startsWith(api.refuses)) return { status: 403 };
    if (method === "POST" && path === SECRETS && metadata !== undefined) {
      const uid = `uid-${metadata.name}`;
      secrets.set(metadata.name, uid);
      return { status: 201, value: { metadata: { name: metadata.name, uid } } };
    }
    if (method === "POST" && path === TOKEN && spec !== undefined) {
      const { boundObjectRef, expirationSeconds } = spec;
      const given = {
        ...(api.ignoresBinding ? {} : { boundObjectRef }),
        expirationSeconds: api.givesSeconds || expirationSeconds,
      };
      tokens.push(boundObjectRef);
      return { status: 201, value: { spec: given, status: { token: `token-${tokens.length}` } } };
    }
    const name = path.slice(SECRETS.length + 1);
    if (method !== "DELETE" || !secrets.has(name)) return { status: 404 };
    secrets.delete(name);
    return { status: 200, value: { kind: "Status", status: "Success" } };
  };
  const server = createServer(certificate, async (request, answer) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const text = Buffer.concat(parts).toString();
    const { method = "", url = "" } = request;
    if (method === "POST" && url === SECRETS) await api.making();
    const isKnown = request.headers.authorization === "Bearer own";
    const replied = isKnown
      ? reply(method, url, JSON.parse(text === "" ? "{}" : text) as Asked)
      : { status: 401 };
    answer.writeHead(replied.status, { "content-type": "application/json" });
    answer.end(JSON.stringify(replied.value ?? { kind: "Status" }));
  });
  server.on("secureConnection", () => connections++);
  const listen = (port: number) =>
    new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
  return {
    ...{ api, close, reopen: () => listen(port) },
    address: `https://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: close,
  };
}

function openFolder() {
  const folder = mkdtempSync(join(tmpdir(), "custody-bound-"));
  const caFile = join(folder, "ca.pem");
  writeFileSync(caFile, authority.cert);
  return {
    ...{ caFile, path: join(folder, "bound") },
    files: () => readdirSync(join(folder, "bound")),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

type Folder = ReturnType<typeof openFolder>;

function brokerIn(folder: Folder, logged: string[] = []): KubernetesBroker {
  return createKubernetesBroker({
    ...{ folder: folder.path, instance: "abc234", clock: systemClock, timeoutMs: WAIT_MS },
    ...{ retryMs: 5, log: (message) => logged.push(message) },
    resolveSecret: async () => new Secret("own"),
  });
}

function targetAt(server: string, { caFile }: Folder, isBound = true): KubernetesTarget {
  return {
    ...{ protocol: "kubernetes", name: "prod", server, caFile, fields: [], tags: {} },
    preview: "none",
    accounts: [
      {
        name: "agents",
        credential: {
          ...{ kind: "service-account", namespace: "agents", serviceAccount: "worker", isBound },
          token: { from: "env", name: "OWN" },
        },
        impersonate: undefined,
      },
    ],
  };
}

/** Nothing of it is read: the account impersonates nobody. */
const chain = { hops: [] } as unknown as Chain;

const leaseOf = (broker: KubernetesBroker, target: KubernetesTarget, sessionId = "s-one") =>
  broker.lease({
    ...{ sessionId, target, chain, account: "agents" },
    expiresAtMs: Date.now() + 3_600_000,
  });

async function until(condition: () => boolean, what: string): Promise<void> {
  for (const untilMs = Date.now() + WAIT_MS; !condition(); await delay(5))
    assert.ok(Date.now() < untilMs, what);
}

describe("tokens bound to their session", () => {
  it("are bound to a Secret of their own, which ends with the session", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using broker = brokerIn(folder);
    const lease = await leaseOf(broker, targetAt(server.address, folder));
    const name = "custody-abc234-one";
    assert.deepEqual([...server.api.secrets.keys()], [name]);
    assert.deepEqual(folder.files(), [name]);
    const uid = `uid-${name}`;
    assert.deepEqual(server.api.tokens, [{ apiVersion: "v1", kind: "Secret", name, uid }]);
    await Promise.all([lease.release(), lease.release()]);
    assert.equal(server.api.secrets.size, 0);
    assert.deepEqual(folder.files(), []);
  });

  it("end before anything else when a crowd is revoked, on few connections", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using broker = brokerIn(folder);
    const target = targetAt(server.address, folder);
    const ids = Array.from({ length: 60 }, (_, index) => `s-crowd${index}`);
    for (const id of ids) await leaseOf(broker, target, id);
    const before = server.api.connections();
    await broker.endBackends(ids);
    assert.equal(server.api.secrets.size, 0);
    assert.ok(server.api.connections() - before <= 16, `${server.api.connections() - before}`);
  });

  it("are not left of a session that ends while its Secret is made", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using broker = brokerIn(folder);
    server.api.making = () => broker.endBackends(["s-one"]);
    await assert.rejects(leaseOf(broker, targetAt(server.address, folder)), GatewayError);
    await until(() => folder.files().length === 0, "what it was bound to is deleted");
    assert.deepEqual([...server.api.secrets.keys()], []);
    assert.deepEqual(server.api.tokens, [], "no token was asked for");
  });

  it("are ended as soon as the API server is there again", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using broker = brokerIn(folder);
    const lease = await leaseOf(broker, targetAt(server.address, folder));
    await server.close();
    await lease.release();
    assert.equal(server.api.secrets.size, 1);
    assert.equal(folder.files().length, 1);
    await server.reopen();
    await until(() => server.api.secrets.size === 0, "it was not tried again");
    await until(() => folder.files().length === 0, "it is not forgotten");
  });

  it("are ended one by one where one is refused", async () => {
    await using server = await openApi();
    using folder = openFolder();
    const logged: string[] = [];
    await using broker = brokerIn(folder, logged);
    const target = targetAt(server.address, folder);
    for (const id of ["s-1", "s-2", "s-3"]) await leaseOf(broker, target, id);
    server.api.refuses = `DELETE ${SECRETS}/custody-abc234-1`;
    await broker.endBackends(["s-1", "s-2", "s-3"]);
    assert.deepEqual([...server.api.secrets.keys()], ["custody-abc234-1"]);
    assert.match(logged[0] ?? "", /1 Secrets of ended sessions stay on prod/);
    server.api.refuses = "";
    await until(() => server.api.secrets.size === 0, "it was not tried again");
  });

  it("of a run that was killed are ended by the next, and those of this run are not", async () => {
    await using server = await openApi();
    using folder = openFolder();
    const target = targetAt(server.address, folder);
    await using killed = brokerIn(folder);
    await leaseOf(killed, target, "s-before");
    await using broker = brokerIn(folder);
    await leaseOf(broker, target, "s-now");
    const targets = new Map([["prod", target]]);
    await broker.clearLeftovers(targets);
    assert.deepEqual([...server.api.secrets.keys()], ["custody-abc234-now"]);
    assert.deepEqual(folder.files(), ["custody-abc234-now"]);
  });

  it("of a target that is no more are told of once; what was cut off while written is nothing", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using killed = brokerIn(folder);
    await leaseOf(killed, targetAt(server.address, folder), "s-before");
    writeFileSync(join(folder.path, "custody-abc234-cut"), '{"target":"pr');
    const logged: string[] = [];
    await using broker = brokerIn(folder, logged);
    await broker.clearLeftovers(new Map());
    assert.deepEqual(logged, [
      "the Secret custody-abc234-before is left in agents of prod, which has changed",
    ]);
    assert.deepEqual(folder.files(), []);
  });

  it("are not had where no Secret can be made, no token given, or none that is bound", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using broker = brokerIn(folder);
    const target = targetAt(server.address, folder);
    const unavailable = (error: GatewayError) => error.code === "target_unavailable";
    server.api.refuses = `POST ${SECRETS}`;
    await assert.rejects(leaseOf(broker, target, "s-1"), unavailable);
    server.api.refuses = `POST ${TOKEN}`;
    await assert.rejects(leaseOf(broker, target, "s-2"), unavailable);
    server.api.refuses = "";
    server.api.ignoresBinding = true;
    await assert.rejects(leaseOf(broker, target, "s-3"), unavailable);
    await until(() => server.api.secrets.size === 0, "a Secret stays without a session");
    await until(() => folder.files().length === 0, "it is not forgotten");
  });

  it("say when they are over, by what the API server gave and not what it was asked for", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using broker = brokerIn(folder);
    server.api.givesSeconds = 900;
    const begunMs = Date.now();
    const { credential } = await leaseOf(broker, targetAt(server.address, folder));
    assert.ok(credential.kind === "kubernetes" && credential.untilMs !== undefined);
    assert.ok(credential.untilMs >= begunMs + 900_000 && credential.untilMs < begunMs + 3_000_000);
  });

  it("are plain ones where the configuration says so", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using broker = brokerIn(folder);
    const lease = await leaseOf(broker, targetAt(server.address, folder, false));
    assert.deepEqual(server.api.tokens, [undefined]);
    assert.equal(server.api.secrets.size, 0);
    await lease.release();
  });

  it("are not asked for when the data folder cannot be written", async () => {
    await using server = await openApi();
    using folder = openFolder();
    await using broker = brokerIn(folder);
    rmSync(folder.path, { recursive: true });
    await assert.rejects(
      leaseOf(broker, targetAt(server.address, folder)),
      (error: unknown) => error instanceof GatewayError && error.code === "dependency_unavailable",
    );
    assert.equal(server.api.secrets.size, 0);
  });
});
