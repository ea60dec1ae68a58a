// Clients that are not OpenSSH's, and programs that use ssh as their transport.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { runCustody } from "../support/command-line.ts";
import type { SshCase } from "./checks.ts";
import { digest } from "./openssh.ts";
import type { SshStage } from "./stage.ts";
import { openWireClient } from "./wire-client.ts";

const PYTHON = "/usr/bin/python3";

export const OTHERS: readonly SshCase[] = [
  {
    name: "dropbear's client: password, output, status, denial",
    needs: ["/usr/bin/dbclient"],
    async run(stage) {
      const client = (line: string) =>
        stage.run(
          stage.handles.data,
          ["dbclient", "-y", "-y", "-p", stage.port, "web-1@127.0.0.1", line],
          { env: { DROPBEAR_PASSWORD: stage.handles.data } },
        );
      const ran = await client("echo from dropbear; exit 4");
      assert.deepEqual([ran.stdout.toString(), ran.code], ["from dropbear\n", 4], ran.stderr);
      const denied = await client("rm /nothing");
      assert.equal(denied.code, 126);
      assert.match(denied.stderr, /Nothing is removed here/);
    },
  },
  {
    name: "PuTTY's plink: password, output, status",
    needs: ["/usr/bin/plink"],
    async run(stage) {
      const secret = join(stage.folder, "plink-secret");
      writeFileSync(secret, stage.handles.data, { mode: 0o600 });
      const key = stage.hostKeyFingerprint;
      const ran = await stage.run(stage.handles.data, [
        ...["plink", "-batch", "-ssh", "-P", stage.port, "-pwfile", secret],
        ...["-hostkey", key, "web-1@127.0.0.1", "echo from plink; exit 5"],
      ]);
      assert.deepEqual([ran.stdout.toString(), ran.code], ["from plink\n", 5], ran.stderr);
    },
  },
  {
    name: "paramiko: exec, status, SFTP both ways, a denial as its own error",
    needs: [PYTHON, "/usr/lib/python3/dist-packages/paramiko/__init__.py"],
    async run(stage) {
      const script = new URL("paramiko-cases.py", import.meta.url).pathname;
      const ran = await stage.run(stage.handles.data, [PYTHON, script], {
        env: { PORT: stage.port, FOLDER: stage.folder },
      });
      assert.deepEqual([ran.code, ran.stdout.toString()], [0, "ok\n"], ran.stderr);
    },
  },
  {
    name: "rsync both ways over ssh",
    needs: ["/usr/bin/rsync"],
    async run(stage) {
      const from = join(stage.folder, "rsync-from");
      mkdirSync(join(from, "sub"), { recursive: true });
      writeFileSync(join(from, "a"), randomBytes(200_000));
      writeFileSync(join(from, "sub", "b c"), "text");
      const there = join(stage.folder, "rsync-there");
      const back = join(stage.folder, "rsync-back");
      const shell = ["ssh", ...stage.options].join(" ");
      const up = await stage.run(stage.handles.data, [
        ...["rsync", "-a", "-e", shell, `${from}/`, `127.0.0.1:${there}/`],
      ]);
      assert.equal(up.code, 0, up.stderr);
      const down = await stage.run(stage.handles.data, [
        ...["rsync", "-a", "-e", shell, `127.0.0.1:${there}/`, `${back}/`],
      ]);
      assert.equal(down.code, 0, down.stderr);
      assert.equal(digest(readFileSync(join(back, "a"))), digest(readFileSync(join(from, "a"))));
      assert.equal(readFileSync(join(back, "sub", "b c"), "utf8"), "text");
    },
  },
  {
    name: "git over ssh: clone, push",
    needs: ["/usr/bin/git"],
    async run(stage) {
      const bare = join(stage.folder, "repo.git");
      const clone = join(stage.folder, "clone");
      const env = { GIT_SSH_COMMAND: ["ssh", ...stage.options].join(" "), ...AUTHOR };
      const git = async (...words: string[]) => {
        const ran = await stage.run(stage.handles.data, ["git", ...words], { env });
        assert.equal(ran.code, 0, `git ${words.join(" ")}: ${ran.stderr}`);
        return ran.stdout.toString();
      };
      await git("init", "-q", "--bare", bare);
      await git("clone", "-q", `127.0.0.1:${bare}`, clone);
      writeFileSync(join(clone, "file"), "content");
      await git("-C", clone, "add", "file");
      await git("-C", clone, "commit", "-q", "-m", "one");
      await git("-C", clone, "push", "-q", "origin", "HEAD:main");
      assert.match(await git("-C", bare, "log", "--oneline", "main"), /one/);
    },
  },
  {
    name: "lftp over SFTP: mirror there and back",
    needs: ["/usr/bin/lftp"],
    async run(stage) {
      const { config } = (await stage.engineer(["ssh-config"])) as { config: string };
      const from = join(stage.folder, "lftp-from");
      mkdirSync(from);
      writeFileSync(join(from, "a"), randomBytes(100_000));
      const there = join(stage.folder, "lftp-there");
      const back = join(stage.folder, "lftp-back");
      const script = [
        "set net:max-retries 1; set net:timeout 10",
        `set sftp:connect-program "ssh -a -x -F ${config}"`,
        "open sftp://web-1:@web-1",
        `mirror -R ${from} ${there}`,
        `mirror ${there} ${back}`,
        "bye",
      ];
      const ran = await stage.run("", ["lftp", "-c", script.join("; ")]);
      assert.equal(ran.code, 0, ran.stderr + ran.stdout);
      assert.equal(digest(readFileSync(join(back, "a"))), digest(readFileSync(join(from, "a"))));
    },
  },
  {
    name: "ansible: raw for agents, modules for people who may run code and for agents by the whole line",
    needs: ["/usr/bin/ansible"],
    async run(stage) {
      const { config } = (await stage.engineer(["ssh-config"])) as { config: string };
      const home = join(stage.folder, "ansible-agent");
      mkdirSync(home);
      const own = (await stage.agent(stage.handles.data, home, ["ssh-config"])) as {
        config: string;
      };
      const ansible = (file: string, ...words: string[]) => ansibleWith({}, file, ...words);
      const ansibleWith = (more: Record<string, string>, file: string, ...words: string[]) =>
        stage.run("", ["ansible", "all", "-i", "web-1,", ...words], {
          env: {
            ...{ ANSIBLE_SSH_ARGS: `-F ${file}`, ANSIBLE_HOST_KEY_CHECKING: "true" },
            ...{ ANSIBLE_PYTHON_INTERPRETER: "/usr/bin/python3", ANSIBLE_LOCALHOST_WARNING: "0" },
            ...{ ANSIBLE_PIPELINING: "false", ANSIBLE_NOCOLOR: "1", ...more },
          },
          timeoutMs: 120_000,
        });
      const raw = await ansible(own.config, "-m", "raw", "-a", "id -un");
      assert.match(raw.stdout.toString(), new RegExp(stage.server.user), raw.stderr);
      const agent = await ansible(own.config, "-m", "command", "-a", "id -un");
      assert.notEqual(agent.code, 0, "a module is code");
      const person = await ansible(config, "-m", "command", "-a", "id -un");
      assert.equal(person.code, 0, person.stdout.toString() + person.stderr);
      assert.match(person.stdout.toString(), new RegExp(stage.server.user));
      // A policy names the line that starts a module, and the delegation that code may be run.
      const coder = await stage.delegate("ansible", "ssh:data,ssh:exec_code");
      const coderHome = join(stage.folder, "ansible-coder");
      mkdirSync(coderHome);
      const named = (await stage.agent(coder, coderHome, ["ssh-config"])) as { config: string };
      const pipelined = { ANSIBLE_PIPELINING: "true" };
      const module = await ansibleWith(pipelined, named.config, "-m", "command", "-a", "id -un");
      assert.equal(module.code, 0, module.stdout.toString() + module.stderr);
      assert.match(module.stdout.toString(), new RegExp(stage.server.user));
      const unnamed = await ansible(named.config, "-m", "command", "-a", "id -un");
      assert.notEqual(unnamed.code, 0, "another line is another line");
    },
  },
  {
    name: "a certificate from the command line: ssh and scp by the target's own name",
    async run(stage) {
      const { config } = (await stage.engineer(["ssh-config"])) as { config: string };
      const ran = await stage.run("", ["ssh", "-F", config, "web-1", "id -un"]);
      assert.deepEqual(
        [ran.code, ran.stdout.toString()],
        [0, `${stage.server.user}\n`],
        ran.stderr,
      );
      const there = join(stage.folder, "by-certificate");
      const copied = await stage.run("", [
        ...["scp", "-q", "-F", config, config, `deploy~web-1:${there}`],
      ]);
      assert.equal(copied.code, 0, copied.stderr);
      assert.equal(readFileSync(there, "utf8"), readFileSync(config, "utf8"));
    },
  },
  {
    name: "custody connect, and custody run whose program's ssh and scp know the target",
    async run(stage) {
      const person = async (...args: string[]) =>
        await runCustody(args, { home: stage.home("engineer") });
      const connected = await person("connect", "web-1", "--", "echo", "connected");
      assert.deepEqual([connected.exitCode, connected.stdout], [0, "connected\n"]);
      const file = join(stage.folder, "by-run");
      const script = `ssh web-1 id -un; scp -q /etc/hostname web-1:${file}; ssh web-1 'rm /x'; echo $?`;
      const ran = await person("run", "--target", "web-1:data", "--", "sh", "-c", script);
      assert.equal(ran.stdout, `${stage.server.user}\n126\n`, ran.stderr);
      assert.equal(readFileSync(file, "utf8"), readFileSync("/etc/hostname", "utf8"));
    },
  },
  {
    name: "two thousand commands over one connection, a hundred of them at a time",
    async run(stage) {
      await using client = await openWireClient({
        port: Number(stage.port),
        user: "web-1",
        secret: stage.handles.data,
      });
      for (let round = 0; round < 20; round += 1) {
        const all = Array.from({ length: 100 }, (_, n) => client.exec(`echo ${round}-${n}`));
        for (const [n, { status, stdout }] of (await Promise.all(all)).entries())
          assert.deepEqual([status, stdout.toString()], [0, `${round}-${n}\n`]);
      }
    },
  },
  {
    name: "clients with windows of a gigabyte that stop reading cost the gateway little memory",
    async run(stage) {
      await using clients = new AsyncDisposableStack();
      const resident = () =>
        Number(
          /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${stage.gateway.pid}/status`, "utf8"))?.[1],
        );
      const before = resident();
      for (let n = 0; n < 4; n += 1) {
        const client = clients.use(
          await openWireClient({
            ...{ port: Number(stage.port), user: "web-1", secret: stage.handles.data },
            stalls: true,
          }),
        );
        void client.exec("head -c 2000000000 /dev/zero");
      }
      await new Promise((resolve) => setTimeout(resolve, 3000));
      const grownMiB = (resident() - before) / 1024;
      assert.ok(grownMiB < 96, `it grew by ${Math.round(grownMiB)} MiB`);
    },
  },
  {
    name: "command bytes with NUL, line ends, escapes and what is no UTF-8 reach no host",
    async run(stage) {
      await using client = await openWireClient({
        port: Number(stage.port),
        user: "web-1",
        secret: stage.handles.data,
      });
      const mark = join(stage.folder, "reached");
      for (const tail of ["\0", "\n", "\r", "\x1b]0;x\x07", "\xff", "\u00a0", "\u202e"]) {
        const bytes = Buffer.concat([
          Buffer.from("echo a"),
          Buffer.from(tail, tail === "\xff" ? "latin1" : "utf8"),
          Buffer.from(`cp /etc/hostname ${mark}`),
        ]);
        const { status } = await client.exec(bytes);
        // Some of these are literal after all: then they are one word, and echo shows it.
        assert.ok(status === 126 || status === 0, JSON.stringify(tail));
        assert.equal(existsSync(mark), false, JSON.stringify(tail));
      }
    },
  },
  {
    name: "certificates of others, for others, and of a revoked delegation do not sign in",
    async run(stage) {
      const { certificate, key, revoke } = await certified(stage);
      const login = (more: readonly string[]) =>
        stage.run("wrong", [
          ...["ssh", "-o", "PubkeyAuthentication=yes", "-o", "PasswordAuthentication=no"],
          ...["-o", "KbdInteractiveAuthentication=no", "-o", "IdentitiesOnly=yes", "-i", key],
          ...[...more, ...stage.options, "127.0.0.1", "true"],
        ]);
      const good = await login(["-o", `CertificateFile=${certificate}`]);
      assert.equal(good.code, 0, good.stderr);
      assert.equal((await login([])).code, 255, "the key alone");
      const forged = await stage.forge(key);
      for (const [what, file] of Object.entries(forged))
        assert.equal((await login(["-o", `CertificateFile=${file}`])).code, 255, what);
      await revoke();
      assert.equal((await login(["-o", `CertificateFile=${certificate}`])).code, 255, "revoked");
    },
  },
  {
    name: "revoking ends what runs, here and on the host, and says why",
    async run(stage) {
      const child = await stage.delegateWithId("short-lived");
      const mark = `3${String(Date.now()).slice(-5)}`;
      const pending = stage.run(child.handle, [
        // With a terminal, whose end the host tells its processes; without one it is up to sshd, which
        // passes signals on for every account but root.
        ...["ssh", "-tt", ...stage.options, "127.0.0.1", `sleep ${mark}`],
      ]);
      await until(async () => (await running(mark)) > 0);
      const started = performance.now();
      await stage.engineer(["revoke", child.id]);
      const ran = await pending;
      assert.ok(performance.now() - started < 30_000);
      assert.equal(ran.code, 255);
      assert.match(ran.stderr, /the delegation of this session was revoked/);
      await until(async () => (await running(mark)) === 0);
    },
  },
  {
    name: "a client that goes away while its command is held leaves nothing behind",
    async run(stage) {
      const client = await openWireClient({
        port: Number(stage.port),
        user: "web-1",
        secret: stage.handles.data,
      });
      const file = join(stage.folder, "left-behind");
      void client.exec(`touch ${file}`);
      const id = await stage.nextRequest();
      await client[Symbol.asyncDispose]();
      await stage.operator(["approve", id, "--reason", "too late"]).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.equal(existsSync(file), false);
    },
  },
  {
    name: "what ran is replayed from its recording, and every leaf is in the log",
    async run(stage) {
      const word = `replayed-${Date.now()}`;
      const ran = await stage.ssh("data", [`echo ${word}; cat`], { input: "typed in\n" });
      assert.equal(ran.code, 0);
      const { sessions } = (await stage
        .operator(["sessions", "--all"])
        .catch(() => stage.operator(["sessions"]))) as {
        sessions: readonly { id: string; protocol: string }[];
      };
      const session = sessions.find(({ protocol }) => protocol === "ssh");
      assert.ok(session !== undefined);
      const replayed = JSON.stringify(await stage.replay(session.id));
      assert.match(replayed, new RegExp(word));
      assert.match(replayed, /"kind":"exec"/);
      assert.match(replayed, /"kind":"exit"/);
    },
  },
];

const AUTHOR = {
  ...{ GIT_AUTHOR_NAME: "a", GIT_AUTHOR_EMAIL: "a@example.com", GIT_CONFIG_GLOBAL: "/dev/null" },
  ...{ GIT_COMMITTER_NAME: "a", GIT_COMMITTER_EMAIL: "a@example.com" },
};

/** A key of an agent's with a certificate for its delegation. */
async function certified(stage: SshStage) {
  const child = await stage.delegateWithId("certified");
  const home = join(stage.folder, `home-${child.id}`);
  mkdirSync(home);
  const { certificate } = (await stage.agent(child.handle, home, ["ssh-cert"])) as {
    certificate: string;
  };
  // Beside its certificate OpenSSH would show that one whatever it is told.
  const key = join(home, "alone");
  for (const end of ["", ".pub"])
    copyFileSync(certificate.replace(/-cert\.pub$/, end), `${key}${end}`);
  return {
    certificate,
    key,
    revoke: () => stage.engineer(["revoke", child.id]),
  };
}

/** How many `sleep <mark>` there are on this machine. */
async function running(mark: string): Promise<number> {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, "utf8") === `sleep\0${mark}\0`;
    } catch {
      return false;
    }
  }).length;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("it did not come to be");
}
