// SSH clients: a certificate for them, and an ssh_config by which they find targets.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Command } from "commander";

import { replace } from "../contexts.ts";
import { CliError } from "../faults.ts";
import { type Gateway, type Invocation, invocationOf } from "../invocation.ts";
import { facts, type Io, relative } from "../output.ts";
import { configText, knownHostsText, sshAddress } from "../ssh-config.ts";
import { openSshKey, type SshFiles, sshFiles } from "../ssh-key.ts";

/** A certificate with less left is made anew. */
const RENEW_BEFORE_MS = 60_000;
/** ssh's own status of a failure. */
const SIGNALLED = 255;

export function addSshCommands(program: Command, io: Io): void {
  program
    .command("ssh-config")
    .description("write an ssh_config by which ssh, scp, sftp, rsync, git and ansible find targets")
    .option("--print", "print it; default: write it and say which line to put into ~/.ssh/config")
    .addHelpText(
      "after",
      `
Each target is a host by its own name, and account~target another. Certificates are made and renewed
by themselves (custody ssh-cert) before each connection.

Examples:
  custody ssh-config                  # then: ssh web-1 'systemctl status nginx'
  rsync -e "ssh -F $(custody ssh-config --json | jq -r .config)" …`,
    )
    .action(async (options: { print?: boolean }, command: Command) =>
      sshConfig(invocationOf(command, io), options.print === true),
    );
  program
    .command("ssh-cert")
    .description("make or renew the certificate that SSH clients show to the gateway")
    .option("--public-key <file>", "certify this key instead of one of custody's own")
    .addHelpText(
      "after",
      `
A certificate stands for the delegation in use, lasts as long, and opens nothing but this gateway.
With --public-key it is printed.`,
    )
    .action(async (options: { publicKey?: string }, command: Command) =>
      sshCert(invocationOf(command, io), options.publicKey),
    );
  program
    .command("ssh-ca")
    .description("print the authority that hosts have to trust for the gateway's certificates")
    .addHelpText(
      "after",
      `
On each host, as root:
  custody ssh-ca > /etc/ssh/custody-ca.pub
  echo 'TrustedUserCAKeys /etc/ssh/custody-ca.pub' > /etc/ssh/sshd_config.d/custody.conf`,
    )
    .action(async (_options: unknown, command: Command) => {
      const invocation = invocationOf(command, io);
      const { target } = await invocation.withClient((client) => client.call("sshAuthorities"));
      invocation.print({ publicKey: target }, () => `${target}\n`);
    });
}

/** Who asks for a certificate, and as whom. */
export interface SshHolder extends Pick<Invocation, "gateway" | "withClient"> {
  readonly nowMs: () => number;
}

/**
 * Everything an SSH client needs to reach targets, in one folder. `home`: what CUSTODY_HOME is when the
 * certificate is renewed, which the clients see to by themselves.
 */
export async function prepareSsh(
  holder: SshHolder,
  home: string,
  directory: string,
): Promise<SshFiles> {
  const files = sshFiles(directory);
  const gateway = holder.gateway();
  const { authorities, list } = await holder.withClient(async (client) => ({
    authorities: await client.call("sshAuthorities"),
    list: await client.call("targets"),
  }));
  const place = sshAddress(gateway, list);
  if (place === undefined) throw new CliError("refused", "this gateway has no SSH listener");
  await certify(holder, directory);
  const renew = renewal(home, gateway, files.goodUntil);
  replace(files.knownHosts, knownHostsText(place, authorities.host));
  replace(files.config, configText(list.targets, place, files, renew));
  return files;
}

/** ssh itself on a target; its exit status. */
export async function connectSsh(
  invocation: Invocation,
  target: string,
  words: readonly string[],
): Promise<number> {
  const { config } = await prepareHere(invocation, invocation.gateway());
  const child = spawn("ssh", ["-F", config, target, ...words], { stdio: "inherit" });
  // Ctrl-C is for what runs on the host.
  const ignore = () => undefined;
  process.on("SIGINT", ignore);
  try {
    const [code] = await once(child, "close");
    return typeof code === "number" ? code : SIGNALLED;
  } catch (cause) {
    throw new CliError("refused", "ssh cannot be started", { hint: "is it installed?", cause });
  } finally {
    process.off("SIGINT", ignore);
  }
}

