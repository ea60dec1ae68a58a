// What a connection is given: its role, its keys, its algorithms and its limits.

import type { KeyObject } from "node:crypto";

export type SshOptions = SshServerOptions | SshClientOptions;

export interface SshServerOptions extends SshCommonOptions {
  readonly role: "server";
  /** At least one; in the order of our preference (the client's counts first). */
  readonly hostKeys: readonly SshHostKey[];
}

export interface SshClientOptions extends SshCommonOptions {
  readonly role: "client";
  readonly user: string;
  /**
   * Whether this is the host that is wanted. Asked in every key exchange, before anything is sent
   * under its keys and after the host has proved that it has the key.
   */
  readonly hostKeyAccepted: (offer: HostKeyOffer) => boolean;
}

export interface SshCommonOptions {
  /**
   * What follows "SSH-2.0-": printable ASCII without space or minus. OpenSSH sends eow@openssh.com and
   * no-more-sessions@openssh.com only to a peer whose name begins with "OpenSSH".
   */
  readonly software: string;
  readonly algorithms?: Partial<SshAlgorithms>;
  readonly limits?: Partial<SshLimits>;
  /** A clock that never goes back. */
  readonly nowMs: () => number;
}

export interface SshHostKey {
  readonly privateKey: KeyObject;
  /** A host certificate of that key, offered beside it. */
  readonly certificate?: Buffer;
}

export interface HostKeyOffer {
  readonly algorithm: string;
  /** Public key blob, or a certificate (parseCertificate, verifyCertificate). */
  readonly key: Buffer;
}

/** Names in the order of preference. */
export interface SshAlgorithms {
  readonly kex: readonly string[];
  /** A client's: which host keys and signatures it takes. A server's: which of its keys' it offers. */
  readonly hostKey: readonly string[];
  readonly cipher: readonly string[];
  readonly mac: readonly string[];
  /** Signature algorithms a server takes from clients' keys; said in server-sig-algs (RFC 8308). */
  readonly clientKey: readonly string[];
}

export interface SshLimits {
  /** Largest packet taken, its length field and MAC aside. */
  readonly maxPacketBytes: number;
  /** What may come before a server's version line (RFC 4253 section 4.2). */
  readonly maxBannerBytes: number;
  /** Input that may wait while the caller has not answered an authentication request. */
  readonly maxHeldBytes: number;
  readonly maxAuthAttempts: number;
  /** Open, opening or closing. */
  readonly maxChannels: number;
  /** Requests of the peer that are not answered yet, a channel, and of the connection. */
  readonly maxUnanswered: number;
  /** Our receive window of a channel, while there are few. */
  readonly windowBytes: number;
  /** All channels' windows together come near this; each has at least 64 KiB, or windowBytes. */
  readonly windowBudgetBytes: number;
  /** Largest data we let the peer put in one packet, and put in one ourselves. */
  readonly maxDataBytes: number;
  /** New keys after so many bytes in one direction… */
  readonly rekeyBytes: number;
  /** …or so long. */
  readonly rekeyMs: number;
}

export const SSH_LIMITS: SshLimits = {
  maxPacketBytes: 256 * 1024,
  maxBannerBytes: 8 * 1024,
  maxHeldBytes: 256 * 1024,
  maxAuthAttempts: 20,
  maxChannels: 4096,
  maxUnanswered: 128,
  windowBytes: 2 * 1024 * 1024,
  windowBudgetBytes: 64 * 1024 * 1024,
  maxDataBytes: 32 * 1024,
  rekeyBytes: 1024 * 1024 * 1024,
  rekeyMs: 60 * 60 * 1000,
};
