import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import type { Leaf, LeafFields } from "@custody/evidence/core/leaf.ts";
import { createTestAuthority } from "../../../conformance/support/certificates.ts";
import { openJournal } from "../audit/journal-writer.ts";
import { openLog } from "../audit/log.ts";
import { createLogFiles } from "../audit/log-files.ts";
import { loadLogKey } from "../audit/log-key.ts";
import { createOutbound } from "../audit/outbound.ts";
import { openSequencer } from "../audit/sequencer.ts";
import { systemClock } from "../base/clock.ts";
import { systemRandom } from "../base/ids.ts";
import { Secret } from "../base/secret.ts";
import { startForwarder } from "./forwarder.ts";
import { createOcsfMapper, type OcsfEvent } from "./ocsf.ts";
import { fileSink, httpsSink, otlpSink, type Sink, syslogSink } from "./sink.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const chain = [
  { d: "d-root", s: "corp/4711", k: "user", p: "attested" },
  { d: "d-agent", s: "d-agent", k: "agent", p: "bearer" },
] as const;

async function stage() {
  const directory = mkdtempSync(join(tmpdir(), "custody-siem-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  const onFailure = (error: Error): never => {
    throw error;
  };
  const journal = await openJournal({ directory, worker: 0, clock: systemClock, onFailure });
  const journals = [{ worker: 0, journal }];
  const log = await openLog({ dataDirectory: directory, journals, onFailure, intervalMs: 20 });
  cleanups.push(async () => {
    await journal[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });
  const say = async (...leaves: LeafFields[]) => {
    for (const leaf of leaves) journal.append(leaf);
    await journal.settled();
    await log.sync();
  };
  const problems: string[] = [];
  const forward = (sink: Sink) =>
    startForwarder({
      ...{ name: "siem", logDirectory: log.directory, sink, everyMs: 60_000 },
      positionFile: join(directory, "export", "siem.position"),
      replace: createLogFiles().replace,
      onProblem: (message) => problems.push(message),
    });
  return { directory, say, forward, problems, size: () => log.size };
}

const about = { session: "s-aaaa", target: "orders", account: "rw", chain } as const;
const effects = ["sql:delete orders/shop/public/orders"];
const STORY: LeafFields[] = [
  { ...about, event: "session.opened" },
  {
    ...about,
    ...{ event: "command.intent", request: "r-aaaa-1", decision: "approved", command: "abc" },
    ...{ effects, policies: ["deletes-need-a-dba"], policyVersion: "0123456789ab" },
  },
  { event: "command.outcome", session: "s-aaaa", request: "r-aaaa-1", outcome: "ok", rows: 3 },
  {
    ...about,
    ...{ event: "command.denied", request: "r-aaaa-2", decision: "deny", command: "def" },
    ...{ effects: ["sql:drop orders/shop/public/orders"], policies: ["no-schema-changes"] },
  },
  { ...about, event: "session.closed", outcome: "closed" },
];

test("what was sent of a shard is not sent again in the next, also when the first is kept elsewhere", async () => {
  const directory = mkdtempSync(join(tmpdir(), "custody-siem-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  const time = { now: Date.parse("2026-12-31T00:00:00Z") };
  const onFailure = (error: Error): never => {
    throw error;
  };
  const journal = await openJournal({ directory, worker: 0, clock: systemClock, onFailure });
  cleanups.push(() => journal[Symbol.asyncDispose]());
  const sequencer = openSequencer({
    ...{ dataDirectory: directory, files: createLogFiles() },
    key: loadLogKey(directory, systemRandom, { origin: "custody.test/log" }),
    sharding: { period: "year", nowMs: () => time.now },
  });
  cleanups.push(() => sequencer.close());
  const say = async (count: number): Promise<void> => {
    for (let at = 0; at < count; at++) journal.append({ event: "audit.read" });
    await journal.settled();
    const position = Atomics.load(journal.durable, 0);
    const place = { segment: Number(position >> 32n), offset: Number(position & 0xffffffffn) };
    while (sequencer.step(new Map([[0, place]])));
  };
  const logDirectory = join(directory, "log");
  const file = join(directory, "events.ndjson");
  const forward = async (): Promise<readonly string[]> => {
    await using forwarder = startForwarder({
      ...{ name: "siem", logDirectory, sink: fileSink(file), everyMs: 60_000 },
      positionFile: join(directory, "export", "siem.position"),
      ...{ replace: createLogFiles().replace, onProblem: (said) => assert.fail(said) },
    });
    await forwarder.round();
    assert.equal(forwarder.lag, 0);
    return readFileSync(file, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { metadata: { uid: string } }).metadata.uid);
  };
  await say(300);
  // Its first record, and the gateway's start.
  assert.equal((await forward()).length, 302);
  await say(10);
  time.now = Date.parse("2027-01-01T00:00:00Z");
  await say(20);
  const uids = await forward();
  assert.equal(uids.length, 302 + 10 + 1 + 1 + 20);
  assert.equal(new Set(uids).size, uids.length);
  assert.equal(uids[312], "custody.test/log/2026/312");
  assert.equal(uids[313], "custody.test/log/2027/0");
  rmSync(join(logDirectory, "2026"), { recursive: true });
  await say(5);
  assert.deepEqual((await forward()).slice(334), [
    ...[21, 22, 23, 24, 25].map((index) => `custody.test/log/2027/${index}`),
  ]);
});

function listening(server: Server): Promise<number> {
  cleanups.push(() => new Promise((done) => server.close(done)));
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)),
  );
}

