import assert from "node:assert/strict";
import { test } from "node:test";
import {
  createTreeBuilder,
  type Edge,
  EMPTY_EDGE,
  leafHash,
} from "@custody/evidence/core/merkle.ts";
import { encodeBundle, tileBytes, tilePath } from "@custody/evidence/core/tile.ts";
import { nodeSha256 } from "@custody/evidence/node/node-sha256.ts";
import { createLogTree } from "./log-tree.ts";

function entry(number: number): Buffer {
  return Buffer.alloc((number * 37) % 700, `entry ${number} `);
}

/** Both ways at once: every tile, bundle and root has to be the same. */
function compare(
  from: Edge,
  first: Buffer[],
  entries: readonly Buffer[],
  partialsEvery: number,
): Edge {
  const expected = new Map<string, Uint8Array>();
  const given = new Map<string, Uint8Array>();
  let bundle: Uint8Array[] = [...first];
  const builder = createTreeBuilder(nodeSha256, from, (level, index, hashes) => {
    expected.set(tilePath({ level, index, width: 256 }), tileBytes(hashes));
  });
  const tree = createLogTree(from, first, (level, index, bytes) => {
    given.set(tilePath({ level, index, width: 256 }), Buffer.from(bytes));
  });
  let before = tree.size;
  entries.forEach((bytes, at) => {
    // Somewhere in a larger buffer, as the journal gives it.
    const around = Buffer.concat([Buffer.from("before"), bytes, Buffer.from("after")]);
    tree.push(around, 6, 6 + bytes.length);
    bundle.push(bytes);
    builder.push(leafHash(nodeSha256, bytes));
    if (bundle.length === 256) {
      const name = tilePath({ level: "entries", index: builder.size / 256 - 1, width: 256 });
      expected.set(name, encodeBundle(bundle));
      bundle = [];
    }
    if (at % partialsEvery !== 0) return;
    tree.partials(before, (level, index, partial, width) => {
      given.set(tilePath({ level, index, width }), Buffer.from(partial));
    });
    const grown = (level: number): boolean =>
      Math.floor(before / 256 ** level) !== Math.floor(tree.size / 256 ** level);
    builder.edge().levels.forEach((row, level) => {
      const index = Math.floor(builder.size / 256 ** (level + 1));
      if (row.length === 0 || !grown(level)) return;
      const name = tilePath({ level, index, width: row.length });
      expected.set(name, tileBytes(row));
      if (level === 0) {
        const entriesName = tilePath({ level: "entries", index, width: row.length });
        expected.set(entriesName, encodeBundle(bundle));
      }
    });
    before = tree.size;
    assert.deepEqual(Buffer.from(tree.root()), Buffer.from(builder.root()));
  });
  assert.equal(tree.size, builder.size);
  assert.deepEqual([...given.keys()].sort(), [...expected.keys()].sort());
  for (const [name, bytes] of given) {
    assert.ok(Buffer.from(bytes).equals(Buffer.from(expected.get(name)!)), name);
  }
  return builder.edge();
}

test("the tree in flat buffers is the tree that is verified: tiles, bundles, partial ones, roots", () => {
  const entries = Array.from({ length: 600 }, (_, at) => entry(at));
  const edge = compare(EMPTY_EDGE, [], entries, 1);
  // As after a restart: from the edge, with the entries of the bundle that is not full.
  compare(edge, entries.slice(512), entries.slice(0, 600), 7);
});

test("three levels of tiles, and every root on the way that is asked for", () => {
  const entries = Array.from({ length: 66_000 }, (_, at) => Buffer.from([at >> 16, at >> 8, at]));
  const edge = compare(EMPTY_EDGE, [], entries, 4099);
  assert.equal(edge.levels.length, 3);
});

test("the largest entries there can be fit a bundle", () => {
  const entries = Array.from({ length: 300 }, (_, at) => Buffer.alloc(65_535, at));
  compare(EMPTY_EDGE, [], entries, 50);
});

test("an empty tree has the root of nothing", () => {
  const tree = createLogTree(EMPTY_EDGE, [], () => undefined);
  assert.deepEqual(Buffer.from(tree.root()), nodeSha256(Buffer.alloc(0)));
});
