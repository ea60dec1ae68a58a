import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { RecordingLine } from "@custody/contract/sessions.ts";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { sealedLines, sealLines } from "./sealed-replay.ts";

const directory = mkdtempSync(join(tmpdir(), "custody-sealed-replay-"));
after(() => rmSync(directory, { recursive: true, force: true }));

async function* lines(isCutOff = false): AsyncGenerator<RecordingLine> {
  for (let t = 0; t < 5000; t += 100)
    yield { t, kind: "event", request: `r-${t}`, type: "notice", data: { t } } as RecordingLine;
  if (isCutOff) throw new Error("the gateway went away");
}

async function all(source: AsyncIterable<RecordingLine>): Promise<RecordingLine[]> {
  const list: RecordingLine[] = [];
  for await (const line of source) list.push(line);
  return list;
}

test("a recording is sealed into a file and read from it, from the beginning or a second", async () => {
  const identity = await generateIdentity();
  const keys = join(directory, "key.txt");
  writeFileSync(keys, `# created: 2026-11-23\n# public key: age1…\n${identity}\n`);
  const path = join(directory, "session.age");
  const recipients = [await identityToRecipient(identity)];
  await sealLines(lines(), recipients, path);
  const expected = await all(lines());
  assert.deepEqual(await all(sealedLines(path, keys, undefined)), expected);
  assert.deepEqual(await all(sealedLines(path, keys, "r-300")), expected);
  assert.deepEqual(
    await all(sealedLines(path, keys, "2.5")),
    expected.filter(({ t }) => t >= 2500),
  );
  await assert.rejects(sealLines(lines(), recipients, path), /is there already/);
  assert.ok(existsSync(path), "it was not ours to remove");
});

test("a sealed terminal is entered at the last screen before a second, however far that is", async () => {
  const identity = await generateIdentity();
  const keys = join(directory, "terminal-key.txt");
  writeFileSync(keys, `${identity}\n`);
  const path = join(directory, "terminal.age");
  const about = { request: "r-1", channel: 0 };
  async function* terminal(): AsyncGenerator<RecordingLine> {
    for (let t = 0; t < 60_000; t += 1000) {
      const bytes = randomBytes(30_000).toString("base64");
      if (t === 5000 || t === 50_000)
        yield { t, kind: "screen", ...about, columns: 80, rows: 24, bytes: "" };
      yield { t, kind: "data", ...about, stream: "stdout", bytes };
    }
  }
  await sealLines(terminal(), [await identityToRecipient(identity)], path);
  for (const [from, first] of [
    ["49", "screen 5000"],
    ["50", "screen 50000"],
    ["59", "screen 50000"],
    ["4", "data 0"],
  ] as const) {
    const [line] = await all(sealedLines(path, keys, from, true));
    assert.equal(`${line?.kind} ${line?.t}`, first);
  }
});

test("of a recording that was cut off nothing is left", async () => {
  const recipients = [await identityToRecipient(await generateIdentity())];
  const path = join(directory, "cut.age");
  await assert.rejects(sealLines(lines(true), recipients, path), /went away/);
  assert.ok(!existsSync(path));
});

test("a file without an identity says so", () => {
  const path = join(directory, "none.txt");
  writeFileSync(path, "nothing\n");
  assert.throws(() => sealedLines(path, path, undefined), /no age identity/);
});