test("a file gets every event once, goes on after a restart, and survives rotation", async () => {
  const { directory, say, forward } = await stage();
  const file = join(directory, "events.ndjson");
  const read = () =>
    readFileSync(file, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { metadata: { uid: string; event_code: string } });
  await say(...STORY);
  const first = forward(fileSink(file));
  assert.equal(first.lag, 6);
  await first.round();
  assert.equal(first.lag, 0);
  await first[Symbol.asyncDispose]();
  await say(...Array.from({ length: 600 }, (): LeafFields => ({ event: "audit.read" })));
  const second = forward(fileSink(file));
  await second.round();
  await second[Symbol.asyncDispose]();
  const events = read();
  assert.equal(events.length, 606);
  assert.equal(new Set(events.map(({ metadata }) => metadata.uid)).size, 606);
  rmSync(file);
  await say({ event: "audit.read" });
  const third = forward(fileSink(file));
  await third.round();
  await third[Symbol.asyncDispose]();
  assert.equal(read().length, 1);
});

test("what did not arrive is sent again; failing is told once, and that it works again", async () => {
  const { say, forward, problems, size } = await stage();
  const arrived: OcsfEvent[] = [];
  let broken = true;
  const forwarder = forward({
    async send(events) {
      if (broken) throw new TypeError("not there");
      arrived.push(...events);
    },
    [Symbol.asyncDispose]: async () => undefined,
  });
  cleanups.push(() => forwarder[Symbol.asyncDispose]());
  await say(...STORY);
  await forwarder.round();
  await forwarder.round();
  assert.equal(forwarder.lag, size());
  broken = false;
  await forwarder.round();
  assert.equal(arrived.length, size());
  assert.deepEqual(problems, [
    "export siem: not there; it is tried again",
    "export siem works again",
  ]);
});

test("an HTTPS and an OTLP collector get it with the token, and only with a trusted certificate", async () => {
  const { say, forward, problems } = await stage();
  await say(...STORY);
  const authority = createTestAuthority("Throw-away CA of a collector");
  const seen: { url: string; type: string; token: string; body: string }[] = [];
  const server = createHttpsServer(authority.issue(["127.0.0.1"]), (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { "content-type": type = "", authorization: token = "" } = request.headers;
      seen.push({ url: request.url ?? "", type, token, body: Buffer.concat(chunks).toString() });
      response.end();
    });
  });
  const url = `https://127.0.0.1:${await listening(server)}`;
  const token = async () => new Secret("collector-token");
  const untrusted = forward(httpsSink({ url, token, outbound: createOutbound(undefined, 2000) }));
  await untrusted.round();
  assert.equal(seen.length, 0);
  assert.equal(problems.length, 1);
  await untrusted[Symbol.asyncDispose]();
  const outbound = () => createOutbound(authority.cert, 2000);
  const plain = forward(httpsSink({ url: `${url}/in`, token, outbound: outbound() }));
  await plain.round();
  await plain[Symbol.asyncDispose]();
  await say({ event: "audit.read" });
  const otlp = forward(otlpSink({ url: `${url}/v1/logs`, token, outbound: outbound() }));
  await otlp.round();
  await otlp[Symbol.asyncDispose]();
  const [ndjson, logs] = seen;
  assert.equal(ndjson?.type, "application/x-ndjson");
  assert.equal(ndjson?.token, "Bearer collector-token");
  assert.equal(ndjson?.body.trimEnd().split("\n").length, 6);
  const { resourceLogs } = JSON.parse(logs?.body ?? "") as {
    resourceLogs: { scopeLogs: { logRecords: { body: { stringValue: string } }[] }[] }[];
  };
  const record = resourceLogs[0]?.scopeLogs[0]?.logRecords[0];
  assert.match(record?.body.stringValue ?? "", /"event_code":"audit.read"/);
});

