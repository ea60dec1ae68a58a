// The device flow with providers that lie, dawdle and never end, over HTTPS; nobody waits for real.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { createTestAuthority } from "../../../conformance/support/certificates.ts";
import type { Provider } from "../config/config.ts";
import { beginDeviceFlow } from "./device-flow.ts";

type Answer = readonly [status: number, body: unknown] | ((response: ServerResponse) => void);

const STARTED = {
  device_code: "device-code",
  user_code: "ABCD-EFGH",
  verification_uri: "https://corp.example/device",
  expires_in: 300,
  interval: 5,
};
const PENDING: Answer = [400, { error: "authorization_pending" }];

test("what a person is shown, and the token once they have agreed", async () => {
  await using provider = await startProvider({ answers: [PENDING, [200, { id_token: "token" }]] });
  const flow = await provider.begin();
  assert.equal(flow.userCode, "ABCD-EFGH");
  assert.equal(flow.verificationUri, "https://corp.example/device");
  assert.equal(flow.expiresAtMs, 300_000);
  assert.equal((await flow.finish(provider.signal)).reveal(), "token");
  assert.deepEqual(provider.pauses, [5000, 5000]);
  const [form] = provider.forms;
  assert.equal(form?.get("device_code"), "device-code");
  assert.equal(form?.get("grant_type"), "urn:ietf:params:oauth:grant-type:device_code");
  assert.equal(form?.get("client_id"), "custody");
});

test("slow_down: five seconds more each time, and never more than a minute (RFC 8628 section 3.5)", async () => {
  const slow: Answer = [400, { error: "slow_down" }];
  const answers = [...Array.from({ length: 14 }, () => slow), [200, { id_token: "t" }] as const];
  await using provider = await startProvider({ answers, start: { expires_in: 600 } });
  await (await provider.begin()).finish(provider.signal);
  assert.deepEqual(provider.pauses.slice(0, 3), [5000, 10_000, 15_000]);
  assert.equal(Math.max(...provider.pauses), 60_000);
});

test("an interval that is none, or has no end, is bounded", async () => {
  for (const [interval, pauseMs] of [
    [0.0001, 1000],
    [1e300, 60_000],
    [-5, 5000],
    [0, 5000],
    ["soon", 5000],
    [null, 5000],
    [{ length: 3 }, 5000],
    [undefined, 5000],
  ] as const) {
    await using provider = await startProvider({
      answers: [[200, { id_token: "t" }]],
      start: { interval },
    });
    await (await provider.begin()).finish(provider.signal);
    assert.deepEqual(provider.pauses, [pauseMs], JSON.stringify(interval));
  }
});

test("pending without end ends when the code does, and that is ten minutes at most", async () => {
  for (const [expiresIn, lifeMs] of [
    [20, 20_000],
    [1e300, 600_000],
    [-1, 600_000],
    ["never", 600_000],
  ] as const) {
    await using provider = await startProvider({
      answers: [],
      start: { expires_in: expiresIn, interval: 55 },
    });
    const flow = await provider.begin();
    assert.equal(flow.expiresAtMs, lifeMs);
    await assert.rejects(flow.finish(provider.signal), {
      code: "unauthenticated",
      message: "you are not signed in: nobody did, in time",
    });
    const waitedMs = provider.pauses.reduce((sum, pauseMs) => sum + pauseMs, 0);
    assert.equal(waitedMs, lifeMs);
  }
});

test("refused, expired, and errors that no specification names sign nobody in", async () => {
  for (const [answer, why] of [
    [[400, { error: "access_denied" }], "it was refused there"],
    [[400, { error: "expired_token" }], "nobody did, in time"],
    [[500, { error: "\u001b[2J" }], "it was refused there"],
    [[400, {}], "it was refused there"],
    [[401, { error: { slow_down: true } }], "it was refused there"],
  ] as const) {
    await using provider = await startProvider({ answers: [answer] });
    await assert.rejects((await provider.begin()).finish(provider.signal), {
      code: "unauthenticated",
      message: `you are not signed in: ${why}`,
    });
  }
});

test("an agreement without an ID token, or with one that is no text, is no sign-in", async () => {
  for (const body of [
    {},
    { id_token: "" },
    { id_token: 5 },
    { id_token: ["t"] },
    { access_token: "t" },
  ]) {
    await using provider = await startProvider({ answers: [[200, body]] });
    await assert.rejects((await provider.begin()).finish(provider.signal), {
      code: "dependency_unavailable",
    });
  }
});

