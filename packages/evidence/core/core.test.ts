import assert from "node:assert/strict";
import { generateKeyPairSync, hash, sign } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { toBase64 } from "./base64.ts";
import { formatCheckpoint, parseCheckpoint } from "./checkpoint.ts";
import { decodeLeaf, encodeLeaf, LEAF_EVENTS, type Leaf, LeafError } from "./leaf.ts";
import { createTreeBuilder, EMPTY_EDGE, edgeRoot, equalBytes, leafHash, rootOf } from "./merkle.ts";
import {
  COSIGNATURE_V1,
  ED25519,
  formatKey,
  keyId,
  NoteError,
  parseKey,
  signatureLine,
  verifyNote,
} from "./note.ts";
import { consistencyProof, inclusionProof, verifyConsistency, verifyInclusion } from "./proof.ts";
import { sha256 } from "./sha256.ts";
import { decodeBundle, encodeBundle, parseTilePath, tilePath } from "./tile.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

test("SHA-256 is Node's, for every length around the block's edges and at random", () => {
  for (let length = 0; length < 300; length++) {
    const bytes = Buffer.alloc(length, length);
    assert.deepEqual(Buffer.from(sha256(bytes)), hash("sha256", bytes, "buffer"));
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) =>
      equalBytes(sha256(bytes), hash("sha256", bytes, "buffer")),
    ),
  );
});

test("roots, inclusion and consistency proofs agree with the definition, and nothing else verifies", () => {
  const hashes = Array.from({ length: 40 }, (_, at) => leafHash(sha256, Uint8Array.of(at)));
  const subtree = (start: number, end: number): Uint8Array =>
    rootOf(sha256, hashes.slice(start, end));
  for (let size = 1; size <= hashes.length; size++) {
    const root = subtree(0, size);
    const builder = createTreeBuilder(sha256, EMPTY_EDGE, () => undefined);
    for (const one of hashes.slice(0, size)) builder.push(one);
    assert.deepEqual(builder.root(), root);
    for (let index = 0; index < size; index++) {
      const proof = inclusionProof(subtree, index, size);
      const holds = (at: number, of: number, path = proof): boolean =>
        verifyInclusion(sha256, hashes[index]!, at, of, root, path);
      assert.ok(holds(index, size));
      assert.ok(!holds((index + 1) % (size + 1), size));
      assert.ok(!holds(index, size, [...proof, root]));
      assert.ok(proof.length === 0 || !holds(index, size, proof.slice(1)));
    }
    for (let first = 0; first <= size; first++) {
      const older = subtree(0, first);
      const proof = consistencyProof(subtree, first, size);
      assert.ok(verifyConsistency(sha256, first, older, size, root, proof));
      assert.ok(!verifyConsistency(sha256, first, sha256(older), size, root, proof));
      assert.ok(!verifyConsistency(sha256, first, older, size, root, [...proof, root]));
      if (first < size && first > 0) {
        assert.ok(!verifyConsistency(sha256, first, older, size, sha256(root), proof));
      }
    }
  }
});

test("a builder goes on from its edge across tiles", () => {
  const hashes = Array.from({ length: 70_000 }, (_, at) =>
    hash("sha256", Buffer.from(`${at}`), "buffer"),
  );
  const fast = (bytes: Uint8Array): Uint8Array => hash("sha256", bytes, "buffer");
  let builder = createTreeBuilder(fast, EMPTY_EDGE, () => undefined);
  hashes.forEach((one, at) => {
    if (at % 9973 === 0) builder = createTreeBuilder(fast, builder.edge(), () => undefined);
    builder.push(one);
  });
  assert.deepEqual(builder.root(), rootOf(fast, hashes));
  assert.deepEqual(edgeRoot(fast, builder.edge()), builder.root());
  assert.deepEqual(
    builder.edge().levels.map((row) => row.length),
    [112, 17, 1],
  );
});

test("tile paths are those of the specification, and only those are read", () => {
  assert.equal(tilePath({ level: 0, index: 1234067, width: 256 }), "tile/0/x001/x234/067");
  assert.equal(tilePath({ level: "entries", index: 5, width: 7 }), "tile/entries/005.p/7");
  fc.assert(
    fc.property(
      fc.nat(),
      fc.integer({ min: 1, max: 256 }),
      fc.integer({ min: 0, max: 63 }),
      (index, width, level) => {
        assert.deepEqual(parseTilePath(tilePath({ level, index, width })), { level, index, width });
      },
    ),
  );
  for (const path of [
    "tile/0/1",
    "tile/00/001",
    "tile/0/001.p/0",
    "tile/0/001.p/256",
    "tile/0/001.p/01",
    "tile/64/001",
    "tile/0/x000/001",
    "tile/0/../001",
    "checkpoint",
  ]) {
    assert.equal(parseTilePath(path), undefined, path);
  }
});

test("bundles come back, and cut ones tell where", () => {
  const entries = ["", "a", "x".repeat(65_535)].map(encode);
  const bytes = encodeBundle(entries);
  assert.deepEqual(decodeBundle(bytes, 3), {
    entries,
    problem: undefined,
    rest: new Uint8Array(0),
  });
  assert.throws(() => encodeBundle([new Uint8Array(65_536)]), /65536/);
  for (const [cut, width, problem] of [
    [bytes.length - 1, 3, "runs past"],
    [bytes.length, 4, "ends before"],
    [bytes.length, 2, "follow the last"],
    [3, 2, "cut off"],
  ] as const) {
    assert.match(decodeBundle(bytes.subarray(0, cut), width).problem ?? "", new RegExp(problem));
  }
});

