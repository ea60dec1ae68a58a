// What is thrown on the way in from a socket ends that connection and nothing else.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import test from "node:test";
import { SshConnection } from "@custody/wire/ssh/connection.ts";
import { ed25519, nowMs } from "@custody/wire/ssh/peer-harness.ts";
import { SshPeer } from "./peer.ts";

interface Pair extends AsyncDisposable {
  readonly server: SshPeer;
  readonly client: SshPeer;
  readonly faults: readonly unknown[];
}

async function connected(): Promise<Pair> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const accepting = once(listener, "connection") as Promise<[Socket]>;
  const socket = connect((listener.address() as AddressInfo).port, "127.0.0.1");
  const [accepted] = await accepting;
  const faults: unknown[] = [];
  const log = (_message: string, error: unknown) => void faults.push(error);
  const server = new SshConnection({
    ...{ role: "server", software: "test", nowMs },
    hostKeys: [{ privateKey: ed25519() }],
  });
  const client = new SshConnection({
    ...{ role: "client", software: "test", user: "web", nowMs },
    hostKeyAccepted: () => true,
  });
  const pair = {
    server: new SshPeer(accepted, server, log),
    client: new SshPeer(socket, client, log),
  };
  return {
    ...pair,
    faults,
    async [Symbol.asyncDispose]() {
      pair.server.destroy();
      pair.client.destroy();
      listener.close();
      await once(listener, "close");
    },
  };
}

test("a handler that throws loses its connection, is told so, and nothing else ends", async () => {
  await using pair = await connected();
  const gone = Promise.withResolvers<string>();
  const fault = new Error("a handler's fault");
  pair.client.handle({ onEvent: () => undefined, onGone: () => undefined });
  pair.server.handle({
    onEvent() {
      throw fault;
    },
    onGone: gone.resolve,
  });
  assert.equal(await gone.promise, "internal error");
  assert.ok(pair.server.isGone);
  assert.deepEqual(pair.faults, [fault]);
});

test("a handler that cannot bear the end of its connection is logged", async () => {
  await using pair = await connected();
  const fault = new Error("a fault at the end");
  pair.server.handle({
    onEvent: () => undefined,
    onGone() {
      throw fault;
    },
  });
  pair.client.destroy();
  while (!pair.server.isGone) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(pair.faults, [fault]);
});

test("of what has to be decided on little is handed on in one turn, however much one segment holds", async () => {
  await using pair = await connected();
  const { connection } = pair.client;
  let channel = -1;
  let inTurn = 0;
  let most = 0;
  let got = 0;
  const ended = Promise.withResolvers<void>();
  const count = (): void => {
    most = Math.max(most, inTurn);
    inTurn = 0;
    if (!pair.server.isGone) setImmediate(count);
  };
  pair.server.handle({
    onEvent(event) {
      if (event.kind === "auth-request") pair.server.connection.acceptAuth();
      if (event.kind === "channel-open") pair.server.connection.acceptChannel(event.channel);
      if (event.kind === "channel-request") {
        inTurn += 1;
        got += 1;
      }
    },
    onGone: () => ended.resolve(),
  });
  pair.client.handle({
    onEvent(event) {
      if (event.kind === "auth-wanted") connection.authenticateNone();
      if (event.kind === "authenticated") {
        channel = connection.openChannel({ kind: "session" });
      }
      if (event.kind !== "channel-opened") return;
      count();
      const command = Buffer.from("ls");
      for (let at = 0; at < 256; at++)
        connection.requestChannel(channel, { kind: "exec", command });
      // The end comes with it, and is not looked at before it.
      pair.client.destroySoon();
    },
    onGone: () => undefined,
  });
  await ended.promise;
  assert.deepEqual([pair.faults, got], [[], 256]);
  // What is left of the turn before, and what comes in.
  assert.ok(most <= 4, `${most} in one turn`);
});
