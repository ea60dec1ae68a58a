// The binary packet protocol (RFC 4253 section 6): packets out of bytes and bytes out of payloads, with
// the sequence numbers and the keys of the moment. State: one reader and one writer per connection, each
// its cipher, its sequence number and what went under its keys.

import { randomFillSync } from "node:crypto";
import type { ByteQueue } from "./byte-queue.ts";
import { PLAIN_OPENER, PLAIN_SEALER } from "./ciphers.ts";
import { SshError } from "./errors.ts";
import type { OutputQueue } from "./output-queue.ts";
import type { PacketOpener, PacketSealer } from "./packet-protection.ts";

export class PacketReader {
  /** Sequence number of the last packet, for SSH_MSG_UNIMPLEMENTED. */
  lastSequence = 0;
  readonly #input: ByteQueue;
  readonly #maxPacketBytes: number;
  #opener: PacketOpener = PLAIN_OPENER;
  #sequence = 0;
  /** packet_length of the packet that is being waited for; 0 when not known yet. */
  #length = 0;
  #keyedBytes = 0;
  #keyedPackets = 0;

  constructor(input: ByteQueue, maxPacketBytes: number) {
    this.#input = input;
    this.#maxPacketBytes = maxPacketBytes;
  }

  /** The next payload; undefined when more bytes are needed. @throws SshError */
  next(): Buffer | undefined {
    const opener = this.#opener;
    if (this.#length === 0) {
      const head = this.#input.peek(opener.headBytes);
      if (head === undefined) return undefined;
      const length = opener.length(this.#sequence, head);
      this.#checkLength(opener, length);
      this.#length = length;
    }
    const packet = this.#input.take(4 + this.#length + opener.tagBytes);
    if (packet === undefined) return undefined;
    this.#length = 0;
    const plain = opener.open(this.#sequence, packet);
    this.lastSequence = this.#sequence;
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#keyedBytes += packet.length;
    this.#keyedPackets++;
    if (this.#keyedPackets >= MAX_KEYED_PACKETS) {
      throw new SshError("limit", "too many packets under one key");
    }
    const paddingBytes = plain[0]!;
    if (paddingBytes < MIN_PADDING_BYTES || paddingBytes + 2 > plain.length) {
      throw new SshError("packet", `${paddingBytes} bytes of padding in ${plain.length}`);
    }
    return plain.subarray(1, plain.length - paddingBytes);
  }

  /** From the next packet on. */
  useKeys(opener: PacketOpener, resetSequence: boolean): void {
    this.#opener = opener;
    if (resetSequence) this.#sequence = 0;
    this.#keyedBytes = 0;
    this.#keyedPackets = 0;
  }

  get sequence(): number {
    return this.#sequence;
  }

  get keyedBytes(): number {
    return this.#keyedBytes;
  }

  get keyedPackets(): number {
    return this.#keyedPackets;
  }

  #checkLength(opener: PacketOpener, length: number): void {
    if (length > this.#maxPacketBytes) {
      throw new SshError("limit", `a packet of ${length} bytes`);
    }
    const padded = opener.lengthIsEncrypted ? length + 4 : length;
    if (length < MIN_PACKET_LENGTH || padded % opener.blockBytes !== 0) {
      throw new SshError("packet", `a packet length of ${length}`);
    }
  }
}

export class PacketWriter {
  readonly #output: OutputQueue;
  #sealer: PacketSealer = PLAIN_SEALER;
  #sequence = 0;
  #keyedBytes = 0;
  #keyedPackets = 0;
  readonly #random = Buffer.allocUnsafeSlow(RANDOM_BYTES);
  #randomAt = RANDOM_BYTES;

  constructor(output: OutputQueue) {
    this.#output = output;
  }

  /** One packet of the parts, which are copied. */
  write(head: Buffer, tail: Buffer = EMPTY): void {
    const sealer = this.#sealer;
    const payloadBytes = head.length + tail.length;
    const unpadded = payloadBytes + (sealer.lengthIsEncrypted ? 5 : 1);
    let paddingBytes = sealer.blockBytes - (unpadded % sealer.blockBytes);
    if (paddingBytes < MIN_PADDING_BYTES) paddingBytes += sealer.blockBytes;
    const packet = Buffer.allocUnsafe(5 + payloadBytes + paddingBytes);
    packet.writeUInt32BE(packet.length - 4, 0);
    packet[4] = paddingBytes;
    head.copy(packet, 5);
    tail.copy(packet, 5 + head.length);
    this.#pad(packet, 5 + payloadBytes);
    const before = this.#output.bytes;
    sealer.seal(this.#sequence, packet, this.#output);
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#keyedBytes += this.#output.bytes - before;
    this.#keyedPackets++;
    if (this.#keyedPackets >= MAX_KEYED_PACKETS) {
      throw new SshError("limit", "too many packets under one key");
    }
  }

  /** From the next packet on. */
  useKeys(sealer: PacketSealer, resetSequence: boolean): void {
    this.#sealer = sealer;
    if (resetSequence) this.#sequence = 0;
    this.#keyedBytes = 0;
    this.#keyedPackets = 0;
  }

  get keyedBytes(): number {
    return this.#keyedBytes;
  }

  get keyedPackets(): number {
    return this.#keyedPackets;
  }

  // Random bytes are drawn in advance: a call for each packet would cost more than the packet.
  #pad(packet: Buffer, from: number): void {
    const needed = packet.length - from;
    if (needed > RANDOM_BYTES - this.#randomAt) {
      randomFillSync(this.#random);
      this.#randomAt = 0;
    }
    this.#random.copy(packet, from, this.#randomAt, this.#randomAt + needed);
    this.#randomAt += needed;
  }
}

const EMPTY = Buffer.alloc(0);
const MIN_PADDING_BYTES = 4;
/** A padding length, one byte of payload and the least padding. */
const MIN_PACKET_LENGTH = 1 + 1 + MIN_PADDING_BYTES;
const RANDOM_BYTES = 1024;
/** No nonce and no sequence number comes twice under one key; new keys are asked for long before. */
const MAX_KEYED_PACKETS = 2 ** 32 - 1;
