// A real sshd in a folder of its own, for tests, suites and the demo: it lets the account that runs it
// in, by certificates of a given authority only, and has nothing of the machine's configuration. As root
// it lets root in, from the loopback alone.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { freePort, onFreePorts, saysTaken } from "./free-port.ts";
import { startWatched, type WatchedProcess } from "./watched-process.ts";

export interface SshServerOptions {
  /** An empty folder. */
  readonly folder: string;
  /** Public key line of the authority whose user certificates are taken. */
  readonly userAuthority: string;
  /** Lines for sshd_config. */
  readonly more?: readonly string[];
}

export interface TestSshServer extends AsyncDisposable {
  readonly port: number;
  /** The account to sign in as. */
  readonly user: string;
  /** Public key line. */
  readonly hostKey: string;
  /** What it wrote so far. */
  log(): string;
  readonly process: WatchedProcess;
}

const SSHD = "/usr/sbin/sshd";
const SFTP_SERVER = "/usr/lib/openssh/sftp-server";
/** Where sshd wants an empty folder when it runs as root. */
const PRIVILEGE_SEPARATION = "/run/sshd";

export function hasSshServer(): boolean {
  return existsSync(SSHD) && existsSync(SFTP_SERVER);
}

export async function startSshServer(options: SshServerOptions): Promise<TestSshServer> {
  const { folder, userAuthority } = options;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (userInfo().uid === 0) mkdirSync(PRIVILEGE_SEPARATION, { recursive: true, mode: 0o755 });
  const file = (name: string) => join(folder, name);
  const made = spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file("host")]);
  if (made.status !== 0) throw new Error(`ssh-keygen failed: ${made.stderr}`);
  writeFileSync(file("authority.pub"), `${userAuthority}\n`);
  return await onFreePorts(
    async () => startOn(await freePort(), options),
    (error) => error instanceof Error && saysTaken(error.message),
  );
}

async function startOn(
  port: number,
  { folder, more = [] }: SshServerOptions,
): Promise<TestSshServer> {
  const file = (name: string) => join(folder, name);
  // Of what is said twice sshd takes the first.
  const configuration = [
    ...more,
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${file("host")}`,
    `TrustedUserCAKeys ${file("authority.pub")}`,
    "AuthorizedKeysFile none",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    "UsePAM no",
    "StrictModes no",
    `PidFile ${file("pid")}`,
    "LogLevel VERBOSE",
    "MaxStartups 200",
    "MaxSessions 200",
    "AllowStreamLocalForwarding yes",
    "AcceptEnv *",
    // bash reads ~/.bashrc when a daemon starts it, and takes a level of its own for being started so.
    "SetEnv SHLVL=1",
    `Subsystem sftp ${SFTP_SERVER}`,
  ];
  writeFileSync(file("sshd_config"), `${configuration.join("\n")}\n`);
  const watched = startWatched([SSHD, "-D", "-e", "-f", file("sshd_config")], {
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin" },
    cwd: folder,
  });
  let output = "";
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  watched.child.stderr?.on("data", (chunk) => {
    output += chunk;
    if (output.includes("Server listening on")) resolve();
  });
  watched.exited.then((code) => reject(new Error(`sshd ended with ${code}:\n${output}`)));
  await promise;
  return {
    port,
    user: userInfo().username,
    hostKey: readFileSync(file("host.pub"), "utf8").trim(),
    log: () => output,
    process: watched,
    async [Symbol.asyncDispose]() {
      await watched.stop();
    },
  };
}
