import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { after, before, describe, it } from "node:test";
import { connect } from "node:tls";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";

let door: TestDoor;
/** Requests at the API server. */
const atOnce = { now: 0, most: 0 };

before(async () => {
  door = await openTestDoor({
    answer: async (_request, answer) => {
      atOnce.now++;
      atOnce.most = Math.max(atOnce.most, atOnce.now);
      await new Promise((resolve) => setImmediate(resolve));
      atOnce.now--;
      answer.writeHead(200, { "content-type": "application/json" });
      answer.end(`{"kind":"ConfigMap","apiVersion":"v1"}`);
    },
    policies: policy(`@id("all") permit (principal, action, resource);`),
    hops: [engineer],
    limits: { sessionIdleMs: 400, startupTimeoutMs: 4000 },
  });
});

after(() => door[Symbol.asyncDispose]());

function open(protocol: string) {
  const { hostname: host, port } = new URL(door.origin);
  const socket = connect({ host, port: Number(port), ca: door.ca, ALPNProtocols: [protocol] });
  socket.on("error", () => undefined);
  return socket;
}

/** However it ended. */
function closed(one: NodeJS.EventEmitter): Promise<void> {
  return new Promise((resolve) => one.once("close", () => resolve()));
}

const HEAD =
  "POST /prod/api/v1/namespaces/shop/configmaps HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n";

describe("a connection of somebody who is known", () => {
  it("ends when a body drips", async () => {
    const socket = open("http/1.1");
    socket.write(`${HEAD}content-length: 5000\r\n\r\n{`);
    const drip = setInterval(() => socket.write(" "), 20);
    socket.resume();
    await closed(socket);
    clearInterval(drip);
    assert.deepEqual(door.seen, []);
  });

  it("ends when a body comes in crumbs, before anything is asked", async () => {
    const socket = open("http/1.1");
    const crumbs = "1\r\n \r\n".repeat(5000);
    socket.write(`${HEAD}transfer-encoding: chunked\r\n\r\n${crumbs}`);
    socket.resume();
    await closed(socket);
    assert.deepEqual(door.seen, []);
  });

  it("has its requests answered one after the other, and not more of them than wait", async () => {
    const path = "/prod/api/v1/namespaces/shop/configmaps/c";
    const one = `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n`;
    const socket = open("http/1.1");
    let text = "";
    socket.setEncoding("latin1");
    const answered = () => text.split("HTTP/1.1 200").length - 1;
    const all = new Promise<void>((resolve) =>
      socket.on("data", (part) => {
        text += part;
        if (answered() === 20) resolve();
      }),
    );
    atOnce.most = 0;
    socket.write(one.repeat(20));
    await all;
    assert.equal(atOnce.most, 1);
    socket.write(one.repeat(500));
    await closed(socket);
    assert.ok(answered() < 60, String(answered()));
    door.seen.length = 0;
  });

  it("asks a part of what it asks at once, and is answered all of it", async () => {
    const client = connectHttp2(door.origin, { ca: door.ca });
    const path = "/prod/api/v1/namespaces/shop/configmaps/c";
    atOnce.most = 0;
    const statuses = await Promise.all(
      Array.from({ length: 300 }, async () => {
        const stream = client.request({ ":path": path, authorization: "Bearer good" });
        const [headers] = await once(stream, "response");
        stream.resume();
        await once(stream, "end");
        return headers[":status"];
      }),
    );
    assert.deepEqual(new Set(statuses), new Set([200]));
    assert.ok(atOnce.most <= 64, String(atOnce.most));
    client.destroy();
    door.seen.length = 0;
  });

  it("is not kept by pings alone", async () => {
    const client = connectHttp2(door.origin, { ca: door.ca });
    client.on("error", () => undefined);
    const path = "/prod/api/v1/namespaces/shop/configmaps/c";
    const stream = client.request({ ":path": path, authorization: "Bearer good" });
    stream.on("error", () => undefined).resume();
    const ping = () => {
      if (!client.closed && !client.destroyed) client.ping(() => undefined);
    };
    const pings = setInterval(ping, 50);
    await new Promise((resolve) => client.once("close", resolve));
    clearInterval(pings);
  });
});

describe("a request of HTTP/2 that is refused before it is served", () => {
  for (const method of ["GET", "POST"])
    it(`is answered whole: ${method}`, async () => {
      const client = connectHttp2(door.origin, { ca: door.ca });
      client.on("error", () => undefined);
      const headers = { authorization: "Bearer good", "impersonate-user": "root" };
      const path = "/prod/api/v1/namespaces/shop/configmaps";
      const stream = client.request({ ":method": method, ":path": path, ...headers });
      if (method === "POST") stream.end("{}");
      const codes: number[] = [];
      stream.on("aborted", () => codes.push(stream.rstCode ?? -1));
      let text = "";
      for await (const part of stream.setEncoding("utf8")) text += part;
      assert.match((JSON.parse(text) as { message: string }).message, /is not taken from clients/);
      assert.deepEqual(codes, []);
      client.destroy();
    });
});
