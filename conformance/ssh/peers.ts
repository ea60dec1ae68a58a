// More clients, and more of what OpenSSH's does: file systems over SFTP, libssh, terminals that change
// their size, every way of forwarding.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "../support/free-port.ts";
import type { SshCase } from "./checks.ts";
import { digest } from "./openssh.ts";
import type { SshStage } from "./stage.ts";

const HOST = "127.0.0.1";
const PYTHON = "/usr/bin/python3";

export const PEERS: readonly SshCase[] = [
  {
    name: "sshfs: a folder of the host as one of ours; what is denied is a permission denied",
    needs: ["/usr/bin/sshfs", "/usr/bin/fusermount3", "/dev/fuse"],
    run: runSshfs,
  },
  {
    name: "libssh: both ways of signing in, statuses, streams, a terminal, channels, SFTP, a denial",
    needs: ["/usr/bin/gcc", "/usr/include/libssh/libssh.h"],
    async run(stage) {
      const source = new URL("libssh-cases.c", import.meta.url).pathname;
      const program = join(stage.folder, "libssh-cases");
      const built = await stage.run("", ["gcc", "-o", program, source, "-lssh"]);
      assert.equal(built.code, 0, built.stderr);
      const ran = await stage.run(stage.handles.data, [program], {
        env: {
          ...{ PORT: stage.port, FOLDER: stage.folder, SECRET: stage.handles.data },
          ...{ FINGERPRINT: stage.hostKeyFingerprint, ACCOUNT: stage.server.user },
        },
      });
      assert.deepEqual([ran.code, ran.stdout.toString()], [0, "ok\n"], ran.stderr);
    },
  },
  {
    name: "a terminal that changes its size while a shell runs",
    needs: [PYTHON],
    async run(stage) {
      const script = new URL("window-changes.py", import.meta.url).pathname;
      const ssh = ["ssh", "-tt", ...stage.options, HOST];
      const ran = await stage.run(stage.handles.person, [PYTHON, script, ...ssh], {
        timeoutMs: 60_000,
      });
      assert.equal(ran.code, 0, ran.stderr);
    },
  },
  {
    name: "-L to a port and to a socket of the host, -D: what is sent comes back, half-closed too",
    async run(stage) {
      await using echo = await startEcho();
      const path = join(stage.folder, "echo.sock");
      await using _socketEcho = await startEcho(path);
      const byPort = join(stage.folder, "l-port");
      const byPath = join(stage.folder, "l-path");
      await using forwarder = await standing(stage, "forwards", (port) => [
        ...["-L", `${byPort}:${HOST}:${echo.port}`, "-L", `${byPath}:${path}`, "-D", port],
      ]);
      const sent = randomBytes(300_000);
      for (const local of [byPort, byPath])
        assert.equal(digest(await through(connect(local), sent)), digest(sent));
      const socks = connect(forwarder.port, HOST);
      await socksConnect(socks, echo.port);
      assert.equal(digest(await through(socks, sent)), digest(sent));
    },
  },
  {
    name: "-R: a port and a socket of the host lead back to the client",
    async run(stage) {
      await using echo = await startEcho();
      const path = join(stage.folder, "r.sock");
      await using forwarder = await standing(stage, "back", (port) => [
        ...["-R", `${port}:${HOST}:${echo.port}`, "-R", `${path}:${HOST}:${echo.port}`],
      ]);
      const sent = randomBytes(300_000);
      assert.equal(digest(await through(connect(forwarder.port, HOST), sent)), digest(sent));
      assert.equal(digest(await through(connect(path), sent)), digest(sent));
    },
  },
  {
    name: "a status that comes long after the end of output, over a connection that is shared",
    async run(stage) {
      await using _shared = await standing(stage, "shared", () => []);
      const ran = await stage.ssh("person", ["exec >/dev/null 2>&1; sleep 2; exit 44"], {
        options: ["-o", `ControlPath=${join(stage.folder, "shared")}`],
      });
      assert.equal(ran.code, 44, ran.stderr);
    },
  },
  {
    name: "-J to a target's name is refused, and says what to write instead",
    async run(stage) {
      const jump = ["ssh", ...stage.options, "-W", "%h:%p", HOST].join(" ");
      const ran = await stage.run(stage.handles.person, [
        ...["ssh", "-F", "none", "-o", `ProxyCommand=${jump}`, "-o", "LogLevel=ERROR"],
        ...["deploy@web-1", "id"],
      ]);
      assert.equal(ran.code, 255);
      assert.match(ran.stderr, /through its own door: ssh TARGET@GATEWAY, without -J or -W/);
      const through = await stage.ssh("person", ["id -un"]);
      assert.equal(through.stdout.toString(), `${stage.server.user}\n`);
    },
  },
  {
    name: "-A: the client's agent serves the host while a permitted command runs, and nobody else",
    async run(stage) {
      await using agent = await startAgent(stage);
      const { env } = agent;
      const with_ = await stage.ssh("person", ["ssh-add -l"], { env, options: ["-A"] });
      assert.equal(with_.code, 0, with_.stderr);
      assert.match(with_.stdout.toString(), /forwarded key/);
      const without = await stage.ssh("person", ["ssh-add -l"], { env, options: ["-a"] });
      assert.notEqual(without.code, 0);
      const bot = await stage.ssh("data", ["env"], { env, options: ["-A"] });
      assert.equal(bot.code, 0);
      assert.match(bot.stderr, /Custody denied forward_agent on account deploy/);
      assert.doesNotMatch(bot.stdout.toString(), /SSH_AUTH_SOCK/);
    },
  },
  {
    name: "-X: a program of the host's reaches the client's display, for people",
    needs: [PYTHON, "/usr/bin/xauth"],
    async run(stage) {
      const script = new URL("x11-client.py", import.meta.url).pathname;
      await using display = await startEcho();
      const env = { DISPLAY: `${HOST}:${display.port - 6000}` };
      const trusted = ["-X", "-o", "ForwardX11Trusted=yes"];
      const shown = await stage.ssh("person", [`${PYTHON} ${script}`], { env, options: trusted });
      assert.deepEqual([shown.code, shown.stdout.toString()], [0, "shown\n"], shown.stderr);
      const bot = await stage.ssh("data", ["env"], { env, options: trusted });
      assert.match(bot.stderr, /Custody denied forward_x11 on account deploy/);
      assert.doesNotMatch(bot.stdout.toString(), /DISPLAY/);
    },
  },
];

