// Against real servers of node's: one that speaks HTTP/2, one that does not.

import assert from "node:assert/strict";
import { createSecureServer, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { describe, it } from "node:test";
import { createTestAuthority } from "../../../../conformance/support/certificates.ts";
import { GatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import { wholeBody } from "./answer-body.ts";
import { openUpstream } from "./upstream.ts";

const authority = createTestAuthority();
const EVENT = `{"type":"ADDED"}\n`;

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Streams are answered with one event and go on; what was asked, and on how many connections. */
async function http2Server(maxConcurrentStreams: number) {
  const server = createSecureServer({
    ...authority.issue(["127.0.0.1"]),
    settings: { maxConcurrentStreams },
  });
  const sessions: ServerHttp2Session[] = [];
  const asked: string[][] = [];
  const streams: ServerHttp2Stream[] = [];
  server.on("session", (session) => {
    sessions.push(session);
    session.on("error", () => undefined);
  });
  server.on("stream", (stream: ServerHttp2Stream, ...rest: unknown[]) => {
    asked.push(rest[2] as string[]);
    streams.push(stream);
    stream.on("error", () => undefined);
    stream.respond({ ":status": 200, "content-type": "application/json" });
    stream.write(EVENT);
  });
  return {
    ...{ asked, sessions, streams },
    address: await listening(server as unknown as Server),
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function opened(server: string) {
  return openUpstream(
    { server, ca: authority.cert, connectTimeoutMs: 30_000 },
    {
      ...{ kind: "kubernetes", user: "", certificate: undefined },
      token: new Secret("gateway-token"),
      impersonate: { user: "corp/erin", groups: ["a,b", "c"], extra: {} },
    },
  );
}

type Upstream = ReturnType<typeof openUpstream>;

function watch(upstream: Upstream, signal = new AbortController().signal) {
  return upstream.request({
    ...{ method: "GET", path: "/api/v1/pods?watch=1", headers: { accept: "application/json" } },
    ...{ body: undefined, signal, isWatch: true },
  });
}

/** The first chunk of it. */
function first(answer: Awaited<ReturnType<typeof watch>>): Promise<string> {
  return new Promise((resolve, reject) => {
    answer.body
      .each((chunk) => {
        resolve(chunk.toString());
        return undefined;
      })
      .catch(reject);
  });
}

describe("watches upstream", () => {
  it("share a connection, as many as the server allows, each with its events", async () => {
    await using server = await http2Server(2);
    await using upstream = opened(server.address);
    for (let index = 0; index < 5; index++) assert.equal(await first(await watch(upstream)), EVENT);
    assert.equal(server.sessions.length, 3);
  });

  it("show who asks with a line for each group, whatever is in its name", async () => {
    await using server = await http2Server(10);
    await using upstream = opened(server.address);
    await watch(upstream);
    const [raw = []] = server.asked;
    const groups = raw.filter((_, index) => raw[index - 1] === "impersonate-group");
    assert.deepEqual(groups, ["a,b", "c"]);
    assert.equal(raw[raw.indexOf("authorization") + 1], "Bearer gateway-token");
  });

  it("end with their signal, and alone", async () => {
    await using server = await http2Server(10);
    await using upstream = opened(server.address);
    const over = new AbortController();
    const [one, other] = [await watch(upstream, over.signal), await watch(upstream)];
    const ended = wholeBody(one.body, 1000);
    over.abort(new GatewayError("revoked", "the delegation was revoked"));
    await assert.rejects(ended, { code: "revoked" });
    const [closed, open] = server.streams;
    if (closed?.closed !== true) await new Promise((resolve) => closed?.once("close", resolve));
    assert.equal(open?.closed, false);
    assert.equal(await first(other), EVENT);
  });

  it("end with a whole body when the server ends them, and with an error when it breaks them", async () => {
    await using server = await http2Server(10);
    await using upstream = opened(server.address);
    const [one, other] = [await watch(upstream), await watch(upstream)];
    const [ended, broken] = [wholeBody(one.body, 1000), wholeBody(other.body, 1000)];
    server.streams[0]?.end(EVENT);
    assert.equal((await ended).toString(), EVENT + EVENT);
    server.streams[1]?.destroy(new Error("broken"));
    await assert.rejects(broken);
  });

  it("go on another connection when the one they were on has gone", async () => {
    await using server = await http2Server(10);
    await using upstream = opened(server.address);
    const ended = wholeBody((await watch(upstream)).body, 1000);
    server.sessions[0]?.destroy();
    await assert.rejects(ended);
    assert.equal(await first(await watch(upstream)), EVENT);
    assert.equal(server.sessions.length, 2);
  });

  it("have a connection each where the server speaks HTTP/1.1 only", async () => {
    const server = createHttpsServer(authority.issue(["127.0.0.1"]), (_request, answer) => {
      answer.write(EVENT);
    });
    const address = await listening(server);
    try {
      await using upstream = opened(address);
      for (let index = 0; index < 3; index++)
        assert.equal(await first(await watch(upstream)), EVENT);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it("are refused when nobody listens", async () => {
    const server = createHttpsServer();
    const address = await listening(server);
    await new Promise((resolve) => server.close(resolve));
    await using upstream = opened(address);
    await assert.rejects(watch(upstream), { code: "target_unavailable" });
  });
});
