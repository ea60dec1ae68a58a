import assert from "node:assert/strict";
import { connect as connectHttp2, constants } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { Agent, fetch } from "undici";
import { createTestAuthority } from "../../../../conformance/support/certificates.ts";
import type { Access, Decision } from "../../access/operation.ts";
import { issuePermit } from "../../access/permit.ts";
import type { LeafDraft } from "../../audit/journal.ts";
import { systemClock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import { loadGrammars } from "../../command/load-grammars.ts";
import type { Chain } from "../../delegation/chain.ts";
import type { Control, HoldRequest, SessionEvents } from "../../session/control.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { type KubernetesListener, listenKubernetes } from "./listener.ts";

// A light API server of canned answers; what they look like is held against the real one by
// `npm run conformance:kubernetes`. Control and access are doubles at the data side's two edges.

const authority = createTestAuthority();
const server = createHttpsServer(authority.issue(["127.0.0.1"]));
const seen: {
  method: string;
  url: string;
  headers: NodeJS.Dict<string | string[]>;
  body: string;
}[] = [];
let leaves: LeafDraft[] = [];
let verdict: "permit" | "deny" | "hold" = "permit";
/** False: with the verdict "hold" what only reads is permitted. */
let holdReads = true;
const sessions: SessionEvents[] = [];
const closed: string[] = [];
let listener: KubernetesListener;
let origin = "";
/** Short, and longer than a request takes on a loaded machine. */
const STARTUP_MS = 1500;
const barriers: string[] = [];
const held: HoldRequest[] = [];
const agent = new Agent({ connect: { ca: authority.cert }, allowH2: false });

server.on("request", async (request, answer) => {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  const { method = "", url = "", headers } = request;
  seen.push({ method, url, headers, body });
  const json = (status: number, value: unknown) => {
    answer.writeHead(status, { "content-type": "application/json" });
    answer.end(JSON.stringify(value));
  };
  if (url.includes("watch=")) {
    answer.writeHead(200, { "content-type": "application/json" });
    answer.write(
      `{"type":"ADDED","object":{"kind":"Secret","apiVersion":"v1","data":{"k":"czNjcjN0"}}}\n`,
    );
  } else if (url.includes("/secrets?limit=big")) {
    answer.writeHead(200, { "content-type": "application/json" });
    answer.write(`{"kind":"SecretList","apiVersion":"v1","metadata":{},"items":[`);
    for (let index = 0; index < 2000; index++)
      answer.write(
        `${index === 0 ? "" : ","}{"metadata":{"name":"s${index}"},"data":{"k":"czNjcjN0"}}`,
      );
    answer.end("]}");
  } else if (url.includes("/yaml")) {
    answer
      .writeHead(200, { "content-type": "application/yaml" })
      .end("kind: Secret\ndata: { k: czNjcjN0 }\n");
  } else if (url.includes("/unauthorized")) json(401, { kind: "Status", code: 401 });
  else if (url.includes("/elsewhere"))
    answer.writeHead(302, { location: "https://elsewhere/" }).end();
  else if (url.includes("/cut-late")) {
    answer.writeHead(200, { "content-type": "application/json" });
    answer.write(
      `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[${'{"a":1},'.repeat(30_000)}{"b":`,
    );
    setTimeout(() => answer.destroy(), 100);
  } else if (url.includes("/cut-early")) {
    answer.writeHead(200, { "content-type": "application/json" });
    answer.write(
      `{"kind":"SecretList","apiVersion":"v1","metadata":{},"items":[{"data":{"k":"czNj`,
    );
    setTimeout(() => answer.destroy(), 100);
  } else
    json(200, {
      kind: "Secret",
      apiVersion: "v1",
      metadata: { name: "s" },
      data: { k: "czNjcjN0" },
    });
});

const chain: Chain = {
  hops: [
    {
      ...{ delegationId: "d-1", id: "corp/ann", name: "ann", subject: "corp/1" },
      kind: "user",
      ...{
        groups: [],
        provenance: "attested",
        grant: undefined,
        expiresAtMs: Date.now() + 3_600_000,
      },
    },
  ],
};

const access: Access = {
  policyVersion: "v1",
  forget: () => undefined,
  authorize: (_subject, operation): Decision => {
    const obligations = {
      unmask: new Set<string>(),
      maxRows: undefined,
      maxBytes: undefined,
      timeoutMs: undefined,
    };
    const isRead = operation.effects.every(({ action }) => action === "k8s:get");
    if (verdict === "permit" || (verdict === "hold" && isRead && !holdReads))
      return {
        verdict: "permit",
        permit: issuePermit({ operation, obligations, policyIds: [], policyVersion: "v1" }),
      };
    if (verdict === "hold")
      return { verdict, requirements: [], what: operation.summary, policyVersion: "v1" };
    const denial = {
      kind: "forbidden" as const,
      what: operation.summary,
      policyId: "no",
      message: "not here",
      hop: 0,
      hopLabel: "depth 0",
    };
    return { verdict, denial, policyVersion: "v1" };
  },
  authorizeApproved: (subject, operation) => {
    verdict = "permit";
    return access.authorize(subject, operation);
  },
};

let holdState:
  | { state: "waiting"; approvals: 0; quorum: 1; forWhom: "" }
  | { state: "approved"; met: []; approvers: ["corp/otto"] } = {
  ...{ state: "waiting", approvals: 0, quorum: 1, forWhom: "" },
};

const control: Control = {
  async openSession({ credential, target }, events) {
    if (!(credential instanceof Secret) || credential.reveal() !== "good")
      throw new GatewayError("unauthenticated", "this credential is not one of this gateway's");
    if (target !== "prod") throw new GatewayError("not_found", "there is no such target");
    sessions.push(events);
    return {
      ...{ sessionId: `s-test${sessions.length}aaaaaaa`.slice(0, 14), chain, account: "edit" },
      expiresAtMs: Date.now() + 3_600_000,
      upstream: {
        ...{
          kind: "kubernetes",
          user: "custody:corp/ann",
          token: new Secret("of-the-cluster"),
          certificate: undefined,
        },
        impersonate: {
          user: "custody:corp/ann",
          groups: ["one", "two"],
          extra: { "custody-chain": ["corp/ann"] },
        },
      },
    };
  },
  attachBackend: () => undefined,
  closeSession: async (_id, reason) => {
    closed.push(reason);
  },
  requestApproval: async (asked) => {
    held.push(asked);
    return { holdId: "h-1", expiresAtMs: Date.now() + 60_000, current: holdState };
  },
  leaveHold: () => undefined,
  spendApproval: async () => true,
  showParticipant: () => undefined,
  beginSignIn: async () => ({ kind: "choose", names: [] }),
  finishSignIn: async () => new Secret(""),
  endSignIn: () => undefined,
  noteDenial: () => undefined,
};

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const target: KubernetesTarget = {
    ...{ protocol: "kubernetes", name: "prod", caFile: undefined, fields: [], tags: {} },
    preview: "live",
    server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    accounts: [
      {
        name: "edit",
        credential: { kind: "token", token: { from: "env", name: "X" } },
        impersonate: undefined,
      },
    ],
  };
  const own = authority.issue(["127.0.0.1"]);
  const nothing = () => undefined;
  listener = await listenKubernetes({
    ...{ host: "127.0.0.1", port: 0, access, control, clock: systemClock, log: nothing },
    certificate: () => own,
    targets: () => new Map([["prod", target]]),
    journal: {
      append: (leaf) => leaves.push(leaf),
      appendContent: nothing,
      beforeFlush: nothing,
      barrier: (durability, done) => {
        barriers.push(durability);
        setImmediate(done);
      },
      [Symbol.asyncDispose]: async () => undefined,
    },
    openRecorder: () => ({
      ...{
        command: nothing,
        response: nothing,
        event: nothing,
        typed: nothing,
        data: nothing,
        endData: nothing,
      },
      ...{ begin: nothing, finish: nothing, onBehind: nothing },
      ...{ room: () => true, delivery: () => true },
      end: () => ({ pieces: 0, digest: "" }),
    }),
    targetCa: async () => authority.cert,
    grammars: loadGrammars(),
    maskOf: () => "redact",
    ...{ sessionIdleMs: 60_000, targetConnectTimeoutMs: 5000, maxSessions: 10, maxConnections: 50 },
    ...{ startupTimeoutMs: STARTUP_MS, maxBodyBytes: 10_000 },
    limits: { holdWaitMs: 200, holdReminderMs: 1000, maxObjectBytes: 100_000 },
  });
  origin = `https://127.0.0.1:${listener.port}`;
});

