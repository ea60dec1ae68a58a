import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { formatCheckpoint } from "../core/checkpoint.ts";
import { createTreeBuilder, EMPTY_EDGE, leafHash, rootOf } from "../core/merkle.ts";
import {
  COSIGNATURE_ML_DSA_44,
  COSIGNATURE_V1,
  ED25519,
  parseKey,
  verifiedSigners,
} from "../core/note.ts";
import { consistencyProof } from "../core/proof.ts";
import { formatAddCheckpoint } from "../core/witness-request.ts";
import { nodeSha256 } from "./node-sha256.ts";
import { makeSigningKey, parseSigningKey } from "./signing-key.ts";
import { openWitness, type Witness } from "./witness.ts";
import { serveWitness } from "./witness-server.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const ORIGIN = "log.example/one";
const log = parseSigningKey(makeSigningKey(ORIGIN, ED25519, randomBytes));
const own = [COSIGNATURE_V1, COSIGNATURE_ML_DSA_44].map((type) =>
  parseSigningKey(makeSigningKey("witness.example/w1", type as 4 | 6, randomBytes)),
);
const leaves = Array.from({ length: 600 }, (_, at) => leafHash(nodeSha256, Buffer.from(`${at}`)));

function rootAt(size: number, rows: readonly Uint8Array[] = leaves): Uint8Array {
  const tree = createTreeBuilder(nodeSha256, EMPTY_EDGE, () => undefined);
  for (const row of rows.slice(0, size)) tree.push(row);
  return tree.root();
}

function noteAt(size: number, root = rootAt(size), by = log): string {
  const text = formatCheckpoint({ origin: by.name, size, root });
  return `${text}\n${by.line(text)}`;
}

function proofOf(first: number, second: number): Uint8Array[] {
  return consistencyProof(
    (start, end) => rootOf(nodeSha256, leaves.slice(start, end)),
    first,
    second,
  );
}