test("a syslog server gets RFC 5424 messages, counted in octets, and again after it was away", async () => {
  const { say, forward } = await stage();
  await say(...STORY);
  const authority = createTestAuthority("Throw-away CA of a syslog server");
  let received = Buffer.alloc(0);
  const sockets = new Set<TLSSocket>();
  const server = createTlsServer(authority.issue(["127.0.0.1"]), (socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
  });
  const port = await listening(server);
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
  });
  const forwarder = forward(
    syslogSink({ host: "127.0.0.1", port, ca: authority.cert, timeoutMs: 2000, hostname: "gw" }),
  );
  await forwarder.round();
  for (const socket of sockets) socket.destroy();
  await new Promise((done) => setTimeout(done, 100));
  await say({ event: "audit.read" });
  await forwarder.round();
  await new Promise((done) => setTimeout(done, 100));
  await forwarder[Symbol.asyncDispose]();
  const messages: string[] = [];
  for (let at = 0; at < received.length; ) {
    const space = received.indexOf(0x20, at);
    const end = space + 1 + Number(received.toString("latin1", at, space));
    messages.push(received.toString("utf8", space + 1, end));
    at = end;
  }
  assert.equal(messages.length, 7);
  for (const message of messages)
    assert.match(
      message,
      /^<1(08|10)>1 \d{4}-\d\d-\d\dT[\d:.]+Z gw custody - [a-z._]+ - \ufeff\{.*\}$/,
    );
  assert.ok(
    messages.some((message) => message.startsWith("<108>1 ")),
    "what was denied is a warning",
  );
});

// The classes, activities and required attributes of the schema itself, version 1.5.0.
const REQUIRED: Readonly<Record<number, readonly string[]>> = {
  3002: ["user"],
  3003: ["user", "privileges"],
  3004: ["entity"],
  4007: ["src_endpoint"],
  6003: ["actor", "api", "src_endpoint"],
  6005: ["actor", "src_endpoint", "database"],
};
const BASE = [
  "activity_id",
  "category_uid",
  "class_uid",
  "metadata",
  "severity_id",
  "time",
  "type_uid",
];

test("every event has what its class requires, and says who asked", async () => {
  const mapper = createOcsfMapper();
  const leaf = { v: 1, at: 1_700_000_000_000, worker: 0, seq: 1 } as const;
  const more: LeafFields[] = [
    { event: "gateway.started" },
    { event: "delegation.created", chain: [chain[0]] },
    { event: "delegation.created", chain },
    { event: "delegation.revoked", chain },
    { event: "session.refused", outcome: "unauthenticated" },
    {
      ...about,
      event: "hold.voted",
      request: "r-aaaa-1",
      detail: { hold: "h-1", vote: "approve" },
    },
    { ...about, event: "command.intent", request: "r-aaaa-3", effects: ["ssh:exec web/root/id"] },
    { ...about, event: "command.intent", request: "r-aaaa-4", effects: ["k8s:get prod/ns/pods/x"] },
    { ...about, event: "command.intent", request: "r-aaaa-5", effects: ["none orders"] },
    { event: "command.outcome", session: "s-zzzz", request: "r-zzzz-1", outcome: "42501" },
    { event: "evidence.exported", chain: [chain[0]] },
  ];
  const events = [...STORY, ...more].map((fields, index) =>
    mapper.map("custody.test/log", index, { ...leaf, ...fields } as Leaf),
  );
  for (const event of events) {
    const name = JSON.stringify(event.metadata);
    for (const attribute of [...BASE, ...(REQUIRED[Number(event.class_uid)] ?? ["unknown"])])
      assert.ok(event[attribute] !== undefined, `${name}: ${attribute}`);
    assert.equal(event.type_uid, Number(event.class_uid) * 100 + Number(event.activity_id));
    assert.equal(Math.floor(Number(event.class_uid) / 1000), event.category_uid);
  }
  const [, intent, outcome, denied] = events;
  assert.equal(intent?.class_uid, 6005);
  assert.equal(intent?.activity_id, 7);
  assert.equal(intent?.disposition_id, 8);
  assert.deepEqual(outcome?.actor, intent?.actor);
  assert.match(JSON.stringify(intent?.actor), /"uid":"corp\/4711"/);
  assert.equal(outcome?.status_id, 1);
  assert.equal(denied?.action_id, 2);
});
