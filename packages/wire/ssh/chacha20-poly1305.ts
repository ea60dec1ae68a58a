// chacha20-poly1305@openssh.com (OpenSSH's PROTOCOL.chacha20poly1305): the second half of the key
// encrypts the length, the first half the rest and makes the Poly1305 key; the nonce is the sequence
// number. Not safe without strict key exchange (Terrapin, CVE-2023-48795): exchange.ts refuses that.

import { createCipheriv, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import { SshError } from "./errors.ts";
import type { PacketOpener, PacketSealer } from "./packet-protection.ts";
import { poly1305 } from "./poly1305.ts";

/** `key` is 64 bytes. */
export function chachaSealer(key: Buffer): PacketSealer {
  const { bodyKey, lengthKey } = splitKey(key);
  return {
    ...SHAPE,
    seal: (sequence, packet, output) => {
      const length = chacha20(lengthKey, sequence, 0, packet.subarray(0, 4));
      const body = chacha20(bodyKey, sequence, 1, packet.subarray(4));
      output.push(length);
      output.push(body);
      output.push(poly1305(poly1305Key(bodyKey, sequence), [length, body]));
    },
  };
}

export function chachaOpener(key: Buffer): PacketOpener {
  const { bodyKey, lengthKey } = splitKey(key);
  return {
    ...SHAPE,
    headBytes: 4,
    tagBytes: TAG_BYTES,
    length: (sequence, head) =>
      chacha20(lengthKey, sequence, 0, head.subarray(0, 4)).readUInt32BE(0),
    open: (sequence, packet) => {
      const end = packet.length - TAG_BYTES;
      const tag = poly1305(poly1305Key(bodyKey, sequence), [packet.subarray(0, end)]);
      if (!timingSafeEqual(tag, packet.subarray(end))) {
        throw new SshError("integrity", "a packet's tag is wrong");
      }
      return chacha20(bodyKey, sequence, 1, packet.subarray(4, end));
    },
  };
}

function splitKey(key: Buffer): { readonly bodyKey: KeyObject; readonly lengthKey: KeyObject } {
  return {
    bodyKey: createSecretKey(key.subarray(0, 32)),
    lengthKey: createSecretKey(key.subarray(32, 64)),
  };
}

function poly1305Key(bodyKey: KeyObject, sequence: number): Buffer {
  return chacha20(bodyKey, sequence, 0, POLY1305_ZEROS);
}

// OpenSSL's IV is the block counter, 8 bytes little-endian, then the nonce, 8 bytes.
function chacha20(key: KeyObject, sequence: number, block: number, bytes: Buffer): Buffer {
  const iv = Buffer.alloc(16);
  iv.writeUInt32LE(block, 0);
  iv.writeUInt32BE(sequence, 12);
  return createCipheriv("chacha20", key, iv).update(bytes);
}

const SHAPE = { blockBytes: 8, lengthIsEncrypted: false };
const TAG_BYTES = 16;
const POLY1305_ZEROS = Buffer.alloc(32);
