// A host that is reached by SSH, as the operator described it.

import type { SecretReference } from "../credential/reference.ts";
import type { Detection } from "../masking/nets.ts";

/** Login shells that read a line of single-quoted words as the gateway decided it. */
export const SSH_SHELLS = ["dash", "bash", "busybox", "ksh", "zsh"] as const;
export type SshShell = (typeof SSH_SHELLS)[number];

/** How the gateway shows who it is to the host. */
export type SshCredential =
  /** A certificate for one session, signed by the gateway's authority for targets. */
  | {
      readonly kind: "certificate";
      readonly principals: readonly string[];
      /** Addresses the host takes it from, as sshd writes them; undefined: any. */
      readonly sourceAddress: string | undefined;
    }
  /** A private key the gateway keeps. */
  | { readonly kind: "key"; readonly key: SecretReference }
  | { readonly kind: "password"; readonly password: SecretReference };

export interface SshAccount {
  readonly name: string;
  /** The account's name on the host. */
  readonly user: string;
  /** Its login shell there; undefined: not declared, and then no command line is forwarded. */
  readonly shell: SshShell | undefined;
  /** Typed lines that policies are against wait for a second Enter. Absent: they do not. */
  readonly holdToRun?: boolean;
  readonly credential: SshCredential;
}

export interface SshHost {
  /** What permits may have masked in output and files. Absent: nothing. */
  readonly detect?: readonly Detection[];
  readonly host: string;
  readonly port: number;
  /** Public key lines, `ssh-ed25519 AAAA…`: one of these is the host's, or… */
  readonly hostKeys: readonly string[];
  /** …one of these has signed its certificate, for a name out of `hostNames`. */
  readonly hostAuthorities: readonly string[];
  readonly hostNames: readonly string[];
}
