// What the administrator of a host has to do for an account, as text to be read and run by them; the
// gateway never changes a host. It closes every way in but the gateway's (sshd_config(5)).

import type { SshAccount, SshCredential } from "../target/ssh-target.ts";
import type { SshTarget } from "../target/target.ts";

/** For one account of the target. Throws RangeError for one it does not have. */
export function sshSetupText(target: SshTarget, name: string): string {
  const account = target.accounts.find((one) => one.name === name);
  if (account === undefined) throw new RangeError(`no account ${name}`);
  return [
    `# ${target.host}, account ${account.user}: for review, then as root on the host.`,
    ...waysIn(account, account.credential),
    ...shellLines(account),
    "",
  ].join("\n");
}

function waysIn({ user }: SshAccount, credential: SshCredential): readonly string[] {
  const file = `/etc/ssh/sshd_config.d/custody-${user}.conf`;
  switch (credential.kind) {
    case "certificate": {
      const principals = credential.principals.filter((principal) => principal !== user);
      const named = `/etc/ssh/custody-principals-${user}`;
      return [
        "# The authority, from where the gateway can be reached:",
        "#   custody ssh-ca > /etc/ssh/custody-ca.pub",
        ...(principals.length === 0 ? [] : [`printf '%s\\n' ${principals.join(" ")} > ${named}`]),
        `cat > ${file} <<'END'`,
        `Match User ${user}`,
        "  TrustedUserCAKeys /etc/ssh/custody-ca.pub",
        ...(principals.length === 0 ? [] : [`  AuthorizedPrincipalsFile ${named}`]),
        "  AuthorizedKeysFile none",
        "  AuthenticationMethods publickey",
        ...LIMITS,
        "END",
      ];
    }
    case "key":
      return [
        "# The public half of the key the gateway keeps is the only line of ~/.ssh/authorized_keys.",
        `cat > ${file} <<'END'`,
        `Match User ${user}`,
        "  AuthenticationMethods publickey",
        ...LIMITS,
        "END",
      ];
    case "password":
      return [
        "# A certificate for each session would be safer than a password the gateway keeps.",
        `cat > ${file} <<'END'`,
        `Match User ${user}`,
        "  AuthorizedKeysFile none",
        "  AuthenticationMethods password keyboard-interactive",
        ...LIMITS,
        "END",
      ];
  }
}

/** What the gateway itself does not ask for. */
const LIMITS = ["  AllowAgentForwarding no", "  X11Forwarding no", "  PermitUserRC no"];

function shellLines({ shell, user }: SshAccount): readonly string[] {
  if (shell === undefined)
    return ["# Its login shell is not declared (shell: …): no command line is sent, SFTP works."];
  return [
    `getent passwd ${user}   # its login shell has to be ${shell}, as declared`,
    "# Its start-up files, and the folders they are in, belong to root: they decide what words mean.",
  ];
}