/** Programs named as OpenSSH's that know where to go, for the front of a PATH. */
export function writeSshPrograms(directory: string, config: string, path: string): void {
  mkdirSync(directory, { mode: 0o700 });
  for (const name of ["ssh", "scp", "sftp"]) {
    const program = path
      .split(":")
      .map((folder) => join(folder, name))
      .find((file) => existsSync(file));
    if (program === undefined) continue;
    const text = `#!/bin/sh\nexec ${shellWord(program)} -F ${shellWord(config)} "$@"\n`;
    writeFileSync(join(directory, name), text, { mode: 0o700 });
  }
}

function prepareHere(invocation: Invocation, gateway: Gateway): Promise<SshFiles> {
  const home = invocation.contexts.directory;
  return prepareSsh(holderOf(invocation), home, directoryOf(invocation, gateway));
}

function holderOf(invocation: Invocation): SshHolder {
  const { gateway, io, withClient } = invocation;
  return { gateway, withClient, nowMs: io.nowMs };
}

async function sshConfig(invocation: Invocation, isPrinted: boolean): Promise<void> {
  const gateway = invocation.gateway();
  const { config } = await prepareHere(invocation, gateway);
  if (isPrinted) {
    const text = readFileSync(config, "utf8");
    invocation.print({ config, text }, () => text);
    return;
  }
  invocation.print(
    { config },
    () =>
      `${facts(invocation.io, [["written to", config]])}\nas the first line of ~/.ssh/config:\n  Include "${config}"\n`,
  );
}

async function sshCert(invocation: Invocation, file: string | undefined): Promise<void> {
  if (file !== undefined) {
    const publicKey = readText(file).trim();
    const made = await invocation.withClient((client) =>
      client.call("sshCertificate", { body: { publicKey } }),
    );
    invocation.print(made, () => `${made.certificate}\n`);
    return;
  }
  const directory = directoryOf(invocation, invocation.gateway());
  const expiresAt = await certify(holderOf(invocation), directory);
  const { certificate } = sshFiles(directory);
  invocation.print({ certificate, expiresAt }, () =>
    facts(invocation.io, [
      ["certificate", certificate],
      ["expires", relative(expiresAt, invocation.io.nowMs())],
    ]),
  );
}

/** Until when; a certificate that is good for a while is kept. */
async function certify(holder: SshHolder, directory: string): Promise<string> {
  const files = sshFiles(directory);
  const publicKey = openSshKey(directory);
  const tag = tagOf(holder.gateway().token);
  const goodUntilMs = readGoodUntil(files.goodUntil, tag);
  if (goodUntilMs > holder.nowMs()) return new Date(goodUntilMs + RENEW_BEFORE_MS).toISOString();
  const { certificate, expiresAt } = await holder.withClient((client) =>
    client.call("sshCertificate", { body: { publicKey } }),
  );
  replace(files.certificate, `${certificate}\n`);
  const seconds = Math.floor((Date.parse(expiresAt) - RENEW_BEFORE_MS) / 1000);
  replace(files.goodUntil, `${seconds}\n${tag}\n`);
  return expiresAt;
}

/** 0 also when the certificate is another delegation's. */
function readGoodUntil(file: string, tag: string): number {
  try {
    const [seconds, whose] = readFileSync(file, "utf8").split("\n");
    return whose === tag ? Number(seconds) * 1000 : 0;
  } catch {
    return 0;
  }
}

/** Tells delegations apart without keeping one. */
function tagOf(token: string | undefined): string {
  return createHash("sha256")
    .update(`custody-ssh\0${token ?? ""}`)
    .digest("base64url")
    .slice(0, 22);
}

/** One folder a context; one for what the environment gives. */
function directoryOf(invocation: Invocation, gateway: Gateway): string {
  return join(invocation.contexts.directory, "ssh", gateway.contextName ?? "environment");
}

/** For the shell of ssh's `Match exec`: it looks at the time itself, which costs a connection nothing. */
function renewal(folder: string, { contextName }: Gateway, goodUntil: string): string {
  const words = [process.execPath, process.argv[1] ?? "custody"];
  if (contextName !== undefined) words.push("--context", contextName);
  const renew = [...words, "ssh-cert"].map(shellWord).join(" ");
  const home = `CUSTODY_HOME=${shellWord(folder)}`;
  return `[ $(date +%s) -lt $(head -n 1 ${shellWord(goodUntil)}) ] || ${home} ${renew}`;
}

function shellWord(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new CliError("usage", `${file} cannot be read`, { cause });
  }
}
