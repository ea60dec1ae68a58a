// The ciphers and MACs of the binary packet protocol: AES-GCM (RFC 5647 as OpenSSH has it), AES-CTR (RFC
// 4344) with HMAC-SHA-2 before or after encryption (RFC 6668, "-etm@openssh.com"), ChaCha20-Poly1305
// (chacha20-poly1305.ts), and the plain text of the first key exchange. One object per direction and set
// of keys; it owns the cipher's state (counter, invocation) and nothing else.

import {
  type Cipheriv,
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type Decipheriv,
  type KeyObject,
  timingSafeEqual,
} from "node:crypto";
import { chachaOpener, chachaSealer } from "./chacha20-poly1305.ts";
import { SshError } from "./errors.ts";
import type { PacketOpener, PacketSealer } from "./packet-protection.ts";

export interface CipherKind {
  readonly name: string;
  readonly keyBytes: number;
  readonly ivBytes: number;
  /** It needs no MAC. */
  readonly authenticated: boolean;
}

export interface MacKind {
  readonly name: string;
  readonly keyBytes: number;
}

export interface DirectionKeys {
  readonly cipher: CipherKind;
  /** undefined when the cipher is authenticated. */
  readonly mac: MacKind | undefined;
  readonly key: Buffer;
  readonly iv: Buffer;
  readonly macKey: Buffer;
}

export const CIPHERS: readonly CipherKind[] = [
  { name: "aes128-gcm@openssh.com", keyBytes: 16, ivBytes: 12, authenticated: true },
  { name: "aes256-gcm@openssh.com", keyBytes: 32, ivBytes: 12, authenticated: true },
  { name: "chacha20-poly1305@openssh.com", keyBytes: 64, ivBytes: 0, authenticated: true },
  { name: "aes128-ctr", keyBytes: 16, ivBytes: 16, authenticated: false },
  { name: "aes192-ctr", keyBytes: 24, ivBytes: 16, authenticated: false },
  { name: "aes256-ctr", keyBytes: 32, ivBytes: 16, authenticated: false },
];

export const MACS: readonly MacKind[] = [
  { name: "hmac-sha2-256-etm@openssh.com", keyBytes: 32 },
  { name: "hmac-sha2-512-etm@openssh.com", keyBytes: 64 },
  { name: "hmac-sha2-256", keyBytes: 32 },
  { name: "hmac-sha2-512", keyBytes: 64 },
];

export function createSealer(keys: DirectionKeys): PacketSealer {
  if (keys.cipher.name === CHACHA) return chachaSealer(keys.key);
  return keys.mac === undefined ? gcmSealer(keys) : ctrSealer(keys, keys.mac);
}

export function createOpener(keys: DirectionKeys): PacketOpener {
  if (keys.cipher.name === CHACHA) return chachaOpener(keys.key);
  return keys.mac === undefined ? gcmOpener(keys) : ctrOpener(keys, keys.mac);
}

export const PLAIN_SEALER: PacketSealer = {
  blockBytes: 8,
  lengthIsEncrypted: true,
  seal: (_sequence, packet, output) => output.push(packet),
};

export const PLAIN_OPENER: PacketOpener = {
  blockBytes: 8,
  lengthIsEncrypted: true,
  headBytes: 4,
  tagBytes: 0,
  length: (_sequence, head) => head.readUInt32BE(0),
  open: (_sequence, packet) => packet.subarray(4),
};

// RFC 5647 section 7.1: the nonce is a fixed part and a counter of 8 bytes that goes up by one a packet;
// the length is authenticated, not encrypted.
function gcmSealer(keys: DirectionKeys): PacketSealer {
  const algorithm = gcmAlgorithm(keys.cipher);
  const key = createSecretKey(keys.key);
  const nonce = Buffer.from(keys.iv);
  return {
    blockBytes: AES_BLOCK_BYTES,
    lengthIsEncrypted: false,
    seal: (_sequence, packet, output) => {
      const cipher = createCipheriv(algorithm, key, nonce, GCM_OPTIONS);
      countUp(nonce);
      const length = packet.subarray(0, 4);
      cipher.setAAD(length);
      output.push(length);
      output.push(cipher.update(packet.subarray(4)));
      cipher.final();
      output.push(cipher.getAuthTag());
    },
  };
}

