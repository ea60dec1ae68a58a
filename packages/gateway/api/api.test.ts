import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { TOKEN_TYPE } from "@custody/contract/oauth.ts";
import { encodeLeaf } from "@custody/evidence/core/leaf.ts";
import { LOG_WORKER } from "@custody/evidence/core/log-shard.ts";
import { parseKey } from "@custody/evidence/core/note.ts";
import { encodeBundle } from "@custody/evidence/core/tile.ts";
import { createLocalJWKSet, jwtVerify } from "jose";
import { fetch } from "undici";
import {
  at,
  bearer,
  GRANT,
  NARROW,
  startControlApi,
} from "../../../conformance/support/control-api.ts";
import { Secret } from "../base/secret.ts";

const api = await startControlApi();
after(() => api[Symbol.asyncDispose]());
// The limits on how often one may ask fill up again between tests.
beforeEach(() => api.side.clock.advance(10_000));
const { agent, call, delegate, form, get, named, post, side, signIn } = api;

describe("delegations", () => {
  test("show the caller's own subtree; somebody else's does not exist; administrators see all", async () => {
    const root = await signIn("engineer");
    const [one, two] = [await delegate(root, "one"), await delegate(root, "two")];
    const idOf = async (token: string) =>
      String(at(await get("/v1/whoami", token), "delegation.id"));
    const [idRoot, idOne, idTwo] = [await idOf(root), await idOf(one), await idOf(two)];
    const below = at(await get("/v1/delegations", root), "delegations");
    assert.deepEqual(
      (below as { id: string }[]).map(({ id }) => id),
      [idRoot, idOne, idTwo],
    );
    for (const [token, id] of [
      [one, idTwo],
      [one, idRoot],
    ] as const) {
      assert.equal((await get(`/v1/delegations/${id}`, token)).status, 404);
      assert.equal((await post(`/v1/delegations/${id}/revoke`, token)).status, 404);
      assert.equal((await post(`/v1/delegations/${id}/renew`, token)).status, 404);
    }
    const admin = await signIn("admin");
    assert.equal((await get(`/v1/delegations/${idOne}`, admin)).status, 200);
    assert.equal(at(await get("/v1/whoami", admin), "administrator"), true);
    const agentOfAdmin = await delegate(admin, "helper");
    assert.equal((await get(`/v1/delegations/${idOne}`, agentOfAdmin)).status, 404);
  });

  test("revoked ones are refused everywhere at once, and RFC 7009 gives one's own back", async () => {
    const root = await signIn("engineer", TOKEN_TYPE.handle);
    const one = await delegate(root, "one");
    const two = await delegate(one, "two");
    const id = String(at(await get("/v1/whoami", one), "delegation.id"));
    const revoked = await post(`/v1/delegations/${id}/revoke`, root, { reason: "done" });
    assert.equal(at(revoked, "revoked"), 2);
    assert.equal(at(revoked, "delegation.revokeReason"), "done");
    for (const token of [one, two]) {
      const answer = await get("/v1/whoami", token);
      assert.equal(answer.status, 401);
      assert.match(String(at(answer, "error.message")), /was revoked/);
      assert.equal((await named(token, "x", NARROW)).status, 400);
      assert.deepEqual((await form("/introspect", { token }, bearer(root).headers)).body, {
        active: false,
      });
    }
    assert.equal((await form("/revoke", { token: "unknown" })).status, 200);
    assert.equal((await form("/revoke", { token: root })).status, 200);
    assert.equal((await get("/v1/whoami", root)).status, 401);
  });

  test("are renewed from above; a parent gets no token of its child", async () => {
    const root = await signIn("engineer");
    const short = await named(root, "short", GRANT, { expires_in: "60" });
    const id = String(at(short, "delegation_id"));
    const child = String(at(short, "access_token"));
    assert.equal((await post(`/v1/delegations/${id}/renew`, child)).status, 403);
    const renewed = await post(`/v1/delegations/${id}/renew`, root, { expiresIn: 600 });
    assert.equal(renewed.status, 200, renewed.text);
    assert.equal(at(renewed, "accessToken"), undefined);
    const rootId = String(at(renewed, "delegation.root"));
    const own = await post(`/v1/delegations/${rootId}/renew`, root);
    assert.equal((await get("/v1/whoami", String(at(own, "accessToken")))).status, 200);
  });
});