test("answers that are huge, no JSON, no object, cut short or elsewhere are none", async () => {
  const answers: readonly Answer[] = [
    (response) => void response.writeHead(200).end(`{"id_token":"${"x".repeat(600_000)}"}`),
    (response) => void response.writeHead(200).end("<html>"),
    [200, ["id_token"]],
    [200, null],
    (response) => {
      response.writeHead(200, { "content-length": "100" }).write("{");
      setImmediate(() => response.destroy());
    },
    (response) => void response.writeHead(307, { location: "https://127.0.0.1:1/token" }).end(),
  ];
  for (const answer of answers) {
    await using provider = await startProvider({ answers: [answer] });
    await assert.rejects((await provider.begin()).finish(provider.signal), {
      code: "dependency_unavailable",
      message: "identity provider corp does not answer",
    });
  }
});

test("a beginning that does not fit begins nothing", async () => {
  const wrong = [
    { device_code: undefined },
    { device_code: "" },
    { user_code: 5 },
    { user_code: "X".repeat(501) },
    { verification_uri: undefined },
    { verification_uri_complete: ["https://corp.example"] },
    { verification_uri: `https://corp.example/${"x".repeat(500)}` },
  ];
  for (const start of wrong) {
    await using provider = await startProvider({ answers: [], start });
    await assert.rejects(provider.begin(), { code: "dependency_unavailable" });
  }
  await using refusing = await startProvider({ answers: [], status: 400 });
  await assert.rejects(refusing.begin(), { code: "dependency_unavailable" });
  await using without = await startProvider({
    answers: [],
    discovery: { device_authorization_endpoint: undefined },
  });
  await assert.rejects(without.begin(), { code: "configuration" });
  await using plain = await startProvider({
    answers: [],
    discovery: { device_authorization_endpoint: "http://127.0.0.1:1/device" },
  });
  await assert.rejects(plain.begin(), { code: "dependency_unavailable" });
  await using another = await startProvider({
    answers: [],
    discovery: { issuer: "https://other.example" },
  });
  await assert.rejects(another.begin(), { code: "dependency_unavailable" });
});

test("whoever gives up is not kept waiting, and the provider is asked no more", async () => {
  await using provider = await startProvider({ answers: [], isPatient: true });
  const flow = await provider.begin();
  const leaving = new AbortController();
  const finished = flow.finish(leaving.signal);
  leaving.abort(new Error("gone"));
  await assert.rejects(finished);
  assert.equal(provider.forms.length, 0);
});

/** `answers`: of the token endpoint, one after the other; afterwards pending for ever. */
async function startProvider(given: {
  readonly answers: readonly Answer[];
  readonly start?: Readonly<Record<string, unknown>>;
  readonly status?: number;
  readonly discovery?: Readonly<Record<string, unknown>>;
  /** Its waits are never over. */
  readonly isPatient?: boolean;
}) {
  const folder = mkdtempSync(join(tmpdir(), "custody-device-flow-"));
  const authority = createTestAuthority();
  const caFile = join(folder, "ca.pem");
  writeFileSync(caFile, authority.cert);
  const forms: URLSearchParams[] = [];
  let issuer = "";
  const server = createServer(authority.issue(["127.0.0.1"]), async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const json = (status: number, value: unknown) =>
      void response.writeHead(status).end(JSON.stringify(value));
    if (request.url === "/.well-known/openid-configuration")
      return json(200, {
        issuer,
        device_authorization_endpoint: `${issuer}/device`,
        token_endpoint: `${issuer}/token`,
        ...given.discovery,
      });
    if (request.url === "/device") return json(given.status ?? 200, { ...STARTED, ...given.start });
    forms.push(new URLSearchParams(body));
    const answer = given.answers[forms.length - 1] ?? PENDING;
    return typeof answer === "function" ? answer(response) : json(...answer);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  issuer = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider: Provider = {
    ...{ name: "corp", issuer, audience: "custody", clientId: undefined, kind: "users" },
    ...{ username: "name", groups: "groups", algorithms: ["ES256"], token: "id_token" },
    ...{ claims: {}, caFile, insecureHttp: false },
  };
  const pauses: number[] = [];
  let nowMs = 0;
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
  return {
    ...{ forms, pauses, signal: new AbortController().signal },
    begin: () =>
      beginDeviceFlow(provider, clock, async (ms, signal) => {
        if (given.isPatient === true) await once(signal, "abort");
        signal.throwIfAborted();
        pauses.push(ms);
        nowMs += ms;
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
