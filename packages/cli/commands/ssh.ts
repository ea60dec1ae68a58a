// SSH clients: a certificate for them, and an ssh_config by which they find targets.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Command } from "commander";

import { replace } from "../contexts.ts";
import { CliError } from "../faults.ts";
import { type Gateway, type Invocation, invocationOf } from "../invocation.ts";
import { facts, type Io, relative } from "../output.ts";
import { configText, knownHostsText, type SshPlace, sshAddress } from "../ssh-config.ts";
import { openSshKey, type SshFiles, sshFiles } from "../ssh-key.ts";

/** A certificate with less left is made anew. */
const RENEW_BEFORE_MS = 60_000;

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

/** Everything an SSH client needs to reach targets, in one folder. */
export async function prepareSsh(
  invocation: Invocation,
  directory: string,
  renew: string | undefined,
  at?: SshPlace,
): Promise<SshFiles> {
  const files = sshFiles(directory);
  const gateway = invocation.gateway();
  const { authorities, list } = await invocation.withClient(async (client) => ({
    authorities: await client.call("sshAuthorities"),
    list: await client.call("targets"),
  }));
  const place = at ?? sshAddress(gateway, list);
  if (place === undefined) throw new CliError("refused", "this gateway has no SSH listener");
  await certify(invocation, directory);
  replace(files.knownHosts, knownHostsText(place, authorities.host));
  replace(files.config, configText(list.targets, place, files, renew));
  return files;
}

async function sshConfig(invocation: Invocation, isPrinted: boolean): Promise<void> {
  const gateway = invocation.gateway();
  const { config } = await prepareSsh(
    invocation,
    directoryOf(invocation, gateway),
    renewal(gateway),
  );
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
  const expiresAt = await certify(invocation, directory);
  const { certificate } = sshFiles(directory);
  invocation.print({ certificate, expiresAt }, () =>
    facts(invocation.io, [
      ["certificate", certificate],
      ["expires", relative(expiresAt, invocation.io.nowMs())],
    ]),
  );
}

/** Until when; a certificate that is good for a while is kept. */
async function certify(invocation: Invocation, directory: string): Promise<string> {
  const files = sshFiles(directory);
  const publicKey = openSshKey(directory);
  const { token } = invocation.gateway();
  const known = readExpiry(join(directory, "expires"), token);
  if (known !== undefined && Date.parse(known) - invocation.io.nowMs() > RENEW_BEFORE_MS)
    return known;
  const { certificate, expiresAt } = await invocation.withClient((client) =>
    client.call("sshCertificate", { body: { publicKey } }),
  );
  replace(files.certificate, `${certificate}\n`);
  replace(join(directory, "expires"), JSON.stringify({ expiresAt, delegation: tagOf(token) }));
  return expiresAt;
}

/** undefined also when the certificate is another delegation's. */
function readExpiry(file: string, token: string | undefined): string | undefined {
  try {
    const { expiresAt, delegation } = JSON.parse(readFileSync(file, "utf8"));
    return delegation === tagOf(token) && typeof expiresAt === "string" ? expiresAt : undefined;
  } catch {
    return undefined;
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

/** For the shell of ssh's `Match exec`. */
function renewal({ contextName }: Gateway): string {
  const words = [process.execPath, process.argv[1] ?? "custody"];
  if (contextName !== undefined) words.push("--context", contextName);
  return [...words, "ssh-cert"].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new CliError("usage", `${file} cannot be read`, { cause });
  }
}