describe("requests and sessions", () => {
  test("a hold is seen and decided by who may, and by nobody else", async () => {
    const root = await signIn("engineer");
    const job = await delegate(root, "job");
    const stranger = await delegate(root, "stranger");
    const opened = await side.control.openSession(
      {
        protocol: "postgres",
        credential: new Secret(job),
        target: "orders",
        account: "ro",
        database: "shop",
        clientAddress: "127.0.0.1",
      },
      { onEnd: () => undefined, onWarning: () => undefined },
    );
    const { sessionId } = opened;
    const requirement = {
      policyId: "deletes-need-a-dba",
      message: "deletes need a DBA",
      quorum: 1,
      approvers: ["corp/dba"],
      ttlMs: 60_000,
      justificationRequired: false,
    };
    const { holdId } = await side.control.requestApproval(
      {
        requestId: "r-1",
        sessionId,
        target: "orders",
        account: "ro",
        what: "delete on table public.orders",
        command: "DELETE FROM orders",
        parameters: [],
        preview: [{ title: "What it takes away", text: "- a row".repeat(20_000) }],
        requirements: [requirement],
        justification: undefined,
        binding: "b",
      },
      () => undefined,
    );
    const dba = await signIn("dba1");
    const path = `/v1/requests/${holdId}`;
    assert.equal((await get(path, stranger)).status, 404);
    const mine = await get(path, root);
    assert.equal(at(mine, "mayVote"), false);
    assert.deepEqual(at(mine, "preview"), []);
    assert.match(String(at(mine, "whyNot")), /own behalf/);
    assert.equal((await post(`${path}/approve`, root)).status, 403);
    assert.equal((await post(`${path}/approve`, job)).status, 403);
    const listed = await get("/v1/requests?state=waiting", dba);
    assert.equal(at(listed, "requests.0.command"), "DELETE FROM orders");
    assert.equal(at(listed, "requests.0.mayVote"), true);
    assert.equal(at(listed, "requests.0.preview.0.title"), "What it takes away");
    assert.equal(String(at(listed, "requests.0.preview.0.text")).length, 2048);
    const whole = await get(path, dba);
    assert.equal(String(at(whole, "preview.0.text")).length, 32 * 1024);
    assert.equal((await get("/v1/requests?status=waiting", dba)).status, 400);
    const approved = await post(`${path}/approve`, dba, { reason: "fine" });
    assert.equal(at(approved, "state"), "approved", approved.text);
    assert.equal(at(approved, "votes.0.person"), "dana");
    assert.equal((await post(`${path}/deny`, dba)).status, 400);

    assert.equal((await get(`/v1/sessions/${sessionId}`, stranger)).status, 404);
    assert.equal(at(await get(`/v1/sessions/${sessionId}`, root), "state"), "live");
    assert.equal((await get(`/v1/sessions/${sessionId}/recording`, root)).status, 403);
    assert.equal((await get(`/v1/sessions/${sessionId}/recording`, stranger)).status, 404);
    const admin = await signIn("admin");
    const recording = await get(`/v1/sessions/${sessionId}/recording`, admin);
    assert.match(recording.text, new RegExp(`"kind":"session","session":"${sessionId}"`));
    assert.ok((await side.leaves()).some(({ event }) => event === "recording.read"));
    const chain = at(await get(`/v1/sessions/${sessionId}`, root), "chain") as { id: string }[];
    for (const [filter, who, count] of [
      ["target=orders", admin, 1],
      ["target=other", admin, 0],
      [`root=${encodeURIComponent(chain[0]?.id ?? "")}`, admin, 1],
      [`agent=${encodeURIComponent(chain[0]?.id ?? "")}`, admin, 0],
      ["decision=hold", admin, 1],
      ["decision=deny", admin, 0],
      ["class=pii.email", admin, 0],
      ["text=session", admin, 1],
      ["text=nothing", admin, 0],
      ["text=session", root, 0],
      ["text=session", stranger, 0],
    ] as const) {
      const found = await get(`/v1/sessions?${filter}`, who);
      const ids = at(found, "sessions") as { id: string }[];
      assert.equal(ids.length, count, `${filter}: ${found.text}`);
      if (filter.startsWith("text")) assert.equal(at(found, "searched"), who === admin ? 1 : 0);
    }
    const searches = (await side.leaves()).filter(
      ({ event, detail }) => event === "recording.read" && detail !== undefined,
    );
    assert.equal(searches.length, 2, "looking into a recording is on record");
    const ended = await post(`/v1/sessions/${sessionId}/end`, root, { reason: "enough" });
    assert.equal(at(ended, "ended"), true);
    await side.control.closeSession(sessionId, "ended", undefined);
    const closed = await get(`/v1/sessions/${sessionId}`, root);
    assert.equal(at(closed, "state"), "closed");
    assert.match(String(at(closed, "closeReason")), /ended this session: enough/);
  });
});

