// Attempts on the door itself and on what is said around a command: names, subsystems, variables, floods of
// channels and requests, and bytes that are no SSH. The transport's own (Terrapin, windows, sequence) is tried
// packet by packet in wire/ssh/transport.test.ts and channels.test.ts.

import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { SshCase } from "../../ssh/checks.ts";
import type { SshStage } from "../../ssh/stage.ts";
import { openWireClient, type WireClient } from "../../ssh/wire-client.ts";

export const DOOR_POLICIES = `
@id("variables-are-set")
permit (principal, action == SSH::Action::"setenv", resource);
`;

const NAMES = [
  ...[
    "",
    "~",
    "WEB-1",
    "web-1 ",
    " web-1",
    "web-1\n",
    "web-1\0",
    "web-1\0x",
    "web\u20111",
    "ｗeb-1",
  ],
  ...["root~web-1", "deploy~deploy~web-1", "~web-1", "web-1~", "web-1,root", "../web-1", "web-1%"],
  ...["deploy~web-1/../web-1", "web-1\u202e", "web-1;id", "*", "web-?", "a".repeat(200), "-oX"],
];

/** With what it would do where a shell or a program looked at it. */
const VARIABLES = (file: string, mark: string): readonly (readonly [string, string])[] => [
  ...["BASH_ENV", "ENV", "ZDOTDIR", "LD_PRELOAD", "LD_AUDIT", "PYTHONSTARTUP", "PERL5OPT"].map(
    (name) => [name, file] as const,
  ),
  ["PS4", `$(cp /etc/hostname ${mark})`],
  ["PS1", `$(cp /etc/hostname ${mark})`],
  ["PROMPT_COMMAND", `cp /etc/hostname ${mark}`],
  ["BASH_FUNC_echo%%", `() { cp /etc/hostname ${mark}; }`],
  ["BASH_FUNC_echo()", `() { cp /etc/hostname ${mark}; }`],
  ["SHELLOPTS", "xtrace"],
  ["IFS", "o"],
  ["PATH", "/tmp"],
  ["LANG\0", "C"],
  ["LC_ALL=C\nPATH", "/tmp"],
  ["LC_ALL", "C\nPATH=/tmp"],
  ["LANG", "\x1b]0;x\x07"],
  ["LANG", "x".repeat(9000)],
];

