import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import test from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startWatched } from "./watched-process.ts";

const options = { env: { PATH: process.env.PATH ?? "" }, cwd: tmpdir() };

test("its exit code is ours to read and its output too", async () => {
  await using watched = startWatched(["/bin/sh", "-c", "echo out; exit 7"], options);
  const [line] = await once(watched.child.stdout!, "data");
  assert.equal(String(line), "out\n");
  assert.equal(await watched.exited, 7);
});

test("stop asks first and kills then", async () => {
  await using polite = startWatched(["/bin/sleep", "60"], options);
  const pid = await polite.pid;
  assert.ok(isRunning(pid));
  assert.equal(await polite.stop(), 128 + 15);
  assert.equal(isRunning(pid), false);
  const deaf = "trap '' TERM; echo ready; while :; do sleep 1; done";
  await using stubborn = startWatched(["/bin/sh", "-c", deaf], options);
  await once(stubborn.child.stdout!, "data");
  const stubbornPid = await stubborn.pid;
  await stubborn.stop(200);
  await untilGone(stubbornPid);
});

test("it ends when its parent is killed", async () => {
  const module = fileURLToPath(new URL("./watched-process.ts", import.meta.url));
  const program = `
    const { startWatched } = await import(${JSON.stringify(module)});
    const watched = startWatched(["/bin/sleep", "60"], { env: {}, cwd: "/" });
    console.log(await watched.pid);`;
  const parent = spawn(process.execPath, ["--input-type=module-typescript", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(parent.stdout, "data");
  const pid = Number(line);
  assert.ok(isRunning(pid));
  parent.kill("SIGKILL");
  await untilGone(pid);
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A killed process is there until whoever inherited it has read its status. */
async function untilGone(pid: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (isRunning(pid)) {
    if (Date.now() > deadline) assert.fail("it is still there");
    await delay(20);
  }
}
