import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { formatCheckpoint } from "../core/checkpoint.ts";
import { encodeLeaf, type Leaf } from "../core/leaf.ts";
import { createTreeBuilder, EMPTY_EDGE, leafHash, TILE_WIDTH } from "../core/merkle.ts";
import { ED25519, formatKey, keyId, parseKey, signatureLine } from "../core/note.ts";
import { encodeBundle, tileBytes, tilePath } from "../core/tile.ts";
import { formatTlogProof, parseTlogProof, verifyTlogProof } from "../core/tlog-proof.ts";
import { readShards } from "./log-shards.ts";
import { nodeSha256 } from "./node-sha256.ts";
import { logRecords, proveRecord } from "./prove.ts";
import { type LogReport, verifyLog } from "./verify.ts";

const origin = "log.example/test";
const root = mkdtempSync(join(tmpdir(), "custody-verify-"));
after(() => rmSync(root, { recursive: true, force: true }));

interface Signer {
  readonly vkey: string;
  line(text: string): string;
}

function signer(name: string): Signer {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const raw = rawKey(publicKey);
  return {
    vkey: formatKey(name, ED25519, raw),
    line: (text) =>
      signatureLine(name, keyId(name, ED25519, raw), sign(null, Buffer.from(text), privateKey)),
  };
}

function rawKey(key: KeyObject): Uint8Array {
  return Buffer.from(key.export({ format: "jwk" }).x ?? "", "base64url");
}

const key = signer(origin);

/** Leaves that keep the rules: a session of commands. */
function leaves(count: number): Leaf[] {
  const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
  const session = "s-1";
  return Array.from({ length: count }, (_, at): Leaf => {
    const place = { v: 1, at: 1000 + at, worker: 0, seq: at + 1 } as const;
    if (at === 0) return { ...place, event: "gateway.started" };
    if (at === 1) return { ...place, event: "session.opened", session, chain };
    const request = `r-${String(at - (at % 2)).padStart(4, "0")}`;
    const about = { ...place, session, request, chain };
    return at % 2 === 0
      ? { ...about, event: "command.intent", decision: "permit", command: "x" }
      : { ...about, event: "command.outcome", outcome: "ok" };
  });
}

function writeLog(
  name: string,
  entries: readonly Uint8Array[],
  signers: readonly Signer[] = [key],
): string {
  const directory = join(root, name);
  const write = (path: string, bytes: Uint8Array | string): void => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), bytes);
  };
  const builder = createTreeBuilder(nodeSha256, EMPTY_EDGE, (level, index, hashes) => {
    write(tilePath({ level, index, width: TILE_WIDTH }), tileBytes(hashes));
  });
  for (const entry of entries) builder.push(leafHash(nodeSha256, entry));
  for (let at = 0; at < entries.length; at += TILE_WIDTH) {
    const part = entries.slice(at, at + TILE_WIDTH);
    write(
      tilePath({ level: "entries", index: at / TILE_WIDTH, width: part.length }),
      encodeBundle(part),
    );
  }
  const { size, levels } = builder.edge();
  levels.forEach((hashes, level) => {
    if (hashes.length === 0) return;
    const index = Math.floor(size / TILE_WIDTH ** (level + 1));
    write(tilePath({ level, index, width: hashes.length }), tileBytes(hashes));
  });
  const text = formatCheckpoint({ origin, size, root: builder.root() });
  write("checkpoint", `${text}\n${signers.map((one) => one.line(text)).join("")}`);
  return directory;
}

