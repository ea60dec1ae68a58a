// What anybody can send to the control API and to the operator's listener: broken HTTP, broken JSON, too
// much of either, connections that do nothing. Answers say what is wrong and nothing of our insides.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { Group } from "./checks.ts";
import { ask, askAt } from "./https-client.ts";
import { assertNoInsides, openPlain } from "./raw-client.ts";
import { hangUp, type Subject, usageOf } from "./world.ts";

const JSON_TYPE = { "content-type": "application/json" };
const FORM_TYPE = { "content-type": "application/x-www-form-urlencoded" };
const MIB = 1 << 20;

interface Malformed {
  readonly name: string;
  readonly bytes: Buffer;
  /** The status line's code. */
  readonly status: number;
}

const MALFORMED: readonly Malformed[] = [
  { name: "garbage", bytes: randomBytes(2048), status: 400 },
  { name: "no request line", bytes: Buffer.from("\r\nhost: x\r\n\r\n\r\n"), status: 400 },
  { name: "HTTP/3.7", bytes: Buffer.from("GET / HTTP/3.7\r\n\r\n"), status: 400 },
  { name: "no host", bytes: Buffer.from("GET /healthz HTTP/1.1\r\n\r\n"), status: 400 },
  {
    name: "a header of 1 MiB",
    bytes: Buffer.from(`GET /healthz HTTP/1.1\r\nhost: x\r\na: ${"b".repeat(MIB)}\r\n\r\n`),
    status: 431,
  },
  {
    name: "two lengths",
    bytes: Buffer.from(
      "POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    ),
    status: 400,
  },
  {
    name: "a length and chunks",
    bytes: Buffer.from(
      "POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    status: 400,
  },
  {
    name: "a chunk of a size that is none",
    bytes: Buffer.from(
      "POST /token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\nzz\r\nx",
    ),
    status: 400,
  },
  { name: "plain PostgreSQL", bytes: Buffer.from("0000000804d2162f", "hex"), status: 400 },
];

async function openTls(url: string): Promise<TLSSocket> {
  const { hostname, port } = new URL(url);
  const socket = connectTls({ host: hostname, port: Number(port), rejectUnauthorized: false });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  return socket;
}

async function exchange(url: string, bytes: Buffer): Promise<string> {
  const socket = await openTls(url);
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk;
  });
  socket.write(bytes);
  const timer = setTimeout(() => socket.destroy(new Error("late")), 15_000);
  if (!socket.destroyed) await once(socket, "close").catch(() => undefined);
  clearTimeout(timer);
  return text;
}

/** `exactly` false: any refusal will do, for a listener that reads no bodies. */
async function answersMalformed(url: string, exactly: boolean): Promise<void> {
  for (const { name, bytes, status } of MALFORMED) {
    const text = await exchange(url, bytes);
    assertNoInsides(text);
    const answered = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
    if (exactly) assert.equal(answered, status, name);
    else assert.ok(answered >= 400 && answered < 500, name);
  }
}

async function refused(
  subject: Subject,
  path: string,
  headers: Record<string, string>,
  body: string,
  status: number,
): Promise<void> {
  const answer = await ask(subject, path, { method: "POST", headers, body });
  assertNoInsides(answer.text);
  const what = `${path} ${body.slice(0, 40)}: ${answer.text}`;
  assert.equal(answer.status, status, what);
  assert.ok(answer.body !== undefined, `an error is JSON; ${what}`);
}

/** Bodies that are no JSON, of a wrong type, too large, nested too deep, or mean something else. */
async function answersBodies(subject: Subject): Promise<void> {
  const path = "/v1/sessions/s-none/end";
  const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
  for (const body of ["{", "nul", "\u0000", "[1]", '"text"', "1", '{"a":1}', nested(50_000)])
    await refused(subject, path, JSON_TYPE, body, 400);
  await refused(subject, path, JSON_TYPE, '{"__proto__":{"reason":"x"}}', 400);
  await refused(subject, path, FORM_TYPE, "a=1", 400);
  await refused(subject, path, { "content-type": "text/xml" }, "<a/>", 400);
  await refused(subject, path, JSON_TYPE, `{"reason":"${"x".repeat(2 * MIB)}"}`, 413);
  await refused(subject, "/token", FORM_TYPE, `grant_type=${"x".repeat(2 * MIB)}`, 413);
  await refused(subject, "/token", FORM_TYPE, "grant_type=a&grant_type=b", 400);
  await refused(subject, "/token", FORM_TYPE, "%ff%fe=%zz", 400);
  await refused(subject, "/token", JSON_TYPE, "{}", 400);
  await refused(subject, "/token", FORM_TYPE, `grant_type=${encodeURIComponent("\u0000")}`, 400);
}