describe("the log", () => {
  test("gives its files by the form of their names only, to who may read them", async () => {
    const log = join(side.directory, "log");
    await mkdir(join(log, "tile", "entries", "x001"), { recursive: true });
    await writeFile(join(log, "checkpoint"), "custody.test\n1\nAAAA\n");
    await writeFile(join(log, "tile", "entries", "x001", "067"), "entries");
    assert.equal((await call("GET", "/v1/audit/checkpoint")).text, "custody.test\n1\nAAAA\n");
    assert.match((await call("GET", "/v1/audit/vkey")).text, /^custody\.test\+/);
    const tile = "/v1/audit/tile/entries/x001/067";
    assert.equal((await call("GET", tile)).status, 401);
    assert.equal((await get(tile, await signIn("engineer"))).status, 403);
    const admin = await signIn("admin");
    const served = await get(tile, admin);
    assert.equal(served.text, "entries");
    assert.equal(served.headers.get("content-type"), "application/octet-stream");
    assert.equal(served.headers.get("cache-control"), "private, max-age=31536000, immutable");
    assert.equal((await call("GET", "/v1/audit/cosigned")).status, 404);
    await writeFile(join(log, "cosigned"), "custody.test\n1\nAAAA\nwitness");
    const cosigned = await call("GET", "/v1/audit/cosigned");
    assert.equal(cosigned.text, "custody.test\n1\nAAAA\nwitness");
    assert.equal(cosigned.headers.get("cache-control"), "no-cache");
    for (const path of [
      "entries/x001/068",
      "entries",
      "../checkpoint",
      "..%2fcheckpoint",
      "%2e%2e/checkpoint",
      "entries/x001/..%2f..%2f..%2fcheckpoint",
      "entries/x001/067%00",
      "entries//x001/067",
      "64/000",
      "0/000.p/0",
      "..%2f..%2fkeys%2fdelegation.key",
    ]) {
      // Not `fetch`, which would make the path canonical before it is sent.
      const answer = await agent.request({
        origin: side.url,
        method: "GET",
        path: `/v1/audit/tile/${path}`,
        ...bearer(admin),
      });
      await answer.body.dump();
      assert.ok([400, 404].includes(answer.statusCode), `${path}: ${answer.statusCode}`);
    }
  });

  test("is served by shards, each as a log of its own, under its own key", async () => {
    const log = join(side.directory, "log");
    const admin = await signIn("admin");
    const entry = encodeLeaf({
      ...{ v: 1, event: "log.opened", at: 1, worker: LOG_WORKER, seq: 1 },
      detail: { before: 0 },
    });
    await mkdir(join(log, "2027", "tile", "entries", "000.p"), { recursive: true });
    await writeFile(join(log, "2027", "tile", "entries", "000.p", "1"), encodeBundle([entry]));
    const base = (await call("GET", "/v1/audit/vkey")).text.split("+")[0];
    const root = Buffer.alloc(32, 7).toString("base64");
    const head = `${base}/2027\n1\n${root}\n\n\u2014 ${base}/2027 ${Buffer.alloc(68).toString("base64")}\n`;
    await writeFile(join(log, "2027", "checkpoint"), head);
    // What the test before has left is no log.
    await rm(join(log, "checkpoint"));
    const listed = await call("GET", "/v1/audit/shards");
    const { shards } = JSON.parse(listed.text) as { shards: Record<string, unknown>[] };
    const [{ vkey, ...shard } = {}] = shards;
    assert.deepEqual(shard, {
      ...{ name: "2027", origin: `${base}/2027`, size: 1, before: 0, closed: false },
    });
    assert.equal(parseKey(String(vkey)).name, `${base}/2027`);
    assert.equal((await call("GET", "/v1/audit/shards/2027/checkpoint")).text, head);
    assert.equal((await call("GET", "/v1/audit/shards/2027/cosigned")).status, 404);
    const tile = "/v1/audit/shards/2027/tile/entries/000.p/1";
    assert.equal((await call("GET", tile)).status, 401);
    assert.equal((await get(tile, await signIn("engineer"))).status, 403);
    assert.equal((await get(tile, admin)).status, 200);
    for (const name of ["2026", "..", "%2e%2e", "2027%2f..", "tile", "20270", "2027-13"]) {
      for (const [file, by] of [
        ["checkpoint", {}],
        ["tile/entries/000.p/1", bearer(admin)],
      ] as const) {
        const path = `/v1/audit/shards/${name}/${file}`;
        const answer = await agent.request({ origin: side.url, method: "GET", path, ...by });
        await answer.body.dump();
        assert.ok([400, 404].includes(answer.statusCode), `${path}: ${answer.statusCode}`);
      }
    }
  });

  test("can be tailed, leaf by leaf, and says so in the log", async () => {
    const admin = await signIn("admin");
    assert.equal((await get("/v1/events", await signIn("engineer"))).status, 403);
    const stop = new AbortController();
    const { signal } = stop;
    const init = { dispatcher: agent, signal, ...bearer(admin) };
    const response = await fetch(`${side.url}/v1/events`, init);
    const reader = response.body?.getReader() ?? assert.fail();
    await delegate(await signIn("engineer"), "seen");
    let text = "";
    while (!text.includes('"delegation.created"')) {
      const { value } = await reader.read();
      text += Buffer.from(value ?? []).toString();
    }
    stop.abort();
    assert.ok((await side.leaves()).some(({ event }) => event === "audit.read"));
  });
});

