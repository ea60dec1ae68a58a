// What hosts do that nobody asked them for, and clients that go back on their word.

import assert from "node:assert/strict";
import test from "node:test";
import type { SshConnection } from "@custody/wire/ssh/connection.ts";
import type { Driven } from "@custody/wire/ssh/peer-harness.ts";
import type { ChannelOpen, ChannelRequest } from "@custody/wire/ssh/requests.ts";
import { type Staged, staged, untilOpen } from "./relay-harness.ts";

const from = { originHost: Buffer.from("10.0.0.1"), originPort: 4000 };
const UNASKED: readonly ChannelOpen[] = [
  { kind: "session" },
  { kind: "forwarded-tcpip", host: Buffer.from("127.0.0.1"), port: 8080, ...from },
  { kind: "forwarded-tcpip", host: Buffer.from(""), port: 0, ...from },
  { kind: "direct-tcpip", host: Buffer.from("127.0.0.1"), port: 22, ...from },
  { kind: "forwarded-streamlocal@openssh.com", path: Buffer.from("/run/x") },
  { kind: "direct-streamlocal@openssh.com", path: Buffer.from("/run/docker.sock") },
  { kind: "auth-agent@openssh.com" },
  { kind: "x11", originHost: Buffer.from("h"), originPort: 1 },
];

test("whatever a host opens to the client unasked is refused, and the session goes on", async () => {
  const refused: number[] = [];
  const host = Promise.withResolvers<Driven>();
  await using stage = await staged((event, driven) => {
    if (event.kind === "channel-refused") refused.push(event.channel);
    if (event.kind === "channel-opened") refused.push(-1);
    if (event.kind === "channel-request") host.resolve(driven);
    return false;
  });
  await start(stage, "uptime");
  const { connection, pump } = await host.promise;
  const opened = UNASKED.map((open) => connection.openChannel(open));
  pump();
  await until(() => refused.length === opened.length);
  assert.deepEqual(refused, opened);
  await start(stage, "uptime");
  assert.deepEqual(stage.faults, []);
});

test("a host's first word on how a command ended is its last", async () => {
  await using stage = await staged(
    says((connection, channel) => {
      connection.requestChannel(channel, { kind: "exit-status", status: 3 });
      connection.requestChannel(channel, { kind: "exit-status", status: 0 });
      connection.requestChannel(channel, exitSignal("TERM"));
    }),
  );
  await start(stage, "uptime");
  await until(() => stage.outcomes.length > 0);
  await until(() => stage.got.includes("channel-closed"));
  assert.deepEqual(stage.outcomes, ["exit 3"]);
  assert.equal(stage.got.filter((one) => one.startsWith("exit-")).length, 1);
});

test("a host writes nothing of its own into what is kept for ever, by the name of a signal", async () => {
  for (const [signal, outcome] of [
    ["TERM", "signal TERM"],
    ["ann@example.com", "signal of another name"],
    ["SIGTERM", "signal of another name"],
  ] as const) {
    await using stage = await staged(
      says((connection, channel) => connection.requestChannel(channel, exitSignal(signal))),
    );
    await start(stage, "uptime");
    await until(() => stage.outcomes.length > 0);
    assert.deepEqual(stage.outcomes, [outcome]);
  }
});

test("requests of a host that are none change nothing for the client", async () => {
  await using stage = await staged(
    says((connection, channel) => {
      connection.requestChannel(channel, { kind: "shell" }, "tag");
      connection.requestChannel(channel, { kind: "exec", command: Buffer.from("rm x") }, "tag");
      connection.requestChannel(channel, { kind: "env", ...variable }, "tag");
      connection.requestGlobal(
        { kind: "tcpip-forward", host: Buffer.from("0.0.0.0"), port: 22 },
        "tag",
      );
      connection.requestChannel(channel, { kind: "exit-status", status: 0 });
    }),
  );
  await start(stage, "uptime");
  await until(() => stage.got.includes("channel-closed"));
  assert.deepEqual([...new Set(stage.got)].sort(), [
    "channel-closed",
    "channel-eof",
    "exit-status",
  ]);
  assert.deepEqual([stage.faults, stage.outcomes], [[], ["ok"]]);
});

test("a client that wanted no more sessions gets none, and keeps those it has", async () => {
  const came = Promise.withResolvers<string>();
  // Says nothing, so that nothing but the refusal comes to the client.
  await using stage = await staged((event, { connection }) => {
    if (event.kind === "channel-data") came.resolve(event.data.toString());
    if (event.kind !== "channel-request" || event.request.kind !== "exec") return false;
    if (event.reply !== undefined) connection.replyChannel(event.channel, event.reply, true);
    return true;
  });
  const first = await start(stage, "cat");
  stage.client.requestGlobal({ kind: "no-more-sessions@openssh.com" });
  stage.client.openChannel({ kind: "session" });
  stage.flush();
  await until(() => stage.got.length > 0);
  assert.deepEqual(stage.got, ["refused: there were to be no more sessions"]);
  stage.client.sendData(first, Buffer.from("still here"));
  stage.flush();
  assert.equal(await came.promise, "still here");
});

const variable = { name: Buffer.from("PATH"), value: Buffer.from("/tmp") };

function exitSignal(signal: string): ChannelRequest {
  const nothing = Buffer.alloc(0);
  return { kind: "exit-signal", signal, coreDumped: false, message: nothing, language: nothing };
}

/** A host that does this when it is to start something, and closes the channel. */
function says(
  say: (connection: SshConnection, channel: number) => void,
): Parameters<typeof staged>[0] {
  return (event, { connection }) => {
    if (event.kind !== "channel-request" || event.request.kind !== "exec") return false;
    if (event.reply !== undefined) connection.replyChannel(event.channel, event.reply, true);
    say(connection, event.channel);
    connection.sendEof(event.channel);
    connection.closeChannel(event.channel);
    return true;
  };
}

async function start(stage: Staged, command: string): Promise<number> {
  const channel = stage.client.openChannel({ kind: "session" });
  stage.flush();
  await untilOpen(stage, channel);
  stage.client.requestChannel(channel, { kind: "exec", command: Buffer.from(command) });
  stage.flush();
  return channel;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