export const DOOR_ATTACKS: readonly SshCase[] = [
  {
    name: "names that are nearly a target's, or another account, let nobody in",
    async run(stage) {
      for (const user of NAMES) {
        const opened = await open(stage, user).then(
          () => "let in",
          () => "refused",
        );
        assert.equal(opened, "refused", JSON.stringify(user));
      }
      await using client = await open(stage, "deploy~web-1");
      assert.equal((await client.exec("echo here")).stdout.toString(), "here\n");
    },
  },
  {
    name: "subsystems that are nearly sftp reach no host",
    async run(stage) {
      await using client = await open(stage, "web-1");
      const before = stage.server.log().length;
      for (const name of ["SFTP", "sftp ", "sftp\0", "sftp -d /", "", "netconf", "internal-sftp"]) {
        const channel = client.connection.openChannel({ kind: "session" });
        client.flush();
        // An answer to what comes behind it says that the channel is there.
        await client.exec("echo there");
        client.connection.requestChannel(channel, { kind: "subsystem", name: Buffer.from(name) });
        client.connection.closeChannel(channel);
        client.flush();
      }
      assert.equal((await client.exec("echo on")).stdout.toString(), "on\n");
      assert.doesNotMatch(stage.server.log().slice(before), /subsystem/);
    },
  },
  {
    name: "variables that would have a shell or a loader run something, whatever policies permit",
    async run(stage) {
      const mark = join(stage.folder, "by-variable");
      const file = join(stage.folder, "read-first");
      rmSync(mark, { force: true });
      writeFileSync(file, `cp /etc/hostname ${mark}\n`);
      const secret = await stage.delegate("attacker", "ssh:data,ssh:setenv");
      await using client = await openWireClient({
        port: Number(stage.port),
        user: "web-1",
        secret,
      });
      const set = [...VARIABLES(file, mark), ["DEPLOY_TICKET", "T-5"] as const].map(
        ([name, value]) =>
          ({ kind: "env", name: Buffer.from(name), value: Buffer.from(value) }) as const,
      );
      for (const line of ["echo x", "printenv"]) {
        const ran = await client.exec(line, set);
        assert.equal(ran.status, 0, ran.stderr);
        if (line !== "printenv") continue;
        const found = ran.stdout.toString();
        // One that may be set arrives: it is the names that are refused.
        assert.match(found, /^DEPLOY_TICKET=T-5$/m);
        assert.doesNotMatch(found, /read-first|by-variable|^PATH=\/tmp$|xtrace/m);
        assert.ok(!found.includes("\x1b"));
      }
      assert.equal(existsSync(mark), false);
    },
  },
  {
    name: "more channels than a session has, and requests that nobody knows, cost it nothing",
    async run(stage) {
      await using client = await open(stage, "web-1");
      const { connection } = client;
      const channels = Array.from({ length: 300 }, () =>
        connection.openChannel({ kind: "session" }),
      );
      for (let n = 0; n < 500; n += 1)
        connection.requestGlobal({ kind: "other", name: `x${n}@example.com`, data: Buffer.of(n) });
      client.flush();
      const flooded = await client.exec("echo never");
      assert.deepEqual([flooded.status, flooded.stdout.length], [undefined, 0]);
      for (const channel of channels.slice(0, 10)) connection.closeChannel(channel);
      client.flush();
      let ran = await client.exec("echo again");
      // What was closed is given up when the gateway has answered.
      for (let tries = 0; tries < 100 && ran.status !== 0; tries += 1)
        ran = await client.exec("echo again");
      assert.equal(ran.stdout.toString(), "again\n");
    },
  },
  {
    name: "no more sessions: nobody who takes the client over opens another",
    async run(stage) {
      await using client = await open(stage, "web-1");
      assert.equal((await client.exec("echo one")).status, 0);
      client.connection.requestGlobal({ kind: "no-more-sessions@openssh.com" });
      assert.equal((await client.exec("echo two")).status, undefined);
    },
  },
  {
    name: "bytes that are no SSH end their own connection and no other",
    async run(stage) {
      await using client = await open(stage, "web-1");
      const version = Buffer.from("SSH-2.0-x\r\n");
      for (const bytes of [
        Buffer.from("GET / HTTP/1.1\r\n\r\n"),
        Buffer.alloc(100_000, "x"),
        Buffer.from("SSH-1.5-old\r\n"),
        Buffer.concat([version, Buffer.from("7fffffff04000000", "hex"), Buffer.alloc(64)]),
        Buffer.concat([version, Buffer.alloc(64)]),
        Buffer.concat([version, Buffer.from("0000000c04320000000000000000000", "hex")]),
        // A user's request and a channel's, before there are keys.
        Buffer.concat([version, plain(Buffer.of(50)), plain(Buffer.of(90))]),
      ])
        await isEnded(stage, bytes);
      assert.equal((await client.exec("echo on")).stdout.toString(), "on\n");
    },
  },
];

async function open(stage: SshStage, user: string): Promise<WireClient> {
  return await openWireClient({ port: Number(stage.port), user, secret: stage.handles.data });
}

/** A packet as it is before there are keys (RFC 4253 section 6). */
function plain(payload: Buffer): Buffer {
  const packet = Buffer.alloc(16);
  packet.writeUInt32BE(12);
  packet[4] = 11 - payload.length;
  payload.copy(packet, 5);
  return packet;
}

/** Settles when the gateway has closed it. */
async function isEnded(stage: SshStage, bytes: Buffer): Promise<void> {
  const socket = connect(Number(stage.port), "127.0.0.1");
  try {
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error("it was left open")), 30_000);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        clearTimeout(late);
        resolve();
      });
      socket.on("data", () => undefined);
      socket.end(bytes);
    });
  } finally {
    socket.destroy();
  }
}
