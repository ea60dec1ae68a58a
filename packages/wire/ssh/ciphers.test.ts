// What node:crypto does not have is held against what it has; queues against plain concatenation.

import assert from "node:assert/strict";
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import test from "node:test";
import fc from "fast-check";
import { ByteQueue } from "./byte-queue.ts";
import { CIPHERS, createSealer } from "./ciphers.ts";
import { OutputQueue } from "./output-queue.ts";
import { poly1305 } from "./poly1305.ts";

test("Poly1305 of RFC 8439 section 2.5.2 and of appendix A.3", () => {
  const vectors: readonly (readonly [key: string, message: string, tag: string])[] = [
    [
      "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
      Buffer.from("Cryptographic Forum Research Group").toString("hex"),
      "a8061dc1305136c6c22b8baf0c0127a9",
    ],
    ["00".repeat(32), "00".repeat(64), "00".repeat(16)],
    // The rest tests carries and the reduction: numbers 7 to 11.
    ["02".padEnd(64, "0"), "ff".repeat(16), "03".padEnd(32, "0")],
    [`02${"00".repeat(15)}${"ff".repeat(16)}`, "02".padEnd(32, "0"), "03".padEnd(32, "0")],
    [
      "01".padEnd(64, "0"),
      `${"ff".repeat(16)}f0${"ff".repeat(15)}11${"00".repeat(15)}`,
      "05".padEnd(32, "0"),
    ],
    [
      "01".padEnd(64, "0"),
      `${"ff".repeat(16)}fb${"fe".repeat(15)}${"01".repeat(16)}`,
      "00".repeat(16),
    ],
    ["02".padEnd(64, "0"), `fd${"ff".repeat(15)}`, `fa${"ff".repeat(15)}`],
  ];
  for (const [key, message, tag] of vectors) {
    const found = poly1305(Buffer.from(key, "hex"), [Buffer.from(message, "hex")]);
    assert.equal(found.toString("hex"), tag);
  }
});

test("Poly1305 is the one inside OpenSSL's ChaCha20-Poly1305, for random and extreme messages", () => {
  const parts = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 70 }),
      fc.integer({ min: 0, max: 70 }).map((size) => new Uint8Array(size).fill(0xff)),
    ),
    { maxLength: 5 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), parts, (key, pieces) => {
      const text = Buffer.concat(pieces);
      // RFC 8439 section 2.8: the key is the first block; the text is padded and its lengths follow.
      const nonce = Buffer.alloc(12);
      const aead = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
      aead.setAAD(text, { plaintextLength: 0 });
      aead.final();
      const block = createCipheriv("chacha20", key, Buffer.alloc(16)).update(Buffer.alloc(32));
      const lengths = Buffer.alloc(16);
      lengths.writeUInt32LE(text.length, 0);
      const padding = Buffer.alloc((16 - (text.length % 16)) % 16);
      const ours = poly1305(block, [...pieces.map((one) => Buffer.from(one)), padding, lengths]);
      assert.deepEqual(ours, aead.getAuthTag());
    }),
    { numRuns: 500 },
  );
});

test("the nonce of AES-GCM counts over all its eight bytes, and round (RFC 5647 section 7.1)", () => {
  const gcm = CIPHERS.find((one) => one.name === "aes128-gcm@openssh.com")!;
  const key = randomBytes(16);
  for (const [first, second] of [
    ["0000000000000001ffffffff", "000000000000000200000000"],
    ["00000000ffffffffffffffff", "000000000000000000000000"],
    ["00000007000000000000000f", "000000070000000000000010"],
  ] as const) {
    const keys = { cipher: gcm, mac: undefined, key, iv: Buffer.from(first, "hex"), macKey: key };
    const output = new OutputQueue();
    const sealer = createSealer(keys);
    const packet = Buffer.concat([Buffer.from("00000010", "hex"), randomBytes(16)]);
    sealer.seal(0, packet, output);
    output.take();
    sealer.seal(1, packet, output);
    const sealed = Buffer.concat(output.take());
    const decipher = createDecipheriv("aes-128-gcm", key, Buffer.from(second, "hex"));
    decipher.setAAD(sealed.subarray(0, 4));
    decipher.setAuthTag(sealed.subarray(-16));
    const plain = Buffer.concat([decipher.update(sealed.subarray(4, -16)), decipher.final()]);
    assert.deepEqual(plain, packet.subarray(4));
  }
});

test("a byte queue gives what was put in, however it was cut", () => {
  const chunks = fc.array(fc.integer({ min: 0, max: 9000 }), { maxLength: 12 });
  const takes = fc.array(
    fc.record({ peek: fc.integer({ min: 0, max: 9000 }), take: fc.integer({ min: 0, max: 9000 }) }),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(chunks, takes, fc.integer({ min: 0, max: 12 }), (sizes, wanted, early) => {
      const queue = new ByteQueue();
      const all = sizes.map((size) => randomBytes(size));
      const expected = Buffer.concat(all);
      let at = 0;
      const push = (some: readonly Buffer[]): void => {
        for (const chunk of some) queue.push(Buffer.from(chunk));
      };
      push(all.slice(0, early));
      for (const { peek, take } of wanted) {
        const view = queue.peek(peek);
        if (view !== undefined) assert.deepEqual(view, expected.subarray(at, at + peek));
        const taken = queue.take(take);
        if (taken === undefined) continue;
        assert.deepEqual(taken, expected.subarray(at, at + take));
        at += take;
      }
      push(all.slice(early));
      assert.equal(queue.bytes, expected.length - at);
      const rest = queue.take(queue.bytes);
      assert.deepEqual(rest, expected.subarray(at));
      assert.equal(queue.bytes, 0);
    }),
    { numRuns: 300 },
  );
});

test("an output queue keeps the order, counts, and never changes what it gave out", () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 6000 }), { maxLength: 40 });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 10 }), (all, every) => {
      const queue = new OutputQueue();
      const pushed: Buffer[] = [];
      const given: { readonly piece: Buffer; readonly copy: Buffer }[] = [];
      const take = (): void => {
        const bytes = queue.bytes;
        const pieces = queue.take();
        assert.equal(Buffer.concat(pieces).length, bytes);
        given.push(...pieces.map((piece) => ({ piece, copy: Buffer.from(piece) })));
      };
      for (const [index, size] of all.entries()) {
        const bytes = randomBytes(size);
        pushed.push(bytes);
        queue.push(bytes);
        if (index % every === 0) take();
      }
      take();
      assert.deepEqual(Buffer.concat(given.map(({ piece }) => piece)), Buffer.concat(pushed));
      for (const { piece, copy } of given) assert.deepEqual(piece, copy);
    }),
  );
});