async function answersPaths(subject: Subject): Promise<void> {
  const paths = [
    "/v1/audit/tile/../../keys/token.key",
    "/v1/audit/tile/..%2f..%2f..%2fkeys%2ftoken.key",
    "/v1/audit/tile/%00",
    `/v1/sessions/${"x".repeat(5000)}`,
    "/v1/sessions/%E0%A4%A",
    "/v1/sessions?state=odd",
    "//etc/passwd",
    "/v1/delegations/__proto__",
  ];
  for (const path of paths) {
    const answer = await ask(subject, path);
    assertNoInsides(answer.text);
    assert.ok([400, 403, 404, 414].includes(answer.status), `${path}: ${answer.status}`);
  }
  for (const authorization of [
    "Bearer",
    "Bearer \u00e9",
    "Basic eDp5",
    `Bearer ${"x".repeat(9000)}`,
  ]) {
    const answer = await ask(subject, "/v1/whoami", { headers: { authorization } });
    assert.equal(answer.status, 401, answer.text);
  }
}

export const badRequests: Group = {
  name: "bad requests",
  checks: [
    {
      name: "malformed HTTP on the control API and the operator's listener",
      async run(world) {
        await using subject = await world.subject();
        const { url, adminUrl } = subject.gateway;
        await answersMalformed(url, true);
        await answersMalformed(adminUrl ?? "", false);
        for (const at of [url, adminUrl ?? ""]) {
          const { hostname, port } = new URL(at);
          const plain = await openPlain({ host: hostname, port: Number(port) });
          plain.socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
          await plain.ended();
        }
        assert.equal((await ask(subject, "/healthz")).status, 200);
      },
    },
    {
      name: "bodies, types, paths and credentials that are wrong",
      async run(world) {
        await using subject = await world.subject();
        await answersBodies(subject);
        await answersPaths(subject);
        assert.equal((await ask(subject, "/v1/whoami")).status, 200);
        assert.doesNotMatch(subject.gateway.output(), /a fault that nobody waited for/);
      },
    },
    {
      name: "three hundred connections that do nothing, and one that works beside them",
      async run(world) {
        await using subject = await world.subject();
        const before = usageOf(subject.gateway.pid);
        const idle: TLSSocket[] = [];
        for (let batch = 0; batch < 10; batch++)
          idle.push(
            ...(await Promise.all(Array.from({ length: 30 }, () => openTls(subject.gateway.url)))),
          );
        for (const socket of idle) socket.write("POST /token HTTP/1.1\r\nhost: x\r\n");
        assert.equal((await ask(subject, "/v1/whoami")).status, 200);
        const client = await subject.connect();
        await hangUp(client);
        const held = usageOf(subject.gateway.pid).residentBytes - before.residentBytes;
        assert.ok(held < 100 * MIB, `they cost ${Math.round(held / MIB)} MiB`);
        await delay(100);
        for (const socket of idle) socket.destroy();
      },
    },
    {
      name: "a client that asks too often is told so, and the operator's listener is not its business",
      async run(world) {
        await using subject = await world.subject({ limits: { apiRequestsPerMinute: 40 } });
        let last = await ask(subject, "/healthz");
        for (let count = 0; count < 60 && last.status === 200; count++)
          last = await ask(subject, "/healthz");
        assert.equal(last.status, 429, last.text);
        const { adminUrl, caFile } = subject.gateway;
        const get = { method: "GET", headers: {}, body: undefined };
        const metrics = await askAt(`${adminUrl}/metrics`, caFile, get);
        assert.equal(metrics.status, 200);
        assert.match(metrics.text, /^custody_sessions 0$/m);
        assert.match(metrics.text, /^custody_journal_flush_seconds_count [1-9]/m);
        assert.doesNotMatch(metrics.text, /engineer|corp|suite|d-[a-z0-9]/);
        const ready = await askAt(`${adminUrl}/readyz`, caFile, get);
        const checks = { journal: true, store: true, listeners: true };
        assert.deepEqual(ready.body, { ready: true, checks });
      },
    },
    {
      name: "a body above apiBodyBytes is refused, one below is read",
      async run(world) {
        await using subject = await world.subject({ limits: { apiBodyBytes: "8KiB" } });
        const path = "/v1/sessions/s-none/end";
        await refused(subject, path, JSON_TYPE, `{"reason":"${"x".repeat(9000)}"}`, 413);
        await refused(subject, path, JSON_TYPE, `{"reason":"${"x".repeat(150)}"}`, 404);
      },
    },
  ],
};