function signerOf(
  name: string,
  type: number,
): { vkey: string; line: (text: string, seconds?: number) => string } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  return {
    vkey: formatKey(name, type, raw),
    line(text, seconds) {
      const stamp = Buffer.alloc(8);
      stamp.writeBigUInt64BE(BigInt(seconds ?? 0));
      const message = seconds === undefined ? text : `cosignature/v1\ntime ${seconds}\n${text}`;
      const signature = sign(null, Buffer.from(message), privateKey);
      return signatureLine(
        name,
        keyId(name, type, raw),
        seconds === undefined ? signature : Buffer.concat([stamp, signature]),
      );
    },
  };
}

test("the specification's own note and keys are read", () => {
  const key = parseKey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
  assert.equal(key.name, "PeterNeumann");
  for (const bad of [
    "",
    "a+b",
    "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T=",
  ]) {
    assert.throws(() => parseKey(bad), /key/);
  }
});

test("the note of the specification verifies", async () => {
  const note =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
  const key = parseKey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
  assert.match(await verifyNote(encode(note), [key]), /^If you think/);
  const bytes = encode(note);
  for (let at = 0; at < bytes.length; at++) {
    const altered = bytes.slice();
    altered[at]! ^= 1;
    await assert.rejects(verifyNote(altered, [key]), NoteError, `byte ${at}`);
  }
});

test("every key asked for must have signed, cosignatures too", async () => {
  const log = signerOf("log.example", ED25519);
  const witness = signerOf("witness.example", COSIGNATURE_V1);
  const text = formatCheckpoint({ origin: "log.example", size: 7, root: sha256(encode("x")) });
  const keys = [log.vkey, witness.vkey].map(parseKey);
  const note = (...lines: string[]): Uint8Array => encode(`${text}\n${lines.join("")}`);
  assert.equal(
    await verifyNote(note(log.line(text), witness.line(text, 1_700_000_000)), keys),
    text,
  );
  await assert.rejects(verifyNote(note(log.line(text)), keys), /not signed by witness/);
  await assert.rejects(
    verifyNote(note(log.line(text), witness.line(text)), keys),
    /does not verify/,
  );
  await assert.rejects(
    verifyNote(note(log.line(text), log.line(text)), keys.slice(0, 1)),
    /more than once/,
  );
  await assert.rejects(verifyNote(note(log.line(text)), []), /no key/);
});

test("checkpoints come back, and other spellings are refused", () => {
  const checkpoint = { origin: "log.example", size: 20852163, root: sha256(encode("root")) };
  assert.deepEqual(parseCheckpoint(formatCheckpoint(checkpoint)), checkpoint);
  const root = toBase64(checkpoint.root);
  for (const text of [
    `\n1\n${root}\n`,
    `a\n01\n${root}\n`,
    `a\n-1\n${root}\n`,
    `a\n1\n${root}`,
    `a\n1\n${root}\nextension\n`,
    `a\n1\n${root.slice(1)}\n`,
    `a\n99999999999999999999\n${root}\n`,
  ]) {
    assert.throws(() => parseCheckpoint(text), /checkpoint|size|root/, JSON.stringify(text));
  }
});

test("leaves come back from the bytes they are written as, whatever is in them", () => {
  const text = fc.string({ unit: "binary", maxLength: 20 });
  const hop = fc.record({
    d: text,
    s: text,
    k: fc.constantFrom("user" as const, "agent" as const),
    p: fc.constantFrom("bearer" as const, "attested" as const),
  });
  const leaf = fc.record(
    {
      v: fc.constant(1 as const),
      event: fc.constantFrom(...LEAF_EVENTS),
      at: fc.nat(),
      worker: fc.nat(9),
      seq: fc.integer({ min: 1, max: 1e9 }),
      session: text,
      request: text,
      target: text,
      chain: fc.array(hop, { minLength: 1, maxLength: 4 }),
      effects: fc.array(text),
      decision: fc.constantFrom("permit" as const, "hold" as const),
      policies: fc.array(text),
      outcome: text,
      rows: fc.nat(),
      // Of names the gateway gives; none needs an escape, which V8 may misread (nodejs/node#63785).
      detail: fc.dictionary(
        fc.stringMatching(/^[a-zA-Z_]{1,12}$/),
        fc.oneof(text, fc.boolean(), fc.integer(), fc.array(text)),
      ),
    },
    { requiredKeys: ["v", "event", "at", "worker", "seq"], noNullPrototype: true },
  );
  fc.assert(
    fc.property(leaf, (value) => {
      const bytes = encodeLeaf(value as Leaf);
      assert.deepEqual(encodeLeaf(decodeLeaf(bytes)), bytes);
    }),
  );
});

test("vectors of leaves", () => {
  const directory = new URL("../../../vectors/evidence/leaf/", import.meta.url);
  for (const name of readdirSync(new URL("valid/", directory))) {
    const bytes = readFileSync(new URL(`valid/${name}`, directory));
    assert.deepEqual(Buffer.from(encodeLeaf(decodeLeaf(bytes))), bytes, name);
  }
  for (const name of readdirSync(new URL("invalid/", directory))) {
    const bytes = readFileSync(new URL(`invalid/${name}`, directory));
    assert.throws(() => decodeLeaf(bytes), LeafError, name);
  }
});
