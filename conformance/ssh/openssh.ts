// OpenSSH's own clients through the gateway: logins, statuses, signals, streams, transfers, forwarding.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { SshCase } from "./checks.ts";

const HOST = "127.0.0.1";

export const OPENSSH: readonly SshCase[] = [
  {
    name: "a handle as the password; nobody is asked to trust a key; the output is the host's",
    async run(stage) {
      const ran = await stage.ssh("data", ["echo hello; id -un"]);
      assert.deepEqual([ran.code, ran.stdout.toString()], [0, `hello\n${stage.server.user}\n`]);
      assert.equal(ran.stderr, "");
    },
  },
  {
    name: "exit statuses and signals are the host's",
    async run(stage) {
      for (const [line, code] of [
        ["exit 0", 0],
        ["exit 3", 3],
        ["false", 1],
      ] as const)
        assert.equal((await stage.ssh("data", [line])).code, code, line);
      assert.equal((await stage.ssh("person", ["kill -TERM $$"])).code, 255);
      assert.equal((await stage.ssh("person", ["no-such-program-here $HOME"])).code, 127);
    },
  },
  {
    name: "statuses of the gateway's own: denied 126, refused 125, waited too long 124",
    async run(stage) {
      const denied = await stage.ssh("data", ["rm -rf /nothing"]);
      assert.equal(denied.code, 126);
      assert.match(denied.stderr, /Custody denied exec on command rm: Nothing is removed here\./);
      assert.match(denied.stderr, /policy no-removal · .* · request r-/);
      const late = await stage.ssh("data", [`touch ${join(stage.folder, "late")}`]);
      assert.equal(late.code, 124);
      assert.match(
        late.stderr,
        /waits for approval by corp\/operators[\s\S]*nobody decided within/,
      );
      assert.equal(existsSync(join(stage.folder, "late")), false);
    },
  },
  {
    name: "what is refused to an agent whatever policies say: what is not literal, shells, forwarding",
    async run(stage) {
      for (const line of [
        "echo $(id)",
        "echo `id`",
        "cat <<x\n$HOME\nx",
        "eval id",
        "a=1; echo $a",
      ]) {
        const ran = await stage.ssh("data", [line]);
        assert.deepEqual([line, ran.code, ran.stdout.toString()], [line, 126, ""]);
      }
      assert.equal((await stage.ssh("data", [], { input: "id\n" })).code, 126);
      assert.notEqual((await stage.ssh("data", [], { options: ["-W", "example.com:80"] })).code, 0);
    },
  },
  {
    name: "people who may run code have their line read by the host's shell as they wrote it",
    async run(stage) {
      const ran = await stage.ssh("person", ['for i in 1 2 3; do echo "n$i"; done | tac']);
      assert.deepEqual([ran.code, ran.stdout.toString()], [0, "n3\nn2\nn1\n"]);
    },
  },
  {
    name: "words arrive as they were decided: quotes, unicode, spaces, globs taken by the letter",
    async run(stage) {
      const ran = await stage.ssh("data", [`printf '%s|' "a b" 'c"d' é '*' "it's" ''`]);
      assert.equal(ran.stdout.toString(), `a b|c"d|é|*|it's||`);
    },
  },
  {
    name: "an approval lets a held command go on, its input whole, up to megabytes",
    async run(stage) {
      const input = randomBytes(6 << 20);
      const file = join(stage.folder, "held");
      const pending = stage.ssh("data", [`touch ${file} && sha256sum`], { input });
      await stage.approveNext("the touch is wanted");
      const ran = await pending;
      assert.equal(ran.code, 0, ran.stderr);
      assert.match(ran.stdout.toString(), new RegExp(digest(input)));
      assert.ok(existsSync(file));
    },
  },
  {
    name: "a person says no: 125, and nothing ran",
    async run(stage) {
      const file = join(stage.folder, "refused");
      const pending = stage.ssh("data", [`touch ${file}`]);
      await stage.denyNext("not now");
      const ran = await pending;
      assert.equal(ran.code, 125, ran.stderr);
      assert.equal(existsSync(file), false);
    },
  },
  {
    name: "64 MiB both ways, digests compared",
    async run(stage) {
      const input = randomBytes(64 << 20);
      const there = await stage.ssh("data", ["sha256sum"], { input });
      assert.match(there.stdout.toString(), new RegExp(`^${digest(input)}`));
      const file = join(stage.folder, "big");
      writeFileSync(file, input);
      const back = await stage.ssh("data", [`cat ${file}`]);
      assert.equal(digest(back.stdout), digest(input));
      const both = await stage.ssh("data", ["cat"], { input: input.subarray(0, 16 << 20) });
      assert.equal(digest(both.stdout), digest(input.subarray(0, 16 << 20)));
    },
  },
  {
    name: "half-closes: the end of input reaches the host, its output still comes",
    async run(stage) {
      const ran = await stage.ssh("data", ["sort"], { input: "b\na\n" });
      assert.equal(ran.stdout.toString(), "a\nb\n");
    },
  },
  {
    name: "a reader that stops ends what writes for ever (eow@openssh.com)",
    async run(stage) {
      const ssh = ["ssh", ...stage.options, HOST, "yes"];
      const line = `${ssh.map((word) => `'${word}'`).join(" ")} | head -1`;
      const ran = await stage.run(stage.handles.data, ["sh", "-c", line], { timeoutMs: 60_000 });
      assert.deepEqual([ran.code, ran.stdout.toString()], [0, "y\n"]);
    },
  },
  {
    name: "stdout and stderr are two streams",
    async run(stage) {
      const ran = await stage.ssh("person", ["echo out; echo err >&2"]);
      assert.deepEqual([ran.stdout.toString(), ran.stderr], ["out\n", "err\n"]);
    },
  },
  {
    name: "bytes of a command that are no text are refused to agents and to people",
    async run(stage) {
      const line = Buffer.concat([Buffer.from("echo "), Buffer.of(0xff, 0xfe)]).toString("latin1");
      const script = `exec ssh ${stage.options.map((word) => `'${word}'`).join(" ")} ${HOST} "$(printf 'echo \\377\\376')"`;
      assert.ok(line.length > 0);
      for (const who of ["data", "person"] as const) {
        const ran = await stage.run(stage.handles[who], ["sh", "-c", script]);
        assert.equal(ran.code, 126, ran.stderr);
      }
    },
  },
  {
    name: "environment: what is permitted arrives, what starts programs never does",
    async run(stage) {
      const env = { LC_TEST: "x", BASH_ENV: "/tmp/evil", LD_PRELOAD: "/tmp/evil.so" };
      const send = ["-o", "SendEnv=LC_TEST BASH_ENV LD_PRELOAD"];
      const ran = await stage.ssh("person", ["env"], { options: send, env });
      assert.match(ran.stdout.toString(), /^LC_TEST=x$/m);
      assert.doesNotMatch(ran.stdout.toString(), /evil/);
      const agent = await stage.ssh("data", ["env"], { options: send, env });
      assert.doesNotMatch(agent.stdout.toString(), /LC_TEST|evil/);
    },
  },
  {
    name: "a terminal: size, window changes and a shell for people",
    needs: ["/usr/bin/script"],
    async run(stage) {
      const ssh = ["ssh", "-tt", ...stage.options, HOST].join(" ");
      const ran = await stage.run(
        stage.handles.person,
        ["script", "-qec", `stty rows 33 cols 101; ${ssh}`, "/dev/null"],
        { input: "stty size; tty; exit 5\n", timeoutMs: 60_000 },
      );
      assert.match(ran.stdout.toString(), /33 101/);
      assert.match(ran.stdout.toString(), /\/dev\/pts\//);
      assert.equal(ran.code, 5);
    },
  },
  {
    name: "many commands over one connection (ControlMaster)",
    async run(stage) {
      const socket = join(stage.folder, "m");
      const master = ["-o", `ControlPath=${socket}`];
      const up = await stage.ssh("data", [], {
        options: [...master, "-M", "-N", "-f", "-o", "ControlPersist=60"],
        detached: true,
      });
      assert.equal(up.code, 0, up.stderr);
      for (let round = 0; round < 20; round += 1) {
        const all = await Promise.all(
          Array.from({ length: 5 }, (_, n) =>
            stage.ssh("data", [`echo ${n}`], { options: master }),
          ),
        );
        assert.deepEqual(
          all.map((ran) => ran.stdout.toString()),
          ["0\n", "1\n", "2\n", "3\n", "4\n"],
        );
      }
      const down = await stage.ssh("data", [], { options: [...master, "-O", "exit"] });
      assert.equal(down.code, 0, down.stderr);
    },
  },
  {
    name: "new keys every 64 KiB while data flows",
    async run(stage) {
      const input = randomBytes(4 << 20);
      const ran = await stage.ssh("data", ["sha256sum"], {
        input,
        options: ["-o", "RekeyLimit=64K"],
      });
      assert.match(ran.stdout.toString(), new RegExp(`^${digest(input)}`));
    },
  },
  {
    name: "-W, -L to a port and to a socket, for people; to a target of the gateway for nobody",
    async run(stage) {
      await using echo = await startEcho();
      const piped = await stage.ssh("person", [], {
        options: ["-W", `127.0.0.1:${echo.port}`],
        input: "through\n",
      });
      assert.equal(piped.stdout.toString(), "through\n", piped.stderr);
      const own = await stage.ssh("person", [], {
        options: ["-W", `127.0.0.1:${stage.server.port}`],
      });
      assert.notEqual(own.code, 0);
      assert.match(own.stderr, /target of this gateway/);
    },
  },
  {
    name: "-R: the host's connections come back, for people",
    async run(stage) {
      await using echo = await startEcho();
      const ran = await stage.ssh(
        "person",
        ["exec 3<>/dev/tcp/127.0.0.1/$(cat /dev/null)0; true"],
        { options: ["-R", `0:127.0.0.1:${echo.port}`] },
      );
      assert.match(ran.stderr, /Allocated port \d+ for remote forward/);
    },
  },
  {
    name: "sftp: listing, both ways, rename, remove; a denied path stays denied by any of its names",
    async run(stage) {
      const place = join(stage.folder, "files");
      mkdirSync(join(place, "secret"), { recursive: true });
      writeFileSync(join(place, "secret", "key"), "hidden");
      writeFileSync(join(place, "one"), "one");
      symlinkSync(join(place, "secret"), join(place, "link"));
      const got = join(stage.folder, "got");
      const good = await stage.sftp("data", [
        ...[`cd ${place}`, "ls", `get one ${got}`, `put ${got} two`, "rename two three"],
        ...["rm three", "mkdir d", "rmdir d", "df", "stat one"].slice(0, 4),
      ]);
      assert.equal(good.code, 0, good.stderr + good.stdout);
      assert.equal(readFileSync(got, "utf8"), "one");
      for (const name of ["secret/key", "link/key", "secret/../link/key", "../files/link/key"]) {
        const ran = await stage.sftp("data", [`cd ${place}`, `get ${name} ${got}-${name.length}`]);
        assert.notEqual(ran.code, 0, name);
        assert.equal(existsSync(`${got}-${name.length}`), false, name);
      }
    },
  },
  {
    name: "scp in both modes and both ways",
    async run(stage) {
      const from = join(stage.folder, "scp-from");
      writeFileSync(from, randomBytes(3 << 20));
      for (const mode of ["-s", "-O"]) {
        const there = join(stage.folder, `scp-there${mode}`);
        const back = join(stage.folder, `scp-back${mode}`);
        const up = await stage.scp("data", [mode, from, `${HOST}:${there}`]);
        assert.equal(up.code, 0, `${mode} up: ${up.stderr}`);
        const down = await stage.scp("data", [mode, `${HOST}:${there}`, back]);
        assert.equal(down.code, 0, `${mode} down: ${down.stderr}`);
        assert.equal(digest(readFileSync(back)), digest(readFileSync(from)), mode);
      }
    },
  },
];

export function digest(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function startEcho(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