after(async () => {
  await listener[Symbol.asyncDispose]();
  await agent.destroy();
  server.closeAllConnections();
  server.close();
});

beforeEach(() => {
  [seen.length, leaves, verdict, held.length, holdReads] = [0, [], "permit", 0, true];
  holdState = { state: "waiting", approvals: 0, quorum: 1, forWhom: "" };
});

function ask(
  path: string,
  options: {
    method?: string;
    headers?: Record<string, string>;
    body?: string;
    signal?: AbortSignal;
  } = {},
) {
  const headers = { authorization: "Bearer good", ...options.headers };
  return fetch(`${origin}/prod${path}`, { ...options, headers, dispatcher: agent });
}

const status = async (answer: { json(): Promise<unknown> }) =>
  (await answer.json()) as { code: number; reason: string; message: string };
const secret = "/api/v1/namespaces/shop/secrets/s";

describe("the door for clients of Kubernetes", () => {
  it("sends on what it judged and nothing else of the client's", async () => {
    const answer = await ask(`${secret}/?pretty=a+b`, {
      headers: { "x-anything": "1", cookie: "a=b", accept: "application/yaml" },
    });
    assert.equal(
      ((await answer.json()) as { data: { k: string } }).data.k,
      Buffer.from("[masked secret.k8s]").toString("base64"),
    );
    const [sent] = seen;
    assert.equal(sent?.url, `${secret}?pretty=a%20b`);
    assert.equal(sent.headers.authorization, "Bearer of-the-cluster");
    assert.equal(sent.headers["impersonate-user"], "custody:corp/ann");
    assert.equal(sent.headers.accept, "application/json");
    assert.equal(sent.headers["x-anything"] ?? sent.headers.cookie, undefined);
    assert.match(String(sent.headers["audit-id"]), /^r-/);
  });

  it("writes the intent before and the outcome after, with what was masked", async () => {
    await (await ask(secret)).text();
    // The outcome is written once the answer is out.
    for (let round = 0; leaves.length < 2 && round < 3000; round++) await pause(10);
    assert.deepEqual(
      leaves.map(({ event }) => event),
      ["command.intent", "command.outcome"],
    );
    assert.deepEqual(leaves[0]?.effects, [`k8s:get prod/shop/secrets/s`]);
    assert.deepEqual([leaves[1]?.outcome, leaves[1]?.masked], ["ok", ["secret.k8s"]]);
  });

  it("masks each of a long list as it comes", async () => {
    const list = (await (await ask("/api/v1/namespaces/shop/secrets?limit=big")).json()) as {
      items: { data: { k: string } }[];
    };
    assert.equal(list.items.length, 2000);
    assert.ok(list.items.every(({ data }) => data.k !== "czNjcjN0"));
  });

  it("tells a denial as a Status with its policy and request, and sends nothing", async () => {
    verdict = "deny";
    const answer = await ask(secret);
    assert.equal(answer.status, 403);
    const { message, reason } = await status(answer);
    assert.equal(reason, "Forbidden");
    assert.match(
      message,
      /^Custody denied get on secrets s in namespace shop: not here\. Policy no\. Hop: depth 0\. Request r-\S+\. Next: custody explain r-/,
    );
    assert.equal(seen.length, 0);
    assert.deepEqual(
      leaves.map(({ event }) => event),
      ["command.denied"],
    );
  });

  it("shows approvers what a held write changes, from a read of its own, and no classified value", async () => {
    [verdict, holdReads] = ["hold", false];
    const merge = { "content-type": "application/merge-patch+json" };
    const patched = { metadata: { labels: { app: "web" } }, data: { k: "bmV3LXZhbHVl" } };
    const change = { method: "PATCH", headers: merge, body: JSON.stringify(patched) };
    await (await ask(secret, change)).text();
    assert.deepEqual(
      seen.map(({ method, url }) => `${method} ${url}`),
      [`GET ${secret}`],
    );
    assert.deepEqual(held[0]?.preview, [
      {
        title: "What it changes",
        text: [
          '+ metadata.labels.app: "web"',
          '- data.k: "[masked secret.k8s]"',
          '+ data.k: "[masked secret.k8s] as written"',
        ].join("\n"),
      },
    ]);
    assert.ok(!JSON.stringify(held[0]).includes("bmV3LXZhbHVl"));
    assert.match(held[0]?.command ?? "", /^PATCH \S+\ncontent-type: application\/merge-patch/);
    const read = leaves.find(({ event }) => event === "command.intent");
    assert.deepEqual(read?.effects, ["k8s:get prod/shop/secrets/s"]);
    assert.deepEqual(Object.keys(Object(read?.detail)), ["preview"]);
    await (await ask(secret, { method: "DELETE" })).text();
    assert.match(held[1]?.preview?.[0]?.text ?? "", /- data\.k: "\[masked secret\.k8s\]"/);
    holdReads = true;
    await (await ask(secret, { method: "DELETE" })).text();
    assert.match(held[2]?.preview?.[0]?.text ?? "", /may not read the object/);
  });

  it("tells a client that waited to ask again, and runs what was approved once", async () => {
    verdict = "hold";
    const late = await ask(secret, { method: "DELETE" });
    assert.deepEqual([late.status, late.headers.get("retry-after")], [429, "5"]);
    assert.match((await status(late)).message, /waits for approval[\s\S]*Not executed/);
    assert.equal(seen.length, 0);
    holdState = { state: "approved", met: [], approvers: ["corp/otto"] };
    assert.equal((await ask(secret, { method: "DELETE" })).status, 200);
    assert.deepEqual(leaves.find(({ event }) => event === "command.intent")?.detail, {
      approvedBy: ["corp/otto"],
    });
  });

  it("tells a client no in the end", async () => {
    verdict = "hold";
    const codes: number[] = [];
    for (let round = 0; round < 7; round++)
      codes.push((await ask(`${secret}2`, { method: "DELETE" })).status);
    assert.deepEqual(codes, [429, 429, 429, 429, 429, 403, 403]);
  });

  for (const [what, path, code] of [
    ["a form that cannot be masked", "/api/v1/namespaces/shop/yaml/s", 503],
    ["a refused credential of the gateway's", "/api/v1/namespaces/shop/unauthorized/s", 503],
    ["a way to elsewhere", "/api/v1/namespaces/shop/elsewhere/s", 503],
  ] as const)
    it(`does not hand on ${what}`, async () => {
      const answer = await ask(path);
      assert.equal(answer.status, code);
      assert.ok(!(await answer.text()).includes("czNj"));
    });

  it("breaks an answer that broke, and lets nothing of it through", async () => {
    const early = await ask("/api/v1/namespaces/shop/cut-early");
    assert.ok(early.status >= 500);
    assert.ok(!(await early.text()).includes("czNj"));
    const late = await ask("/api/v1/namespaces/shop/cut-late");
    assert.equal(late.status, 200);
    await assert.rejects(late.text());
  });

  it("ends a watch with its session, and opens another one afterwards", async () => {
    const answer = await ask("/api/v1/namespaces/shop/secrets?watch=1");
    const reader = (answer.body ?? assert.fail("no body")).getReader();
    const first = Buffer.from((await reader.read()).value as Uint8Array).toString();
    assert.ok(first.includes("ADDED") && !first.includes("czNjcjN0"));
    const before = sessions.length;
    sessions
      .at(-1)
      ?.onEnd({ code: "revoked", message: "the delegation was revoked", hint: undefined });
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      rest += Buffer.from(value as Uint8Array).toString();
    }
    const told = JSON.parse(rest) as { type: string; object: { code: number; message: string } };
    assert.deepEqual([told.type, told.object.code], ["ERROR", 401]);
    assert.match(told.object.message, /the delegation was revoked/);
    await ask(secret);
    assert.equal(sessions.length, before + 1);
    assert.ok(closed.includes("the delegation was revoked"));
  });

  for (const [what, headers, code] of [
    ["another identity", { "impersonate-user": "system:admin" }, 403],
    ["a remote user", { "x-remote-user": "system:admin" }, 403],
    ["no credential", { authorization: "" }, 401],
    ["another's credential", { authorization: "Bearer bad" }, 401],
  ] as const)
    it(`refuses ${what}`, async () => {
      const answer = await ask(secret, { headers });
      assert.equal(answer.status, code);
      assert.equal((await status(answer)).code, code);
      assert.equal(seen.length, 0);
    });

  it("refuses a body beyond the limit, one in a form nobody decodes, and one where there is none", async () => {
    const post = (body: string, type: string) =>
      ask("/api/v1/namespaces/shop/configmaps", {
        method: "POST",
        body,
        headers: { "content-type": type },
      });
    assert.equal((await post(`{"a":"${"x".repeat(20_000)}"}`, "application/json")).status, 400);
    assert.equal((await post("x", "application/cbor")).status, 415);
    assert.equal(seen.length, 0);
  });

  it("flushes the intent of a read that touches a class before it is sent", async () => {
    barriers.length = 0;
    await (await ask(secret)).text();
    await (await ask("/api/v1/namespaces/shop/services/s")).text();
    assert.deepEqual(barriers, ["strict", "ordered"]);
  });

  it("takes an approval for one kind of patch for no other", async () => {
    const digests: unknown[] = [];
    for (const type of ["merge-patch", "strategic-merge-patch"]) {
      const headers = { "content-type": `application/${type}+json` };
      await (await ask(secret, { method: "PATCH", headers, body: "{}" })).text();
      digests.push(leaves.findLast(({ event }) => event === "command.intent")?.command);
    }
    assert.ok(digests[0] !== undefined);
    assert.notDeepEqual(digests[0], digests[1]);
  });

  it("writes down what it does not upgrade", async () => {
    const { hostname: host, port } = new URL(origin);
    const answer = await new Promise<string>((resolve, reject) => {
      const path = "/prod/api/v1/namespaces/shop/secrets?watch=1";
      const lines = ["host: x", "authorization: Bearer good", "connection: Upgrade"];
      const socket = connectTls({ host, port: Number(port), ca: authority.cert }, () =>
        socket.write(
          `GET ${path} HTTP/1.1\r\n${[...lines, "upgrade: websocket"].join("\r\n")}\r\n\r\n`,
        ),
      );
      let text = "";
      socket.on("data", (part) => {
        text += part.toString();
      });
      socket.on("end", () => resolve(text)).on("error", reject);
    });
    assert.match(answer, /^HTTP\/1\.1 403 [\s\S]*only exec, attach and port-forward/);
    assert.deepEqual([leaves.map(({ event }) => event), seen.length], [["command.denied"], 0]);
  });

  it("ends a connection on which nobody shows who they are", async () => {
    const { hostname: host, port } = new URL(origin);
    const begun = performance.now();
    const ended = ["h2", "http/1.1"].map(
      (protocol) =>
        new Promise<void>((resolve, reject) => {
          const options = { host, port: Number(port), ca: authority.cert };
          const socket = connectTls({ ...options, ALPNProtocols: [protocol] }, () => {
            if (protocol === "http/1.1") socket.write("GET /prod/api HTTP/1.1\r\nhost: x\r\na");
          });
          socket.resume().on("error", () => undefined);
          socket.on("close", () => resolve());
          setTimeout(() => reject(new Error(protocol)), STARTUP_MS * 4).unref();
        }),
    );
    await Promise.all(ended);
    assert.ok(performance.now() - begun >= STARTUP_MS - 100);
  });

  it("keeps a connection on which somebody did", async () => {
    const client = connectHttp2(origin, { ca: authority.cert });
    const asked = () =>
      new Promise<number>((resolve, reject) => {
        const stream = client.request({
          [constants.HTTP2_HEADER_PATH]: `/prod${secret}`,
          authorization: "Bearer good",
        });
        stream.on("response", (headers) => resolve(Number(headers[":status"])));
        stream.resume().on("error", reject);
      });
    assert.equal(await asked(), 200);
    await pause(STARTUP_MS + 300);
    assert.equal(await asked(), 200);
    client.destroy();
  });

  it("speaks HTTP/2, many requests on a connection", async () => {
    const client = connectHttp2(origin, { ca: authority.cert });
    const answers = Array.from({ length: 20 }, () => {
      const stream = client.request({
        [constants.HTTP2_HEADER_PATH]: `/prod${secret}`,
        authorization: "Bearer good",
      });
      return new Promise<string>((resolve, reject) => {
        let text = "";
        stream.setEncoding("utf8").on("data", (part: string) => {
          text += part;
        });
        stream.on("end", () => resolve(text));
        stream.on("error", reject);
      });
    });
    for (const text of await Promise.all(answers))
      assert.ok(text.includes('"kind":"Secret"') && !text.includes("czNjcjN0"));
    client.destroy();
  });
});