function gcmOpener(keys: DirectionKeys): PacketOpener {
  const algorithm = gcmAlgorithm(keys.cipher);
  const key = createSecretKey(keys.key);
  const nonce = Buffer.from(keys.iv);
  return {
    blockBytes: AES_BLOCK_BYTES,
    lengthIsEncrypted: false,
    headBytes: 4,
    tagBytes: GCM_TAG_BYTES,
    length: (_sequence, head) => head.readUInt32BE(0),
    open: (_sequence, packet) => {
      const decipher = createDecipheriv(algorithm, key, nonce, GCM_OPTIONS);
      countUp(nonce);
      const end = packet.length - GCM_TAG_BYTES;
      decipher.setAAD(packet.subarray(0, 4));
      decipher.setAuthTag(packet.subarray(end));
      const plain = decipher.update(packet.subarray(4, end));
      try {
        decipher.final();
      } catch {
        throw new SshError("integrity", "a packet's tag is wrong");
      }
      return plain;
    },
  };
}

function gcmAlgorithm(cipher: CipherKind): "aes-128-gcm" | "aes-256-gcm" {
  return cipher.keyBytes === 16 ? "aes-128-gcm" : "aes-256-gcm";
}

function countUp(nonce: Buffer): void {
  const low = (nonce.readUInt32BE(8) + 1) >>> 0;
  nonce.writeUInt32BE(low, 8);
  if (low === 0) nonce.writeUInt32BE((nonce.readUInt32BE(4) + 1) >>> 0, 4);
}

function ctrSealer(keys: DirectionKeys, mac: MacKind): PacketSealer {
  const cipher: Cipheriv = createCipheriv(ctrAlgorithm(keys.cipher), keys.key, keys.iv);
  const macKey = createSecretKey(keys.macKey);
  const etm = mac.name.endsWith(ETM);
  return {
    blockBytes: AES_BLOCK_BYTES,
    lengthIsEncrypted: !etm,
    seal: (sequence, packet, output) => {
      if (etm) {
        const length = packet.subarray(0, 4);
        const encrypted = cipher.update(packet.subarray(4));
        output.push(length);
        output.push(encrypted);
        output.push(macOf(macKey, mac, sequence, length, encrypted));
      } else {
        const tag = macOf(macKey, mac, sequence, packet);
        output.push(cipher.update(packet));
        output.push(tag);
      }
    },
  };
}

function ctrOpener(keys: DirectionKeys, mac: MacKind): PacketOpener {
  const decipher: Decipheriv = createDecipheriv(ctrAlgorithm(keys.cipher), keys.key, keys.iv);
  const macKey = createSecretKey(keys.macKey);
  const tagBytes = mac.keyBytes;
  if (mac.name.endsWith(ETM)) {
    return {
      blockBytes: AES_BLOCK_BYTES,
      lengthIsEncrypted: false,
      headBytes: 4,
      tagBytes,
      length: (_sequence, head) => head.readUInt32BE(0),
      open: (sequence, packet) => {
        const end = packet.length - tagBytes;
        const expected = macOf(macKey, mac, sequence, packet.subarray(0, end));
        checkMac(expected, packet.subarray(end));
        return decipher.update(packet.subarray(4, end));
      },
    };
  }
  let first: Buffer = Buffer.alloc(0);
  return {
    blockBytes: AES_BLOCK_BYTES,
    lengthIsEncrypted: true,
    headBytes: AES_BLOCK_BYTES,
    tagBytes,
    length: (_sequence, head) => {
      first = decipher.update(head.subarray(0, AES_BLOCK_BYTES));
      return first.readUInt32BE(0);
    },
    open: (sequence, packet) => {
      const end = packet.length - tagBytes;
      const rest = decipher.update(packet.subarray(AES_BLOCK_BYTES, end));
      checkMac(macOf(macKey, mac, sequence, first, rest), packet.subarray(end));
      return Buffer.concat([first.subarray(4), rest]);
    },
  };
}

function ctrAlgorithm(cipher: CipherKind): string {
  return `aes-${cipher.keyBytes * 8}-ctr`;
}

function macOf(key: KeyObject, mac: MacKind, sequence: number, ...parts: Buffer[]): Buffer {
  const hmac = createHmac(mac.keyBytes === 64 ? "sha512" : "sha256", key);
  const counter = Buffer.allocUnsafe(4);
  counter.writeUInt32BE(sequence);
  hmac.update(counter);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

function checkMac(expected: Buffer, found: Buffer): void {
  if (!timingSafeEqual(expected, found)) throw new SshError("integrity", "a packet's MAC is wrong");
}

const CHACHA = "chacha20-poly1305@openssh.com";
const ETM = "-etm@openssh.com";
const AES_BLOCK_BYTES = 16;
const GCM_TAG_BYTES = 16;
const GCM_OPTIONS = { authTagLength: GCM_TAG_BYTES };
