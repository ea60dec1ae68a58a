// Runs one of OpenSSH's own regression scripts with its ssh pointed at the gateway: a program in its place
// adds where to go and with what to sign in, and passes everything else on. The sshd that a script starts
// for itself is left alone; nothing connects to it.

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { runProgram } from "../stage.ts";

export interface Pointed {
  readonly regress: string;
  readonly folder: string;
  /** `-o` options that the scripts' own come after. */
  readonly options: readonly string[];
  /** What there is to be tried, by `ssh -Q`'s words. */
  readonly algorithms: Readonly<Record<"cipher" | "mac" | "kex", readonly string[]>>;
}

export interface ScriptResult {
  readonly passed: boolean;
  /** The end of what it said. */
  readonly said: string;
}

const TIMEOUT_MS = 10 * 60_000;
const SAID_LENGTH = 2000;

export async function runScript(pointed: Pointed, script: string): Promise<ScriptResult> {
  const place = mkdtempSync(join(pointed.folder, "regress-"));
  const object = join(place, "regress");
  mkdirSync(object);
  cpSync(pointed.regress, object, { recursive: true });
  const ssh = join(place, "ssh");
  const words = pointed.options.map((word) => `'${word}'`).join(" ");
  // Of what there is to be tried, what is spoken here. Left alone: other questions about the client, what has another port (a way that the script forwarded, which
  // ends at an sshd of its own) and what has a way of its own.
  const port = await freePort();
  const wrapper = [
    "#!/bin/sh",
    'for word in "$@"; do',
    '  case "$before $word" in',
    ...Object.entries(pointed.algorithms).map(
      ([kind, names]) =>
        `    "-Q ${kind}") exec sh -c 'ssh -Q ${kind} | grep -xF ${names.map((name) => `-e ${name}`).join(" ")}';;`,
    ),
    '    "-Q "*|*" -V"|*" -G"|"-o ProxyCommand"*) exec /usr/bin/ssh "$@";;',
    `    "-p ${port}"|*" -p${port}"|*" -p") ;;`,
    '    "-p "*|*" -p"[0-9]*) exec /usr/bin/ssh "$@";;',
    "  esac",
    '  before="$word"',
    "done",
    `exec /usr/bin/ssh ${words} "$@"`,
  ];
  writeFileSync(ssh, `${wrapper.join("\n")}\n`, { mode: 0o755 });
  try {
    const ran = await runProgram(
      ["sh", join(object, "test-exec.sh"), object, join(object, `${script}.sh`)],
      {
        timeoutMs: TIMEOUT_MS,
        cwd: object,
        env: {
          ...{ PATH: process.env.PATH ?? "", HOME: place, LC_ALL: "C.UTF-8", TEST_SHELL: "sh" },
          ...{ OBJ: object, BUILDDIR: object, TEST_SSH_PORT: port },
          ...{
            TEST_SSH_SSH: ssh,
            TEST_SSH_SSHD: "/usr/sbin/sshd",
            TEST_SSH_UNSAFE_PERMISSIONS: "1",
          },
          ...{ TEST_SSH_SFTPSERVER: "/usr/lib/openssh/sftp-server", TEST_SSH_ECC: "yes" },
          ...{ TEST_SSH_SFTP: "/usr/bin/sftp", TEST_SSH_SCP: "/usr/bin/scp", TEST_SSH_IPV6: "no" },
          ...{
            TEST_SSH_SSHKEYGEN: "/usr/bin/ssh-keygen",
            TEST_SSH_SSHKEYSCAN: "/usr/bin/ssh-keyscan",
          },
          ...{ TEST_SSH_SSHAGENT: "/usr/bin/ssh-agent", TEST_SSH_SSHADD: "/usr/bin/ssh-add" },
        },
      },
    );
    const said = ran.stdout.toString() + ran.stderr;
    return { passed: ran.code === 0, said: said.slice(-SAID_LENGTH) };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function freePort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return String(typeof address === "object" && address !== null ? address.port : 0);
}