function place(): string {
  const directory = mkdtempSync(join(tmpdir(), "custody-witness-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function witnessIn(directory: string): Witness {
  const witness = openWitness({
    directory,
    keys: own,
    logs: [parseKey(log.vkey)],
    nowMs: () => 1_700_000_000_000,
  });
  cleanups.push(() => witness[Symbol.dispose]());
  return witness;
}

function ask(witness: Witness, oldSize: number, size: number, proof = proofOf(oldSize, size)) {
  return witness.add(formatAddCheckpoint({ oldSize, proof, checkpoint: noteAt(size) }));
}

test("a log that only grows is cosigned, with both kinds of key, and the state outlives the process", async () => {
  const directory = place();
  const witness = witnessIn(directory);
  for (const [old, size] of [
    [0, 3],
    [3, 3],
    [3, 256],
    [256, 599],
  ] as const) {
    const { status, body } = await ask(witness, old, size);
    assert.equal(status, 200, `${old} to ${size}: ${body}`);
    const keys = own.map(({ vkey }) => parseKey(vkey));
    const { signers } = await verifiedSigners(Buffer.from(noteAt(size) + body), keys);
    assert.deepEqual(
      signers.map(({ key, seconds }) => [key.type, seconds]),
      [
        [COSIGNATURE_V1, 1_700_000_000],
        [COSIGNATURE_ML_DSA_44, 1_700_000_000],
      ],
    );
  }
  const again = witnessIn(directory);
  assert.deepEqual(await ask(again, 0, 600), {
    status: 409,
    type: "text/x.tlog.size",
    body: "599\n",
  });
  assert.equal((await ask(again, 599, 600)).status, 200);
  const hash = createHash("sha256").update(ORIGIN).digest("hex");
  assert.ok(witness.latest(hash)?.startsWith(`${ORIGIN}\n600\n`));
});

test("what is not the log grown is never cosigned, each with the status the specification gives it", async () => {
  const witness = witnessIn(place());
  await ask(witness, 0, 300);
  const other = parseSigningKey(makeSigningKey("log.example/two", ED25519, randomBytes));
  const forger = parseSigningKey(makeSigningKey(ORIGIN, ED25519, randomBytes));
  const forked = rootAt(400, [...leaves.slice(0, 299), Buffer.alloc(32, 9), ...leaves.slice(300)]);
  const send = async (oldSize: number, checkpoint: string, proof: Uint8Array[] = []) =>
    (await witness.add(formatAddCheckpoint({ oldSize, proof, checkpoint }))).status;
  assert.equal(await send(300, noteAt(400, forked), proofOf(300, 400)), 422, "a fork");
  assert.equal(await send(300, noteAt(300, forked)), 422, "another root of the same size");
  assert.equal(await send(300, noteAt(400)), 422, "no proof");
  assert.equal(await send(300, noteAt(400), proofOf(299, 400)), 422, "another proof");
  assert.equal(await send(299, noteAt(400), proofOf(299, 400)), 409, "an older size");
  assert.equal(await send(300, noteAt(200)), 400, "a log that shrank");
  assert.equal(await send(0, noteAt(1, rootAt(1), other)), 404, "another log");
  assert.equal(
    await send(300, noteAt(400, rootAt(400), forger), proofOf(300, 400)),
    403,
    "a forger",
  );
  const damaged = noteAt(400).replace(
    /(.)(.{4})\n$/,
    (_, a, b) => `${a === "A" ? "B" : "A"}${b}\n`,
  );
  assert.equal(await send(300, damaged, proofOf(300, 400)), 403, "a damaged signature");
  assert.equal((await witness.add("old 0x1\n\nnote")).status, 400);
  assert.equal((await witness.add("old 300\n\nno note\n")).status, 400);
  const fresh = witnessIn(place());
  const withProof = formatAddCheckpoint({ oldSize: 0, proof: [leaves[0]!], checkpoint: noteAt(5) });
  assert.equal((await fresh.add(withProof)).status, 422, "a proof from nothing");
  const empty = formatAddCheckpoint({ oldSize: 0, proof: [], checkpoint: noteAt(0, leaves[0]) });
  assert.equal((await fresh.add(empty)).status, 422, "an empty tree with a root");
  assert.equal((await ask(witness, 300, 400)).status, 200, "and still the log itself");
});

test("of two at once from the same size one is cosigned, also on two processes' handles", async () => {
  const directory = place();
  const [first, second] = [witnessIn(directory), witnessIn(directory)];
  await ask(first, 0, 10);
  const answers = await Promise.all([ask(first, 10, 20), ask(second, 10, 30)]);
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409]);
});

test("over HTTP, with the monitor's checkpoint and bounded requests", async () => {
  const witness = witnessIn(place());
  const server = await serveWitness(witness, {
    host: "127.0.0.1",
    port: 0,
    onFault: (error) => assert.fail(String(error)),
  });
  cleanups.push(() => server[Symbol.asyncDispose]());
  const base = `http://127.0.0.1:${server.port}/w`;
  const post = (body: string) => fetch(`${base}/add-checkpoint`, { method: "POST", body });
  const hash = createHash("sha256").update(ORIGIN).digest("hex");
  assert.equal((await fetch(`${base}/${hash}/checkpoint`)).status, 404);
  const body = formatAddCheckpoint({ oldSize: 0, proof: [], checkpoint: noteAt(7) });
  const answer = await post(body);
  const lines = await answer.text();
  assert.equal(answer.status, 200);
  const served = await fetch(`${base}/${hash}/checkpoint`);
  assert.equal(await served.text(), noteAt(7) + lines);
  const conflict = await post(body);
  assert.equal(conflict.headers.get("content-type"), "text/x.tlog.size");
  assert.equal((await post("x".repeat(70_000))).status, 413);
  assert.equal((await fetch(`${base}/add-checkpoint`)).status, 404);
});