/** ssh-agent with one key. */
async function startAgent(stage: SshStage) {
  const key = join(stage.folder, "agent-key");
  const socket = join(stage.folder, "agent.sock");
  const made = await stage.run("", [
    "ssh-keygen",
    "-qt",
    "ed25519",
    "-N",
    "",
    "-C",
    "forwarded key",
    "-f",
    key,
  ]);
  assert.equal(made.code, 0, made.stderr);
  const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  const env = { SSH_AUTH_SOCK: socket };
  for (let tries = 0; tries < 600 && !existsSync(socket); tries += 1) await delay(50);
  const added = await stage.run("", ["ssh-add", "-q", key], { env });
  assert.equal(added.code, 0, added.stderr);
  return {
    env,
    async [Symbol.asyncDispose]() {
      agent.kill();
      await once(agent, "exit");
    },
  };
}

/** The reason when this machine lets nobody mount. */
async function runSshfs(stage: SshStage): Promise<string | undefined> {
  const place = join(stage.folder, "sshfs-there");
  const mount = join(stage.folder, "sshfs-here");
  mkdirSync(join(place, "secret"), { recursive: true });
  mkdirSync(mount);
  writeFileSync(join(place, "secret", "key"), "hidden");
  const bytes = randomBytes(2 << 20);
  writeFileSync(join(place, "from"), bytes);
  // sshfs takes the command apart at spaces, and its options at commas.
  const command = ["ssh", ...stage.options].join(" ");
  const mounted = await stage.run(
    stage.handles.data,
    ["sshfs", `web-1@${HOST}:${place}`, mount, "-p", stage.port, "-o", `ssh_command=${command}`],
    { detached: true },
  );
  if (/fuse: device not found|mount failed: Operation not permitted/.test(mounted.stderr))
    return "file systems cannot be mounted here";
  assert.equal(mounted.code, 0, mounted.stderr);
  // Not by this process: a file system that hangs would hang it.
  const script = [
    "set -e",
    "ls from | grep -q from",
    "cp from to",
    "cmp from to",
    "mkdir folder",
    "mv to folder/moved",
    "printf more >>folder/moved",
    "ln -s from link",
    "cmp from link",
    "chmod 600 folder/moved",
    "truncate -s 5 from",
    "! cat secret/key 2>err",
    "grep -q 'Permission denied' err",
    "rm folder/moved",
    "rmdir folder",
    "df . >/dev/null",
  ].join("\n");
  try {
    const used = await stage.run("", ["sh", "-c", script], { cwd: mount });
    assert.equal(used.code, 0, used.stderr);
  } finally {
    await stage.run("", ["fusermount3", "-uz", mount]);
  }
  assert.deepEqual(readFileSync(join(place, "from")), bytes.subarray(0, 5));
  assert.equal(existsSync(join(place, "folder")), false);
  return undefined;
}

/**
 * ssh -N with these options, given a free port, once all of them hold; ends with the case. Somebody else may
 * have taken the port by then: another one is tried.
 */
async function standing(
  stage: SshStage,
  name: string,
  options: (port: string) => readonly string[],
): Promise<AsyncDisposable & { readonly port: number }> {
  const master = ["-o", `ControlPath=${join(stage.folder, name)}`];
  for (let tries = 1; ; tries += 1) {
    const port = String(await freePort());
    const up = await stage.ssh("person", [], {
      options: [
        ...[...master, "-M", "-N", "-f", "-o", "ExitOnForwardFailure=yes"],
        ...["-o", "StreamLocalBindUnlink=yes", ...options(port)],
      ],
      detached: true,
    });
    if (up.code === 0) {
      return {
        port: Number(port),
        async [Symbol.asyncDispose]() {
          await stage.ssh("person", [], { options: [...master, "-O", "exit"] });
        },
      };
    }
    assert.ok(tries < 3, up.stderr);
  }
}

/** Sends, half-closes, and gives what came until the other side closed. */
async function through(socket: Socket, bytes: Buffer): Promise<Buffer> {
  const got: Buffer[] = [];
  socket.end(bytes);
  for await (const chunk of socket) got.push(chunk as Buffer);
  return Buffer.concat(got);
}

/** RFC 1928, without signing in, to a port of the host's loopback. */
async function socksConnect(socket: Socket, port: number): Promise<void> {
  socket.write(Buffer.of(5, 1, 0));
  assert.deepEqual(await nextChunk(socket), Buffer.of(5, 0));
  socket.write(Buffer.of(5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255));
  assert.equal((await nextChunk(socket))[1], 0);
}

function nextChunk(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("readable", () => resolve(socket.read() ?? Buffer.alloc(2, 255)));
  });
}

async function startEcho(path?: string): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => {
    if (path === undefined) server.listen(0, HOST, resolve);
    else server.listen(path, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
