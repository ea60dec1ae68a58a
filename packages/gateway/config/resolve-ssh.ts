// An SSH target from the checked document.

import type { SshCredential } from "../target/ssh-target.ts";
import type { SshTarget } from "../target/target.ts";
import { type Context, resolveReference } from "./resolve-context.ts";
import type { SshDocument } from "./schema-ssh.ts";

export function resolveSsh(
  context: Context,
  name: string,
  ssh: SshDocument,
  tags: SshTarget["tags"],
): SshTarget {
  const { host, port, hostKeys, hostAuthorities } = ssh;
  const accounts = Object.entries(ssh.accounts).map(([account, document]) => {
    const user = document.user ?? account;
    return {
      name: account,
      user,
      shell: document.shell,
      ...(document.holdToRun ? { holdToRun: true } : {}),
      credential: resolveCredential(context, user, document.credential),
    };
  });
  const detect = Object.entries(ssh.detect ?? {}).map(([name, kind]) => ({ class: name, kind }));
  const hostNames = ssh.hostNames ?? [host];
  return {
    protocol: "ssh",
    ...{ name, host, port, hostKeys, hostAuthorities, hostNames, accounts, tags },
    ...(detect.length > 0 ? { detect } : {}),
  };
}

function resolveCredential(
  context: Context,
  user: string,
  { certificate, key, password }: SshDocument["accounts"][string]["credential"],
): SshCredential {
  if (key !== undefined) return { kind: "key", key: resolveReference(context, key) };
  if (password !== undefined)
    return { kind: "password", password: resolveReference(context, password) };
  return {
    kind: "certificate",
    principals: certificate?.principals ?? [user],
    sourceAddress: certificate?.sourceAddress,
  };
}