function filesOf(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

const verify = (directory: string, keys = [key.vkey]): Promise<LogReport> =>
  verifyLog(directory, { keys });
const messages = (report: LogReport): string[] => report.problems.map((problem) => problem.message);

test("logs of sizes around the edges of tiles verify", async () => {
  for (const size of [1, 2, 255, 256, 257, 512, 600]) {
    const report = await verify(writeLog(`size-${size}`, leaves(size).map(encodeLeaf)));
    assert.deepEqual(report.problems, []);
    assert.equal(report.size, size);
    assert.ok(report.ok);
  }
});

test("every changed byte of a small log is found, and the record it is in is named", async () => {
  const entries = leaves(6).map(encodeLeaf);
  const directory = writeLog("flips", entries);
  // The record each byte of the bundle belongs to: two bytes of length, then the entry.
  const owners = entries.flatMap((entry, at) => Array<number>(entry.length + 2).fill(at));
  for (const path of filesOf(directory)) {
    const intact = readFileSync(path);
    for (let at = 0; at < intact.length; at++) {
      const altered = Buffer.from(intact);
      altered[at]! ^= at % 2 === 0 ? 0x01 : 0x80;
      writeFileSync(path, altered);
      const report = await verify(directory);
      assert.ok(!report.ok, `${path}, byte ${at}`);
      const text = messages(report).join("\n");
      const owner = path.includes("entries") ? owners[at] : Math.floor(at / 32);
      if (path.endsWith("checkpoint")) assert.match(text, /^checkpoint: /);
      else assert.match(text, new RegExp(`^record ${owner} \\(`), `${path}, byte ${at}: ${text}`);
    }
    writeFileSync(path, intact);
  }
  assert.ok((await verify(directory)).ok);
});

test("a changed record of a large log is named alone", async () => {
  const directory = writeLog("large", leaves(600).map(encodeLeaf));
  for (const [file, record] of [
    ["tile/entries/000", 17],
    ["tile/entries/001", 300],
    ["tile/entries/002.p/88", 590],
  ] as const) {
    const path = join(directory, file);
    const intact = readFileSync(path);
    const altered = Buffer.from(intact);
    altered[altered.indexOf(`"seq":${record + 1}`) - 12]! ^= 0x01;
    writeFileSync(path, altered);
    const [message, ...more] = messages(await verify(directory));
    assert.match(
      message ?? "",
      new RegExp(`^record ${record} \\(command\\.\\w+ r-0\\d+\\): it was altered`),
    );
    assert.deepEqual(more, []);
    writeFileSync(path, intact);
  }
});

test("cut, extended, missing and exchanged files are found", async () => {
  const source = writeLog("files", leaves(600).map(encodeLeaf));
  for (const path of filesOf(source).map((file) => file.slice(source.length + 1))) {
    const changes: Record<string, (file: string) => void> = {
      cut: (file) => writeFileSync(file, readFileSync(file).subarray(0, -1)),
      extended: (file) => writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.of(0x41)])),
      emptied: (file) => writeFileSync(file, ""),
      missing: (file) => rmSync(file),
    };
    for (const [name, change] of Object.entries(changes)) {
      const copy = join(root, "copy");
      cpSync(source, copy, { recursive: true });
      change(join(copy, path));
      const report = await verify(copy);
      assert.ok(!report.ok, `${path} ${name}`);
      if (path.includes("entries") && (name === "cut" || name === "extended")) {
        assert.notEqual(report.problems[0]?.index, undefined, `${path} ${name}`);
      }
      rmSync(copy, { recursive: true });
    }
  }
  writeFileSync(join(source, "other"), "x");
  assert.deepEqual(messages(await verify(source)), ["other: does not belong to a log"]);
});

test("a tree rebuilt over an altered record does not verify without the key", async () => {
  const list = leaves(20);
  const directory = writeLog("true", list.map(encodeLeaf));
  list[5] = { ...list[5]!, outcome: "changed" };
  const forged = writeLog("forged", list.map(encodeLeaf), [signer(origin)]);
  assert.match(messages(await verify(forged)).join(), /not signed by/);
  cpSync(join(directory, "checkpoint"), join(forged, "checkpoint"));
  assert.match(messages(await verify(forged)).join(), /its root is not the root/);
});

test("all keys asked for must have signed", async () => {
  const witness = signer("witness.example");
  const entries = leaves(3).map(encodeLeaf);
  const both = writeLog("both", entries, [key, witness]);
  assert.ok((await verify(both, [key.vkey, witness.vkey])).ok);
  const one = writeLog("one", entries, [key]);
  assert.match(
    messages(await verify(one, [key.vkey, witness.vkey])).join(),
    /not signed by witness/,
  );
  assert.match(messages(await verify(both, [witness.vkey])).join(), /is of another log/);
  await assert.rejects(verify(one, []), /no key/);
  await assert.rejects(verify(one, [`${key.vkey}x`]), /verifier key|key/);
});

