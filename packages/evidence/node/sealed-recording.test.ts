import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { Decrypter, generateIdentity, identityToRecipient } from "age-encryption";
import type { RecordingEvent } from "../core/recording.ts";
import { readSealedRecording, writeSealedRecording } from "./sealed-recording.ts";

const directory = mkdtempSync(join(tmpdir(), "custody-sealed-"));
after(() => rmSync(directory, { recursive: true, force: true }));

async function* recording(count: number): AsyncGenerator<RecordingEvent> {
  yield { t: 0, kind: "start", data: { target: "orders" } };
  for (let t = 1; t <= count; t++) {
    yield {
      t,
      kind: "response",
      request: "r-1",
      bytes: Buffer.alloc(700, `${t},`).toString("base64"),
    };
  }
  yield { t: count + 1, kind: "end" };
}

async function all(events: AsyncIterable<RecordingEvent>): Promise<RecordingEvent[]> {
  const list: RecordingEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

test("every recipient opens the whole; nobody else does", async () => {
  const path = join(directory, "large.age");
  const identities = await Promise.all([
    generateIdentity(),
    generateIdentity(),
    generateIdentity(),
  ]);
  const recipients = await Promise.all(identities.slice(0, 2).map(identityToRecipient));
  await writeSealedRecording(path, recording(2000), recipients);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const expected = await all(recording(2000));
  for (const identity of identities.slice(0, 2)) {
    const events = await all(readSealedRecording(path, identity));
    assert.equal(events.length, expected.length);
    assert.equal(JSON.stringify(events), JSON.stringify(expected));
  }
  await assert.rejects(all(readSealedRecording(path, identities[2]!)), /identit|recipient/);
  await assert.rejects(writeSealedRecording(path, recording(1), recipients), /EEXIST/);
});

test("one frame can be read alone by the seek table", async () => {
  const path = join(directory, "seek.age");
  const identity = await generateIdentity();
  await writeSealedRecording(path, recording(2000), [await identityToRecipient(identity)]);
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const plain = Buffer.from(await decrypter.decrypt(readFileSync(path)));
  assert.equal(plain.readUInt32LE(plain.length - 4), 0x8f92eab1);
  const frames = plain.readUInt32LE(plain.length - 9);
  assert.ok(frames > 2);
  const table = plain.length - 9 - frames * 8;
  assert.equal(plain.readUInt32LE(table - 8), 0x184d2a5e);
  const first = plain.readUInt32LE(table);
  const second = plain.subarray(first, first + plain.readUInt32LE(table + 8));
  const text = zstdDecompressSync(second).toString("utf8");
  assert.equal(Buffer.byteLength(text), plain.readUInt32LE(table + 12));
  for (const line of text.trimEnd().split("\n")) assert.equal(JSON.parse(line).kind, "response");
});

test("any changed byte and any missing end is an error", async () => {
  const path = join(directory, "small.age");
  const identity = await generateIdentity();
  await writeSealedRecording(path, recording(1), [await identityToRecipient(identity)]);
  const intact = readFileSync(path);
  for (let at = 0; at < intact.length; at++) {
    const altered = Buffer.from(intact);
    altered[at]! ^= 0x01;
    writeFileSync(path, altered);
    await assert.rejects(all(readSealedRecording(path, identity)), Error, `byte ${at}`);
    if (at % 5 !== 0) continue;
    writeFileSync(path, intact.subarray(0, at));
    await assert.rejects(all(readSealedRecording(path, identity)), Error, `cut at ${at}`);
  }
});
