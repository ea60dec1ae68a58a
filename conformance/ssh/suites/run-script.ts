// Runs one of OpenSSH's own regression scripts with its ssh pointed at the gateway: a program in its place
// adds where to go and with what to sign in, and passes everything else on. What a script runs by itself in
// the place of a connection, an sftp-server or the other side's scp, goes through the gateway too. The sshd
// that a script starts for itself is left alone; nothing connects to it.

import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { freePort } from "../../support/free-port.ts";
import { runProgram } from "../stage.ts";

export interface Pointed {
  readonly regress: string;
  readonly folder: string;
  /** `-o` options that the scripts' own come after. */
  readonly options: readonly string[];
  /** What there is to be tried, by `ssh -Q`'s words. */
  readonly algorithms: Readonly<Record<"cipher" | "mac" | "kex", readonly string[]>>;
}

export interface Script {
  readonly name: string;
  /** Of the script only what comes before the loop that has this in it. */
  readonly before: string | undefined;
}

export interface ScriptResult {
  readonly passed: boolean;
  /** The end of what it said. */
  readonly said: string;
}

const TIMEOUT_MS = 10 * 60_000;
const SAID_LENGTH = 2000;

export async function runScript(pointed: Pointed, script: Script): Promise<ScriptResult> {
  const place = mkdtempSync(join(pointed.folder, "regress-"));
  const object = join(place, "regress");
  mkdirSync(object);
  cpSync(pointed.regress, object, { recursive: true });
  const ssh = join(place, "ssh");
  const sftpServer = join(place, "sftp-server");
  const port = String(await freePort());
  writeProgram(ssh, sshProgram(pointed, port));
  writeProgram(sftpServer, [`exec ${ssh} -s somehost sftp`]);
  const scp = join(object, "scp-ssh-wrapper.sh");
  renameSync(scp, `${scp}.own`);
  writeProgram(scp, [
    // Servers that lie to scp are the script's own.
    `case "$SCPTESTMODE" in bad*) exec sh ${scp}.own "$@";; esac`,
    "for line; do :; done",
    `exec ${ssh} somehost "$line"`,
  ]);
  const file = join(object, `${script.name}.sh`);
  if (script.before !== undefined) cut(file, script.before);
  try {
    const ran = await runProgram(["sh", join(object, "test-exec.sh"), object, file], {
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
        ...{ TEST_SSH_SFTPSERVER: sftpServer, TEST_SSH_ECC: "yes" },
        ...{ TEST_SSH_SFTP: "/usr/bin/sftp", TEST_SSH_SCP: "/usr/bin/scp", TEST_SSH_IPV6: "no" },
        ...{
          TEST_SSH_SSHKEYGEN: "/usr/bin/ssh-keygen",
          TEST_SSH_SSHKEYSCAN: "/usr/bin/ssh-keyscan",
        },
        ...{ TEST_SSH_SSHAGENT: "/usr/bin/ssh-agent", TEST_SSH_SSHADD: "/usr/bin/ssh-add" },
      },
    });
    const said = ran.stdout.toString() + ran.stderr;
    return { passed: ran.code === 0, said: said.slice(-SAID_LENGTH) };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Of what there is to be tried, what is spoken here. Left alone: other questions about the client, what has
 * another port (a way that the script forwarded, which ends at an sshd of its own) and what has a way of its
 * own. */
function sshProgram({ algorithms, options }: Pointed, port: string): readonly string[] {
  const words = options.map((word) => `'${word}'`).join(" ");
  return [
    'for word in "$@"; do',
    '  case "$before $word" in',
    ...Object.entries(algorithms).map(
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
}

function writeProgram(file: string, lines: readonly string[]): void {
  writeFileSync(file, ["#!/bin/sh", ...lines, ""].join("\n"), { mode: 0o755 });
}

function cut(file: string, before: string): void {
  const text = readFileSync(file, "utf8");
  const at = text.lastIndexOf("\nfor ", text.indexOf(before));
  if (at < 0) throw new Error(`${file} has no loop with ${before}`);
  writeFileSync(file, text.slice(0, at + 1));
}