test("a cosigned head that is of another tree, larger, or not the log's own is found", async () => {
  const entries = leaves(300).map(encodeLeaf);
  const whole = writeLog("cosigned", entries);
  const headOf = (name: string, count: number, by = key) => {
    const other = entries.slice(0, count - 1).concat(encodeLeaf(leaves(400)[count]!));
    const of = name === "true" ? entries.slice(0, count) : other;
    return readFileSync(join(writeLog(`cosigned-${name}-${count}`, of, [by]), "checkpoint"));
  };
  const found = async (head: Buffer) => {
    writeFileSync(join(whole, "cosigned"), head);
    return messages(await verify(whole)).join();
  };
  assert.equal(await found(headOf("true", 7)), "");
  assert.equal(await found(headOf("true", 300)), "");
  assert.match(await found(headOf("other", 7)), /what witnesses have seen is not this log/);
  assert.match(await found(headOf("other", 350)), /what witnesses have seen is not this log/);
  assert.match(await found(headOf("forged", 7, signer(origin))), /cosigned: not signed by/);
});

test("a proof made from the folder holds for its record, and for no other and no other place", async () => {
  const entries = leaves(700).map(encodeLeaf);
  const directory = writeLog("proved", entries);
  const policy = { log: [parseKey(key.vkey)], witnesses: [], quorum: 0 };
  const [shard] = readShards(directory);
  assert.ok(shard);
  for (const index of [0, 1, 255, 256, 511, 512, 699]) {
    const text = formatTlogProof(proveRecord({ shard, index, entry: entries[index]! }));
    const proof = parseTlogProof(text);
    assert.equal((await verifyTlogProof(proof, entries[index]!, policy)).size, 700);
    await assert.rejects(verifyTlogProof(proof, entries[index ^ 1]!, policy), /is not record/);
    const moved = { ...proof, index: index ^ 1 };
    await assert.rejects(verifyTlogProof(moved, entries[index]!, policy), /is not record/);
    const cut = { ...proof, path: proof.path.slice(1) };
    await assert.rejects(verifyTlogProof(cut, entries[index]!, policy), /is not record/);
    const witnesses = [parseKey(signer("witness.example").vkey)];
    const asked = { ...policy, witnesses, quorum: 1 };
    await assert.rejects(verifyTlogProof(proof, entries[index]!, asked), /0 witnesses/);
  }
  assert.equal([...logRecords(directory)].length, 700);
  assert.throws(() => proveRecord({ shard, index: 700, entry: entries[0]! }), /no record 700/);
});

test("records that break the rules are named", async () => {
  const cases: [string, (list: Leaf[]) => Leaf[], RegExp][] = [
    [
      "gap",
      (list) => list.filter((_, at) => at !== 4),
      /^record 4 \(command.outcome r-0004\): record 5 of worker 0 missing/,
    ],
    ["again", (list) => [...list, list[3]!], /record 4 of worker 0 comes again/],
    ["start", (list) => list.slice(1), /record 1 of worker 0 missing|does not begin/],
    [
      "chain",
      (list) =>
        list.map((leaf, at) =>
          at === 6 ? { ...leaf, chain: [{ ...leaf.chain![0]!, s: "corp/2" }] } : leaf,
        ),
      /^record 6 .*not its session's chain/,
    ],
    [
      "denied",
      (list) => list.map((leaf, at) => (at === 6 ? { ...leaf, decision: "deny" } : leaf)),
      /^record 6 .*decision "deny"/,
    ],
    [
      "outcome",
      (list) => [...list, { ...list[3]!, seq: list.length + 1 }],
      /request r-0002 has no open intent/,
    ],
    [
      "open",
      (list) => [...list, { ...list[0]!, seq: list.length + 1 }],
      /session s-1 was never closed/,
    ],
  ];
  for (const [name, change, expected] of cases) {
    const directory = writeLog(`rule-${name}`, change(leaves(10)).map(encodeLeaf));
    assert.match(messages(await verify(directory)).join("\n"), expected, name);
  }
  const unknown = writeLog("unknown", [...leaves(2).map(encodeLeaf), Buffer.from('{"v":2}')]);
  assert.match(
    messages(await verify(unknown)).join(),
    /^record 2 .*not a leaf this verifier knows/,
  );
});
