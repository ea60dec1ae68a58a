// Poly1305 (RFC 8439 section 2.5), which node:crypto has only inside its own AEAD, whose tag is over
// other bytes than OpenSSH's. Six limbs of 22 bits in doubles: a product of limbs, times 20 for the part
// above 2^130, six of them summed, stays below 2^53, so every step is exact.

/** The 16 byte tag of the message made of the parts, in order; `key` is 32 bytes, used once. */
export function poly1305(key: Buffer, parts: readonly Buffer[]): Buffer {
  const state = initialState(key);
  const partial = Buffer.alloc(BLOCK_BYTES);
  let partialBytes = 0;
  for (const part of parts) {
    let at = 0;
    if (partialBytes > 0) {
      at = Math.min(BLOCK_BYTES - partialBytes, part.length);
      part.copy(partial, partialBytes, 0, at);
      partialBytes += at;
      if (partialBytes < BLOCK_BYTES) continue;
      addBlocks(state, partial, 0, BLOCK_BYTES, FULL_BLOCK);
      partialBytes = 0;
    }
    const blocksEnd = part.length - ((part.length - at) % BLOCK_BYTES);
    addBlocks(state, part, at, blocksEnd, FULL_BLOCK);
    partialBytes = part.copy(partial, 0, blocksEnd);
  }
  if (partialBytes > 0) {
    partial.fill(0, partialBytes);
    partial[partialBytes] = 1;
    addBlocks(state, partial, 0, BLOCK_BYTES, 0);
  }
  return finalTag(state, key);
}

interface State {
  readonly r: Float64Array;
  readonly h: Float64Array;
}

function initialState(key: Buffer): State {
  // Section 2.5: r is clamped.
  const word0 = key.readInt32LE(0) & 0x0fffffff;
  const word1 = key.readInt32LE(4) & 0x0ffffffc;
  const word2 = key.readInt32LE(8) & 0x0ffffffc;
  const word3 = key.readInt32LE(12) & 0x0ffffffc;
  const r = Float64Array.of(
    word0 & LIMB,
    ((word0 >>> 22) | (word1 << 10)) & LIMB,
    ((word1 >>> 12) | (word2 << 20)) & LIMB,
    (word2 >>> 2) & LIMB,
    ((word2 >>> 24) | (word3 << 8)) & LIMB,
    word3 >>> 14,
  );
  return { r, h: new Float64Array(6) };
}

/** h = (h + block) · r, carried, for every block of bytes[at,end); written out, for speed. */
function addBlocks(state: State, bytes: Buffer, from: number, end: number, high: number): void {
  const { r, h } = state;
  const [r0, r1, r2, r3, r4, r5] = [r[0]!, r[1]!, r[2]!, r[3]!, r[4]!, r[5]!];
  const [s1, s2, s3, s4, s5] = [20 * r1, 20 * r2, 20 * r3, 20 * r4, 20 * r5];
  let [h0, h1, h2, h3, h4, h5] = [h[0]!, h[1]!, h[2]!, h[3]!, h[4]!, h[5]!];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = from; at < end; at += BLOCK_BYTES) {
    const word0 = view.getInt32(at, true);
    const word1 = view.getInt32(at + 4, true);
    const word2 = view.getInt32(at + 8, true);
    const word3 = view.getInt32(at + 12, true);
    h0 += word0 & LIMB;
    h1 += ((word0 >>> 22) | (word1 << 10)) & LIMB;
    h2 += ((word1 >>> 12) | (word2 << 20)) & LIMB;
    h3 += (word2 >>> 2) & LIMB;
    h4 += ((word2 >>> 24) | (word3 << 8)) & LIMB;
    h5 += (word3 >>> 14) + high;
    let d0 = h0 * r0 + h1 * s5 + h2 * s4 + h3 * s3 + h4 * s2 + h5 * s1;
    let d1 = h0 * r1 + h1 * r0 + h2 * s5 + h3 * s4 + h4 * s3 + h5 * s2;
    let d2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * s5 + h4 * s4 + h5 * s3;
    let d3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * s5 + h5 * s4;
    let d4 = h0 * r4 + h1 * r3 + h2 * r2 + h3 * r1 + h4 * r0 + h5 * s5;
    let d5 = h0 * r5 + h1 * r4 + h2 * r3 + h3 * r2 + h4 * r1 + h5 * r0;
    let carry = Math.floor(d0 * INVERSE_RADIX);
    h0 = d0 - carry * RADIX;
    d1 += carry;
    carry = Math.floor(d1 * INVERSE_RADIX);
    h1 = d1 - carry * RADIX;
    d2 += carry;
    carry = Math.floor(d2 * INVERSE_RADIX);
    h2 = d2 - carry * RADIX;
    d3 += carry;
    carry = Math.floor(d3 * INVERSE_RADIX);
    h3 = d3 - carry * RADIX;
    d4 += carry;
    carry = Math.floor(d4 * INVERSE_RADIX);
    h4 = d4 - carry * RADIX;
    d5 += carry;
    // 2^132 is 20 modulo 2^130 − 5.
    carry = Math.floor(d5 * INVERSE_RADIX);
    h5 = d5 - carry * RADIX;
    d0 = h0 + carry * 20;
    carry = Math.floor(d0 * INVERSE_RADIX);
    h0 = d0 - carry * RADIX;
    h1 += carry;
  }
  h.set([h0, h1, h2, h3, h4, h5]);
}

function finalTag(state: State, key: Buffer): Buffer {
  let sum = 0n;
  for (let index = 5; index >= 0; index--) sum = (sum << 22n) + BigInt(state.h[index]!);
  sum %= PRIME;
  sum += key.readBigUInt64LE(16) + (key.readBigUInt64LE(24) << 64n);
  const tag = Buffer.allocUnsafe(BLOCK_BYTES);
  tag.writeBigUInt64LE(sum & WORD, 0);
  tag.writeBigUInt64LE((sum >> 64n) & WORD, 8);
  return tag;
}

const BLOCK_BYTES = 16;
const LIMB = 0x3fffff;
const RADIX = 2 ** 22;
const INVERSE_RADIX = 2 ** -22;
/** 2^128, in the sixth limb. */
const FULL_BLOCK = 2 ** 18;
const PRIME = 2n ** 130n - 5n;
const WORD = 2n ** 64n - 1n;
