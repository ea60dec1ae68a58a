// Who gets in when many connections are open, over real sockets.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { makeRoom } from "./room-for-others.ts";

test("whoever leaves connections open keeps nobody out; what is being answered stays", async () => {
  const server = createServer();
  const room = makeRoom(server, 3);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const ended: Promise<unknown>[] = [];
  const come = async (): Promise<{ readonly here: Socket; readonly there: Socket }> => {
    const accepted = once(server, "connection") as Promise<[Socket]>;
    const here = connect(port, "127.0.0.1");
    here.on("error", () => undefined).resume();
    const [there] = await accepted;
    ended.push(once(here, "close"));
    return { here, there };
  };
  const first = await come();
  room.answering(first.there);
  const second = await come();
  const third = await come();
  const fourth = await come();
  // The oldest that waits for nothing.
  await once(second.here, "close");
  assert.deepEqual(
    [first, third, fourth].map(({ there }) => there.destroyed),
    [false, false, false],
  );
  room.answering(third.there);
  room.answering(fourth.there);
  const fifth = await come();
  // All are busy: nobody is thrown out for who comes.
  await once(fifth.here, "close");
  room.answered(first.there);
  const sixth = await come();
  await once(first.here, "close");
  assert.deepEqual(
    [third, fourth, sixth].map(({ there }) => there.destroyed),
    [false, false, false],
  );
  for (const { here } of [third, fourth, sixth]) here.destroy();
  await Promise.all(ended);
  server.close();
  await once(server, "close");
});
