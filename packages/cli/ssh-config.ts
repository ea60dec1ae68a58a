// An ssh_config for a gateway's SSH targets: `ssh web-1`, `scp deploy~web-1:…`, git, rsync and ansible
// find the gateway by the target's own name, know it by its authority, and show a certificate.

import type { TargetView } from "@custody/contract/delegations.ts";
import type { ResponseOf } from "@custody/contract/endpoints.ts";

import { CliError } from "./faults.ts";
import type { Gateway } from "./invocation.ts";
import type { SshFiles } from "./ssh-key.ts";

type TargetList = ResponseOf<"targets">;

export interface SshPlace {
  readonly host: string;
  readonly port: number;
}

/** Where clients reach the SSH listener from here; undefined: there is none. */
export function sshAddress(gateway: Gateway, list: TargetList): SshPlace | undefined {
  const listener = list.listeners.ssh;
  if (listener === undefined) return undefined;
  const everywhere = listener.host === "0.0.0.0" || listener.host === "::";
  const own = new URL(gateway.url).hostname.replace(/^\[(.*)\]$/, "$1");
  return { host: everywhere ? own : listener.host, port: listener.port };
}

export function knownHostsText(place: SshPlace, hostAuthority: string): string {
  const { host, port } = place;
  const pattern = port === 22 ? host : `[${host}]:${port}`;
  return `@cert-authority ${pattern} ${hostAuthority}\n`;
}

/** `renew`: a command that sees to the certificate before each connection. */
export function configText(
  targets: readonly TargetView[],
  place: SshPlace,
  files: SshFiles,
  renew: string | undefined,
): string {
  const names: string[] = [];
  const blocks = targets
    .filter(({ protocol }) => protocol === "ssh")
    .flatMap((target) => {
      const alone = target.defaultAccount === null ? [] : [target.name];
      const own = [...alone, ...target.accounts.map((account) => `${account}~${target.name}`)];
      names.push(...own);
      return own.map((name) => block(name, place, files));
    });
  if (blocks.length === 0)
    throw new CliError("refused", "there is no SSH target for this delegation");
  // It sets nothing; what it runs sees to the certificate before the connection is made.
  const renewal =
    renew === undefined ? [] : [`Match originalhost ${names.join(",")} exec ${quoted(renew)}\n`];
  return [...renewal, ...blocks].join("\n");
}

function block(name: string, { host, port }: SshPlace, files: SshFiles): string {
  return `${[
    `Host ${name}`,
    `  HostName ${host}`,
    `  Port ${port}`,
    `  User ${name}`,
    `  IdentityFile ${quoted(files.key)}`,
    `  CertificateFile ${quoted(files.certificate)}`,
    "  IdentitiesOnly yes",
    "  PreferredAuthentications publickey",
    `  UserKnownHostsFile ${quoted(files.knownHosts)}`,
    "  GlobalKnownHostsFile none",
    "  StrictHostKeyChecking yes",
    "  UpdateHostKeys no",
    // What the gateway is fastest with; the others stay possible.
    "  Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com",
    "  SendEnv CUSTODY_JUSTIFICATION",
    "  ForwardAgent no",
    "  ForwardX11 no",
  ].join("\n")}\n`;
}

/** ssh_config has no way to write a quote inside of quotes. */
function quoted(text: string): string {
  if (text.includes('"') || /[\r\n]/.test(text))
    throw new CliError(
      "usage",
      `ssh cannot be told of ${text}: it has a quote or a line end in it`,
    );
  return `"${text.replaceAll("%", "%%")}"`;
}
