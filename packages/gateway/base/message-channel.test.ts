import assert from "node:assert/strict";
import { test } from "node:test";
import { type MessagePort as Port, MessageChannel as PortPair } from "node:worker_threads";
import { GatewayError } from "./errors.ts";
import { type ChannelLimits, type MessagePort, openChannel } from "./message-channel.ts";
import { Secret } from "./secret.ts";
import { closeSecrets, openSecrets } from "./secret-data.ts";

type Sums = {
  readonly add: (numbers: readonly number[]) => number;
  readonly refuse: (why: string) => undefined;
  readonly never: (nothing: null) => undefined;
  readonly heard: (word: string) => undefined;
};

/** A port of Node's own: structured clone, in order, asynchronous. */
function carriedBy(port: Port): MessagePort {
  return {
    send(message, taken) {
      port.postMessage(message);
      setImmediate(taken, null);
    },
    onMessage: (listener) => void port.on("message", listener),
    onClose: (listener) => void port.on("close", listener),
    close: () => port.close(),
  };
}

function pair(limits?: ChannelLimits) {
  const { port1, port2 } = new PortPair();
  const heard: string[] = [];
  const faults: GatewayError[] = [];
  const onFault = (error: GatewayError) => faults.push(error);
  const server = openChannel<Sums, Record<string, never>>(
    carriedBy(port2),
    {
      add: (numbers) => (numbers as number[]).reduce((one, other) => one + other, 0),
      refuse(why) {
        throw new GatewayError("forbidden", String(why), {
          hint: "ask somebody",
          cause: new Error("inner words"),
        });
      },
      never: () => new Promise(() => undefined),
      heard: (word) => heard.push(String(word)),
    },
    { onFault },
  );
  const client = openChannel<Record<string, never>, Sums>(
    carriedBy(port1),
    {},
    { onFault, ...(limits === undefined ? undefined : { limits }) },
  );
  return { client, server, heard, faults, raw: port1 };
}

test("calls are answered, in any order, and notices come before later calls", async () => {
  const { client, server, heard } = pair();
  client.tell("heard", "first");
  const sums = await Promise.all([client.call("add", [1, 2]), client.call("add", [3, 4])]);
  assert.deepEqual(sums, [3, 7]);
  assert.deepEqual(heard, ["first"]);
  client.close();
  await server.closed;
});

test("what a method throws arrives with its code and hint, its cause as words", async () => {
  const { client } = pair();
  const error = await client.call("refuse", "not you").catch((thrown) => thrown);
  assert.ok(error instanceof GatewayError);
  assert.deepEqual(
    [error.code, error.message, error.hint],
    ["forbidden", "not you", "ask somebody"],
  );
  assert.match(String(error.cause), /inner words/);
  client.close();
});

test("a call without an answer ends when the channel closes, and none is made after", async () => {
  const { client, server } = pair();
  const waiting = client.call("never", null);
  server.close();
  await assert.rejects(waiting, { code: "shutdown" });
  await assert.rejects(client.call("add", [1]), { code: "shutdown" });
  assert.equal(client.offer("heard", "too late"), false);
});

test("a message of another version, form or name closes the channel", async () => {
  for (const message of [
    { v: 2, tell: "heard", argument: "x" },
    { v: 1 },
    "heard",
    { v: 1, tell: "constructor", argument: "x" },
    { v: 1, answer: 77, value: 1 },
  ]) {
    const { raw, server, heard, faults } = pair();
    raw.postMessage(message);
    await server.closed;
    assert.deepEqual(heard, []);
    assert.equal(faults.length, 1);
  }
});

test("a name that is not there is an error of the call alone", async () => {
  const { client, server } = pair();
  const odd = client as unknown as { call(name: string, argument: unknown): Promise<unknown> };
  await assert.rejects(odd.call("toString", null), { code: "internal" });
  assert.equal(server.isClosed, false);
  client.close();
});

test("too many calls are refused, what may be lost is dropped, what may not closes", async () => {
  const { client, faults } = pair({ calls: 2, queued: 10 });
  const waiting = [client.call("never", null), client.call("never", null)];
  await assert.rejects(client.call("never", null), { code: "limit" });
  assert.equal(client.offer("heard", "dropped"), false);
  for (let sent = 0; sent < 9; sent++) client.tell("heard", "kept");
  assert.equal(client.isClosed, true);
  assert.equal(faults.length, 1);
  await Promise.allSettled(waiting);
});

test("secrets cross only where they are opened on purpose", () => {
  const value = {
    user: "app",
    password: new Secret("p"),
    list: [new Secret("q")],
    bytes: Buffer.of(1),
  };
  const copied = structuredClone(openSecrets(value));
  const closed = closeSecrets(copied) as typeof value;
  assert.ok(closed.password instanceof Secret);
  assert.equal(closed.password.reveal(), "p");
  assert.equal(closed.list[0]?.reveal(), "q");
  assert.equal(JSON.stringify(closed).includes('"p"'), false);
  assert.deepEqual([...closed.bytes], [1]);
});
