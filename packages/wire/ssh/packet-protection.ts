// What a cipher and its MAC do for packets (RFC 4253 section 6): the form that ciphers.ts fills for each of
// them and packets.ts uses.

import type { OutputQueue } from "./output-queue.ts";

/** Writes packets: length, padding length, payload, padding in; protected bytes out. */
export interface PacketSealer {
  readonly blockBytes: number;
  /** The four length bytes count when the packet is padded to blocks. */
  readonly lengthIsEncrypted: boolean;
  seal(sequence: number, packet: Buffer, output: OutputQueue): void;
}

/** Reads packets: first length() of their first `headBytes`, then open() of all of it. */
export interface PacketOpener {
  readonly blockBytes: number;
  readonly lengthIsEncrypted: boolean;
  readonly headBytes: number;
  /** Of the MAC or tag behind the packet. */
  readonly tagBytes: number;
  /** The packet_length field; called once a packet. */
  length(sequence: number, head: Buffer): number;
  /**
   * Padding length, payload and padding, verified.
   * @throws SshError "integrity"
   */
  open(sequence: number, packet: Buffer): Buffer;
}
