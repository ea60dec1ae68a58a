import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { Decrypter, generateIdentity, identityToRecipient } from "age-encryption";
import type { RecordingEvent } from "../core/recording.ts";
import {
  readSealedRecording,
  seekSealedRecording,
  writeSealedRecording,
} from "./sealed-recording.ts";

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

test("what is asked for by its time is what reading all of it gives, and little is read for it", async () => {
  const path = join(directory, "anywhere.age");
  const identity = await generateIdentity();
  // Nothing that compresses: the file is some megabytes.
  async function* noise(): AsyncGenerator<RecordingEvent> {
    yield { t: 0, kind: "start", data: {} };
    for (let at = 0; at < 4000; at++) {
      const t = 10 * Math.floor(at / 3);
      yield { t, kind: "response", request: "r-1", bytes: randomBytes(900).toString("base64") };
    }
    yield { t: 20_000, kind: "end" };
  }
  await writeSealedRecording(path, noise(), [await identityToRecipient(identity)]);
  const expected = await all(readSealedRecording(path, identity));
  for (const fromMs of [0, 1, 10, 4321, 9990, 13_330, 13_331, 20_000]) {
    const events = await all(seekSealedRecording(path, identity, fromMs));
    assert.deepEqual(
      events,
      expected.filter(({ t }) => t >= fromMs),
    );
  }
  assert.deepEqual(await all(seekSealedRecording(path, identity, 20_001)), []);
  // All but the header, the place and the table may be anything.
  const damaged = readFileSync(path);
  damaged.fill(0, 200_000, 1_000_000);
  writeFileSync(path, damaged);
  const late = seekSealedRecording(path, identity, 19_000);
  assert.equal((await late.next()).value?.t, 20_000);
  await late.return(undefined);
  await assert.rejects(all(seekSealedRecording(path, identity, 500)), /chunk \d+ was altered/);
});

test("any byte that a seek reads and somebody changed is an error, and so is another length", async () => {
  const path = join(directory, "small-seek.age");
  const identity = await generateIdentity();
  await writeSealedRecording(path, recording(1), [await identityToRecipient(identity)]);
  const intact = readFileSync(path);
  for (let at = 0; at < intact.length; at += 3) {
    const altered = Buffer.from(intact);
    altered[at]! ^= 0x01;
    writeFileSync(path, altered);
    await assert.rejects(all(seekSealedRecording(path, identity, 1)), Error, `byte ${at}`);
  }
  for (const length of [0, 100, intact.length - 17, intact.length - 1]) {
    writeFileSync(path, intact.subarray(0, length));
    await assert.rejects(all(seekSealedRecording(path, identity, 1)), Error, `cut at ${length}`);
  }
  writeFileSync(path, Buffer.concat([intact, Buffer.alloc(70_000)]));
  await assert.rejects(all(seekSealedRecording(path, identity, 1)));
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