describe("the listener", () => {
  test("answers errors with a code and a request id, without a stack or a version", async () => {
    const garbage = await call("POST", "/v1/delegations/d-0000/revoke", {
      headers: {
        authorization: `Bearer ${await signIn("engineer")}`,
        "content-type": "application/json",
      },
      body: "{",
    });
    const answers = [
      await call("GET", "/nothing"),
      await call("GET", "/v1/whoami"),
      await get("/v1/whoami", "x"),
      await call("GET", "/v1/whoami", { headers: { authorization: "Basic eDp5" } }),
      await get("/v1/sessions/%00", await signIn("engineer")),
      garbage,
    ];
    assert.deepEqual(
      answers.map(({ status }) => status),
      [404, 401, 401, 401, 404, 400],
    );
    for (const answer of answers) {
      assert.match(String(at(answer, "error.requestId")), /^r-/);
      assert.doesNotMatch(answer.text, /node_modules|\bat \/|\.ts:/);
      assert.equal(answer.headers.get("server"), null);
      assert.equal(answer.headers.get("cache-control"), "no-store");
      assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
    }
    assert.deepEqual(side.faults, []);
  });

  test("is limited in what it reads, and outlives who speaks no TLS", async () => {
    const large = await form("/token", { grant_type: "x".repeat(200_000) });
    assert.equal(large.status, 413);
    const { port } = new URL(side.url);
    const plain = connect(Number(port), "127.0.0.1");
    plain.on("error", () => undefined);
    plain.end("GET / HTTP/1.1\r\n\r\n");
    await sleep(50);
    assert.deepEqual((await call("GET", "/healthz")).body, { status: "ok" });
    assert.deepEqual((await call("GET", "/readyz")).body, {
      status: "ready",
      checks: { store: "ok" },
    });
  });

  test("shows a renewed certificate to who connects next, and keeps the connections it has", async () => {
    const port = Number(new URL(side.url).port);
    const trust = { host: "127.0.0.1", port, ca: side.ca };
    const shown = async () => {
      const socket = connectTls(trust);
      await once(socket, "secureConnect");
      return { socket, serial: socket.getPeerCertificate().serialNumber };
    };
    const before = await shown();
    side.renewCertificate();
    const next = await shown();
    assert.notEqual(next.serial, before.serial);
    before.socket.write("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let text = "";
    for await (const chunk of before.socket) text += chunk;
    assert.match(text, /^HTTP\/1\.1 200/);
    next.socket.destroy();
  });

  test("tells what it is (RFC 8414), and the keys it shows verify what it signs", async () => {
    const metadata = await call("GET", "/.well-known/oauth-authorization-server");
    assert.equal(at(metadata, "issuer"), side.issuer);
    assert.equal(at(metadata, "token_endpoint"), `${side.issuer}/token`);
    const jwks = await call("GET", "/jwks");
    assert.doesNotMatch(jwks.text, /"d":/);
    const keys = createLocalJWKSet(jwks.body as Parameters<typeof createLocalJWKSet>[0]);
    await jwtVerify(await signIn("engineer"), keys, { issuer: side.issuer });
  });

  test("slows down who asks too often", async () => {
    let limited = 0;
    for (let index = 0; index < 150 && limited === 0; index++) {
      const answer = await form("/revoke", { token: "x" });
      if (answer.status === 429) limited++;
    }
    assert.equal(limited, 1);
    side.clock.advance(60_000);
    assert.equal((await form("/revoke", { token: "x" })).status, 200);
  });
});
