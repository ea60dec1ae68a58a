// The typed requests of the connection protocol (RFC 4254; OpenSSH's PROTOCOL file for those with
// "@openssh.com"). `kind` is the name on the wire; a name not listed is "other", with its data as it
// came. What a peer chooses freely (commands, environment, paths) stays bytes; names are ASCII.

/** SSH_MSG_CHANNEL_REQUEST. */
export type ChannelRequest =
  | {
      readonly kind: "pty-req";
      readonly term: Buffer;
      readonly size: TerminalSize;
      /** Encoded terminal modes, RFC 4254 section 8. */
      readonly modes: Buffer;
    }
  | { readonly kind: "env"; readonly name: Buffer; readonly value: Buffer }
  | { readonly kind: "shell" }
  | { readonly kind: "exec"; readonly command: Buffer }
  | { readonly kind: "subsystem"; readonly name: Buffer }
  | { readonly kind: "window-change"; readonly size: TerminalSize }
  | { readonly kind: "xon-xoff"; readonly clientCanDo: boolean }
  /** Without the "SIG". */
  | { readonly kind: "signal"; readonly signal: string }
  | { readonly kind: "exit-status"; readonly status: number }
  | {
      readonly kind: "exit-signal";
      readonly signal: string;
      readonly coreDumped: boolean;
      readonly message: Buffer;
      readonly language: Buffer;
    }
  | { readonly kind: "break"; readonly lengthMs: number }
  | {
      readonly kind: "x11-req";
      readonly singleConnection: boolean;
      readonly protocol: Buffer;
      readonly cookie: Buffer;
      readonly screen: number;
    }
  | { readonly kind: "auth-agent-req@openssh.com" }
  /** The sender will read no more of this channel; what it sends still counts. */
  | { readonly kind: "eow@openssh.com" }
  | { readonly kind: "keepalive@openssh.com" }
  | { readonly kind: "other"; readonly name: string; readonly data: Buffer };

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
  readonly widthPixels: number;
  readonly heightPixels: number;
}

/** What SSH_MSG_CHANNEL_OPEN asks for. */
export type ChannelOpen =
  | { readonly kind: "session" }
  | {
      readonly kind: "direct-tcpip";
      readonly host: Buffer;
      readonly port: number;
      readonly originHost: Buffer;
      readonly originPort: number;
    }
  | {
      readonly kind: "forwarded-tcpip";
      readonly host: Buffer;
      readonly port: number;
      readonly originHost: Buffer;
      readonly originPort: number;
    }
  | { readonly kind: "x11"; readonly originHost: Buffer; readonly originPort: number }
  | { readonly kind: "direct-streamlocal@openssh.com"; readonly path: Buffer }
  | { readonly kind: "forwarded-streamlocal@openssh.com"; readonly path: Buffer }
  | { readonly kind: "auth-agent@openssh.com" }
  | { readonly kind: "other"; readonly name: string; readonly data: Buffer };

/** SSH_MSG_GLOBAL_REQUEST. */
export type GlobalRequest =
  | { readonly kind: "tcpip-forward"; readonly host: Buffer; readonly port: number }
  | { readonly kind: "cancel-tcpip-forward"; readonly host: Buffer; readonly port: number }
  | { readonly kind: "streamlocal-forward@openssh.com"; readonly path: Buffer }
  | { readonly kind: "cancel-streamlocal-forward@openssh.com"; readonly path: Buffer }
  | { readonly kind: "no-more-sessions@openssh.com" }
  | { readonly kind: "keepalive@openssh.com" }
  /** The server's host keys, as public key blobs. */
  | { readonly kind: "hostkeys-00@openssh.com"; readonly keys: readonly Buffer[] }
  /** The client asks for a proof of each key; see host-key-rotation.ts. */
  | { readonly kind: "hostkeys-prove-00@openssh.com"; readonly keys: readonly Buffer[] }
  | { readonly kind: "other"; readonly name: string; readonly data: Buffer };

/** RFC 4254 section 5.1. */
export const CHANNEL_OPEN_FAILURES = {
  administrativelyProhibited: 1,
  connectFailed: 2,
  unknownChannelType: 3,
  resourceShortage: 4,
} as const;

/** SSH_EXTENDED_DATA_STDERR. */
export const STDERR = 1;
