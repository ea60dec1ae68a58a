// A session between a real client and hosts that do not behave, over sockets; what decides is a stand-in.

import assert from "node:assert/strict";
import test from "node:test";
import type { SshEvent } from "@custody/wire/ssh/events.ts";
import type { Driven } from "@custody/wire/ssh/peer-harness.ts";
import { encodeSftpRequest, encodeSftpResponse } from "@custody/wire/ssh/sftp.ts";
import { GatewayError } from "../../base/errors.ts";
import { stallingEvidence } from "../../recording/stalling-disk.fixture.ts";
import { staged, untilOpen } from "./relay-harness.ts";

test("a session ends at once although its host never opens the channel that was asked for", async () => {
  const asked = Promise.withResolvers<void>();
  await using stage = await staged((event) => {
    if (event.kind !== "channel-open") return false;
    asked.resolve();
    return true;
  });
  const channel = stage.client.openChannel({ kind: "session" });
  stage.flush();
  await untilOpen(stage, channel);
  stage.client.requestChannel(channel, { kind: "exec", command: Buffer.from("uptime") });
  stage.flush();
  await asked.promise;
  stage.relay.end(new GatewayError("revoked", "the delegation was revoked"));
  assert.equal(await stage.ended, "revoked");
  assert.match(await stage.told, /revoked/);
  assert.deepEqual([stage.faults, stage.outcomes], [[], ["ended"]]);
});

test("what is on its way when a session ends has an outcome of its own", async () => {
  const asked = Promise.withResolvers<void>();
  await using stage = await staged((event, { connection }) => {
    if (event.kind !== "channel-data") return false;
    const { data } = event;
    const name = { name: Buffer.from("/srv/x"), line: Buffer.from("/srv/x"), attributes: {} };
    const answers: Readonly<Record<number, Buffer>> = {
      [INIT]: encodeSftpResponse({ kind: "version", version: 3, extensions: [] }),
      [REALPATH]: encodeSftpResponse({ kind: "name", id: data.readUInt32BE(5), names: [name] }),
    };
    const answer = answers[data[4] ?? 0];
    if (answer === undefined) asked.resolve();
    else connection.sendData(event.channel, answer);
    return true;
  });
  const channel = stage.client.openChannel({ kind: "session" });
  stage.flush();
  await untilOpen(stage, channel);
  stage.client.requestChannel(channel, { kind: "subsystem", name: Buffer.from("sftp") });
  const init = encodeSftpRequest({ kind: "init", version: 3, extensions: [] });
  const stat = encodeSftpRequest({ kind: "stat", id: 7, path: Buffer.from("/srv/x") });
  stage.client.sendData(channel, Buffer.concat([init, stat]));
  stage.flush();
  await asked.promise;
  stage.relay.end(new GatewayError("revoked", "the delegation was revoked"));
  assert.equal(await stage.ended, "revoked");
  assert.deepEqual([stage.faults, stage.outcomes], [[], ["lost", "ended"]]);
});

