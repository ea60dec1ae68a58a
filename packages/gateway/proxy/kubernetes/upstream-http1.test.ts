// Against real servers of node's, and one of TLS alone for what node's would not say.

import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import { describe, it } from "node:test";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { createTestAuthority } from "../../../../conformance/support/certificates.ts";
import { GatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import { wholeBody } from "./answer-body.ts";
import { openUpstream, type Upstream } from "./upstream.ts";

const authority = createTestAuthority();
const certificate = authority.issue(["127.0.0.1"]);
const SMALL = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const MAX_BYTES = 16 << 20;

async function listening(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface TestServer extends AsyncDisposable {
  readonly address: string;
  readonly sockets: TLSSocket[];
}

async function serve(server: Server): Promise<TestServer> {
  const sockets: TLSSocket[] = [];
  server.on("secureConnection", (socket: TLSSocket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
  });
  return {
    ...{ sockets, address: await listening(server) },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function httpServer(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  return serve(createHttpsServer({ ...certificate, keepAliveTimeout: 60_000 }, answer));
}

/** Says what it is told to, each time it is asked something. */
function plainServer(say: (socket: TLSSocket, count: number, request: string) => void) {
  let count = 0;
  return serve(
    createTlsServer(certificate, (socket) => {
      socket.on("data", (data: Buffer) => say(socket, ++count, data.toString("latin1")));
    }),
  );
}

/** Answers with what it was sent. */
async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  response.writeHead(200, { "content-type": "application/json" });
  response.end(Buffer.concat(parts));
}

function opened(server: string): Upstream {
  return openUpstream(
    { server, ca: authority.cert, connectTimeoutMs: 30_000 },
    {
      ...{ kind: "kubernetes", user: "", certificate: undefined },
      token: new Secret("gateway-token"),
      impersonate: { user: "corp/erin", groups: ["a,b", "c"], extra: {} },
    },
  );
}

function ask(
  upstream: Upstream,
  method = "GET",
  body?: string | Buffer,
  more: { readonly signal?: AbortSignal; readonly headers?: Record<string, string> } = {},
) {
  return upstream.request({
    ...{ method, path: "/api/v1/pods", headers: more.headers ?? { accept: "application/json" } },
    body: body === undefined ? undefined : Buffer.from(body),
    signal: more.signal ?? new AbortController().signal,
  });
}

async function told(upstream: Upstream, method?: string, body?: string | Buffer): Promise<string> {
  const answer = await ask(upstream, method, body);
  return (await wholeBody(answer.body, MAX_BYTES)).toString("latin1");
}

describe("requests upstream over HTTP/1.1", () => {
  it("go one after the other on one connection, whatever they are", async () => {
    await using server = await httpServer(echo);
    await using upstream = opened(server.address);
    const large = "x".repeat(3 << 20);
    assert.equal(await told(upstream), "");
    assert.equal(await told(upstream, "POST", "{}"), "{}");
    assert.equal(
      await told(upstream, "DELETE", `{"kind":"DeleteOptions"}`),
      `{"kind":"DeleteOptions"}`,
    );
    assert.equal(await told(upstream, "PUT", large), large);
    assert.equal(await told(upstream, "DELETE"), "");
    assert.equal((await ask(upstream, "HEAD")).status, 200);
    assert.equal(await told(upstream), "");
    assert.equal(server.sockets.length, 1);
  });

  it("go on a connection each when they are asked at once, and those are kept", async () => {
    await using server = await httpServer(echo);
    await using upstream = opened(server.address);
    const five = () =>
      Promise.all(Array.from({ length: 5 }, (_, n) => told(upstream, "POST", String(n))));
    assert.deepEqual(await five(), ["0", "1", "2", "3", "4"]);
    assert.deepEqual(await five(), ["0", "1", "2", "3", "4"]);
    assert.equal(server.sockets.length, 5);
  });

  it("show who asks, and nobody else", async () => {
    const seen: string[][] = [];
    await using server = await httpServer((request, response) => {
      seen.push(request.rawHeaders);
      response.end("{}");
    });
    await using upstream = opened(server.address);
    const headers = {
      accept: "a/b",
      authorization: "Bearer mine",
      host: "h",
      "content-length": "9",
    };
    await ask(upstream, "GET", undefined, { headers });
    await assert.rejects(
      ask(upstream, "GET", undefined, { headers: { accept: "a\r\nauthorization: Bearer mine" } }),
      GatewayError,
    );
    assert.deepEqual(seen, [
      [
        ...["accept", "a/b", "host", new URL(server.address).host],
        ...["authorization", "Bearer gateway-token", "impersonate-user", "corp/erin"],
        ...["impersonate-group", "a,b", "impersonate-group", "c"],
      ],
    ]);
  });

  it("are asked again when their connection had just ended, where they read", async () => {
    await using server = await plainServer((socket, count) => {
      if (count % 2 === 1) socket.write(SMALL);
      else socket.destroy();
    });
    await using upstream = opened(server.address);
    assert.equal(await told(upstream), "{}");
    assert.equal(await told(upstream), "{}");
    await assert.rejects(ask(upstream, "POST", "{}"), { code: "target_unavailable" });
    assert.equal(server.sockets.length, 2);
  });

  for (const [what, text] of [
    ["says is the last", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"],
    ["says more on", `${SMALL}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged`],
  ] as const)
    it(`do not go on a connection the server ${what}`, async () => {
      await using server = await plainServer((socket) => socket.write(text));
      await using upstream = opened(server.address);
      for (let count = 1; count <= 3; count++) {
        assert.equal(await told(upstream), "{}");
        assert.equal(server.sockets.length, count);
      }
    });

  it("take nothing the server says unasked for their answer", async () => {
    await using server = await plainServer((socket) => {
      socket.write(SMALL, () =>
        setImmediate(() => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")),
      );
    });
    await using upstream = opened(server.address);
    assert.equal(await told(upstream), "{}");
    const [socket] = server.sockets;
    if (socket?.closed !== true) await once(socket as TLSSocket, "close");
    assert.equal(await told(upstream), "{}");
  });

  for (const [what, text] of [
    ["breaks off", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"],
    ["ends within its chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"],
    ["is no chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}}}"],
  ] as const)
    it(`are not whole when the answer ${what}`, async () => {
      await using server = await plainServer((socket) => socket.end(text));
      await using upstream = opened(server.address);
      await assert.rejects(told(upstream));
    });

  it("are refused what is no answer", async () => {
    await using server = await plainServer((socket) => socket.write("HTTP/1.1 200 OK\r\n\r\n{}"));
    await using upstream = opened(server.address);
    await assert.rejects(ask(upstream), { code: "target_unavailable" });
  });

  it("end with their signal: before the answer, within it, and while the connection is made", async () => {
    const arrived = Promise.withResolvers<void>();
    await using server = await plainServer((socket, count) => {
      if (count > 1) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}");
      arrived.resolve();
    });
    await using upstream = opened(server.address);
    const revoked = new GatewayError("revoked", "the delegation was revoked");
    const before = new AbortController();
    const asked = ask(upstream, "GET", undefined, { signal: before.signal });
    await arrived.promise;
    before.abort(revoked);
    await assert.rejects(asked, revoked);
    const within = new AbortController();
    const answer = await ask(upstream, "GET", undefined, { signal: within.signal });
    const body = wholeBody(answer.body, MAX_BYTES);
    within.abort(revoked);
    await assert.rejects(body, revoked);
    const silent = createTcpServer();
    await using stuck = opened(await listening(silent));
    const making = new AbortController();
    const waiting = ask(stuck, "GET", undefined, { signal: making.signal });
    const [socket] = await once(silent, "connection");
    making.abort(revoked);
    await assert.rejects(waiting, revoked);
    socket.destroy();
    silent.close();
  });

  it("come as fast as they are taken, and whole", async () => {
    const piece = Buffer.alloc(64 << 10, "x");
    let ahead = 0;
    await using server = await httpServer((request, response) => {
      if (request.method === "POST") return void response.end("{}");
      let left = 512;
      const more = () => {
        while (left-- > 0) {
          ahead += piece.length;
          if (!response.write(piece)) return void response.once("drain", more);
        }
        response.end();
      };
      more();
    });
    await using upstream = opened(server.address);
    const { body } = await ask(upstream);
    let [taken, most] = [0, 0];
    await body.each(async (chunk) => {
      taken += chunk.length;
      // As slow as the loop turns: the server would be through long before.
      if (taken < 4 << 20) await new Promise((resolve) => setImmediate(resolve));
      most = Math.max(most, ahead - taken);
    });
    assert.equal(taken, 512 * piece.length);
    assert.ok(most < 24 << 20, `${most} bytes were ahead`);
    assert.equal(await told(upstream, "POST", "{}"), "{}");
    assert.equal(server.sockets.length, 1);
  });

  it("leave no connection open that nobody asks on, nor any when their session ends", async () => {
    await using server = await httpServer(echo);
    await using upstream = opened(server.address);
    await told(upstream);
    const [first] = server.sockets;
    if (first?.closed !== true) await once(first as TLSSocket, "close");
    await told(upstream);
    await upstream[Symbol.asyncDispose]();
    const [, second] = server.sockets;
    if (second?.closed !== true) await once(second as TLSSocket, "close");
  });
});
