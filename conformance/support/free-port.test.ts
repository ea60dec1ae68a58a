import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { freePort, onFreePorts, saysTaken } from "./free-port.ts";

test("a program whose port was taken meanwhile is started on another, and one that fails otherwise is not", async () => {
  await using taken = createServer().listen(await freePort(), "127.0.0.1");
  await once(taken, "listening");
  const tried: number[] = [];
  const listenOn = async (port: number) => {
    tried.push(port);
    const server = createServer().listen(port, "127.0.0.1");
    await once(server, "listening");
    return server;
  };
  const { port: takenPort } = taken.address() as { port: number };
  await using started = await onFreePorts(
    async () => listenOn(tried.length === 0 ? takenPort : await freePort()),
    (error) => saysTaken(String(error)),
  );
  assert.equal(started.listening, true);
  assert.equal(tried.length, 2);
  const failed = onFreePorts(
    () => Promise.reject(new Error("unknown flag")),
    (error) => saysTaken(String(error)),
  );
  await assert.rejects(failed, /unknown flag/);
});