test("nothing of SFTP reaches a host before what reads it was decided on", async () => {
  const got: number[] = [];
  await using stage = await staged((event) => {
    if (event.kind === "channel-data") got.push(event.data[4] ?? 0);
    return event.kind === "channel-data";
  });
  const channel = stage.client.openChannel({ kind: "session" });
  stage.flush();
  await untilOpen(stage, channel);
  stage.client.requestChannel(channel, { kind: "subsystem", name: Buffer.from("sftp") });
  const folder = { kind: "mkdir", id: 1, path: Buffer.from("/etc/x"), attributes: {} } as const;
  stage.client.sendData(channel, encodeSftpRequest(folder));
  stage.flush();
  while (got.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  // The gateway's own question where that path leads to, and not the request.
  assert.deepEqual(got, [REALPATH]);
});

test("a host opens channels to the client's agent and display only while that is permitted", async () => {
  const steps: string[] = [];
  const waiting: (() => void)[] = [];
  const step = (what: string) => {
    steps.push(what);
    waiting.splice(0).forEach((next) => void next());
  };
  const isSaid = async (what: string) => {
    while (!steps.includes(what)) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  let running: number | undefined;
  const host = Promise.withResolvers<Driven>();
  await using stage = await staged((event, driven) => {
    host.resolve(driven);
    if (event.kind === "channel-refused") step(`refused ${event.channel}`);
    if (event.kind === "channel-opened") step(`opened ${event.channel}`);
    if (event.kind === "channel-request" && event.request.kind === "exec") running = event.channel;
    if (event.kind === "channel-request") step(event.request.kind);
    return false;
  });
  const channel = stage.client.openChannel({ kind: "session" });
  stage.flush();
  await untilOpen(stage, channel);
  const open = async (kind: "agent" | "x11") => {
    const { connection, pump } = await host.promise;
    const asked =
      kind === "agent"
        ? connection.openChannel({ kind: "auth-agent@openssh.com" })
        : connection.openChannel({ kind: "x11", originHost: Buffer.from("h"), originPort: 1 });
    pump();
    return asked;
  };
  stage.client.requestChannel(channel, { kind: "exec", command: Buffer.from("uptime") });
  stage.flush();
  await isSaid("exec");
  for (const kind of ["agent", "x11"] as const) await isSaid(`refused ${await open(kind)}`);

  const asking = stage.client.openChannel({ kind: "session" });
  stage.flush();
  await untilOpen(stage, asking);
  steps.length = 0;
  stage.client.requestChannel(asking, { kind: "auth-agent-req@openssh.com" });
  stage.client.requestChannel(asking, { kind: "exec", command: Buffer.from("uptime") });
  stage.flush();
  await isSaid("exec");
  assert.deepEqual(steps, ["auth-agent-req@openssh.com", "exec"]);
  await isSaid(`opened ${await open("agent")}`);
  await isSaid(`refused ${await open("x11")}`);
  const { connection, pump } = await host.promise;
  connection.closeChannel(running ?? -1);
  pump();
  while (stage.outcomes.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await isSaid(`refused ${await open("agent")}`);
  assert.deepEqual(stage.faults, []);
});

/** Says something and ends when it is started. */
function saysHello(event: SshEvent, { connection }: Driven): boolean {
  if (event.kind !== "channel-request" || event.request.kind !== "exec") return false;
  if (event.reply !== undefined) connection.replyChannel(event.channel, event.reply, true);
  connection.sendData(event.channel, Buffer.from("hello"));
  connection.requestChannel(event.channel, { kind: "exit-status", status: 3 });
  connection.sendEof(event.channel);
  return true;
}

for (const [mode, given] of [
  [{ mode: "strict" }, []],
  [{ mode: "bounded", aheadMs: 3_600_000, aheadBytes: 4 }, []],
  [undefined, ["hello", "exit-status", "channel-eof"]],
] as const)
  test(`what a client is given while the disk takes no recording, ${mode?.mode ?? "of no mode"}`, async () => {
    await using evidence = await stallingEvidence();
    const recorder = evidence.openRecorder({ sessionId: "s-1", subject: "corp/ann", data: {} });
    recorder.begin("r-1", mode);
    await using stage = await staged(saysHello, recorder);
    const channel = stage.client.openChannel({ kind: "session" });
    stage.flush();
    await untilOpen(stage, channel);
    stage.client.requestChannel(channel, { kind: "exec", command: Buffer.from("uptime") });
    stage.flush();
    await evidence.disk.waits;
    // Whatever was given by now has come when another channel is open.
    const other = stage.client.openChannel({ kind: "session" });
    stage.flush();
    await untilOpen(stage, other);
    if (mode !== undefined) assert.deepEqual(stage.got, given);
    evidence.disk.release();
    const all = ["hello", "exit-status", "channel-eof"];
    while (stage.got.length < all.length) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(stage.got, all);
  });

test("a session that ends while the disk takes no recording says why, and nothing that was held", async () => {
  await using evidence = await stallingEvidence();
  const recorder = evidence.openRecorder({ sessionId: "s-1", subject: "corp/ann", data: {} });
  recorder.begin("r-1", { mode: "bounded", aheadMs: 200, aheadBytes: 1 });
  await using stage = await staged(saysHello, recorder);
  recorder.onBehind((error) => stage.relay.end(error));
  const channel = stage.client.openChannel({ kind: "session" });
  stage.flush();
  await untilOpen(stage, channel);
  stage.client.requestChannel(channel, { kind: "exec", command: Buffer.from("uptime") });
  stage.flush();
  assert.equal(await stage.ended, "evidence_unavailable");
  assert.match(await stage.told, /not on disk after 200 ms/);
  assert.ok(!stage.got.includes("hello"));
  assert.match(stage.got.join(""), /not on disk after 200 ms/);
});

const INIT = 1;
const REALPATH = 16;
