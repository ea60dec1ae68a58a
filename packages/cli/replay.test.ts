import assert from "node:assert/strict";
import { test } from "node:test";
import type { RecordingLine } from "@custody/contract/sessions.ts";
import { type ReplayOptions, replayLines } from "./replay.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");
const data = (t: number, stream: string, text: string): RecordingLine => ({
  ...{ t, kind: "data", request: "r-1", channel: 0, stream },
  bytes: base64(text),
});

const LINES: readonly RecordingLine[] = [
  { t: 0, kind: "start", data: { protocol: "ssh", target: "web1" } },
  { t: 100, kind: "command", request: "r-1", bytes: base64("") },
  { t: 100, kind: "exec", request: "r-1", channel: 0, mode: "shell" },
  { t: 100, kind: "terminal", request: "r-1", channel: 0, columns: 80, rows: 24, name: "xterm" },
  data(600, "stdout", "\x1b[32m$\x1b[0m \u00fc".slice(0, -1)),
  { ...data(610, "stdout", ""), bytes: Buffer.of(0xc3).toString("base64") },
  { ...data(620, "stdout", ""), bytes: Buffer.of(0xbc).toString("base64") },
  data(700, "stdin", "secret\r"),
  { t: 900, kind: "terminal", request: "r-1", channel: 0, columns: 100, rows: 30 },
  data(60_900, "stdout", "\x1b]52;c;ZXZpbA==\x07done\r\n"),
  { t: 61_000, kind: "exit", request: "r-1", channel: 0, code: 3 },
  { t: 61_100, kind: "command", request: "r-2", bytes: base64("uname -a") },
  { t: 61_100, kind: "exec", request: "r-2", channel: 1, mode: "exec", argv: ["uname", "-a b"] },
  { ...data(61_200, "stdout", "Linux\n"), request: "r-2", channel: 1 },
  { t: 61_300, kind: "exit", request: "r-2", channel: 1, code: 0 },
  {
    ...{ t: 61_400, kind: "sftp", request: "r-3", channel: 2 },
    ...{ operation: "rename", path: "/a", to: "/b", status: "permission_denied" },
  },
  { t: 61_500, kind: "end" },
];

async function replayed(
  options: Partial<ReplayOptions>,
  recorded: readonly RecordingLine[] = LINES,
): Promise<{ text: string; pauses: number[] }> {
  let text = "";
  const pauses: number[] = [];
  const io = {
    colour: false,
    columns: 100,
    stdout: (part: string) => {
      text += part;
    },
  };
  async function* lines(): AsyncGenerator<RecordingLine> {
    yield* recorded;
  }
  await replayLines(io, lines(), { rows: "20", ...options }, async (ms) => void pauses.push(ms));
  return { text, pauses };
}

test("streams and typed events read as a transcript", async () => {
  const { text, pauses } = await replayed({});
  for (const expected of [
    "▶ shell",
    "terminal 80×24 (xterm)",
    "│ $",
    "ended with status 3",
    "▶ exec uname '-a b'",
    "│ Linux",
    "sftp rename /a → /b permission_denied",
  ])
    assert.ok(text.includes(expected), `${expected} in\n${text}`);
  assert.ok(!text.includes("\x1b"), "no control sequence of the recording comes through");
  assert.deepEqual(pauses, []);
});

test("with its time, a speed, a longest pause; from a command or a second on; only what has a text", async () => {
  const { pauses } = await replayed({ timing: true });
  assert.deepEqual(pauses.slice(0, 3), [100, 500, 10]);
  assert.equal(Math.max(...pauses), 3000);
  const fast = await replayed({ speed: "10", maxPause: "60" });
  assert.equal(Math.max(...fast.pauses), 6000);
  const late = await replayed({ from: "r-2" });
  assert.ok(late.text.includes("uname") && !late.text.includes("shell"));
  const seconds = await replayed({ from: "61.05" });
  assert.ok(seconds.text.includes("uname") && !seconds.text.includes("done"));
  await assert.rejects(replayed({ from: "r-9" }), /does not get to r-9/);
  const found = await replayed({ search: "linux" });
  assert.ok(found.text.includes("uname") && !found.text.includes("shell"));
  await assert.rejects(replayed({ search: "nowhere" }), /nowhere in this recording/);
  await assert.rejects(replayed({ speed: "0" }), /--speed is a number/);
});

test("a terminal is played as one, without what it could do to the reader's", async () => {
  const { text } = await replayed({ terminal: true });
  assert.ok(text.startsWith("\x1b[32m$\x1b[0m "), JSON.stringify(text));
  assert.ok(text.includes("done\r\n"));
  assert.ok(!text.includes("\x1b]52"));
  assert.ok(!text.includes("secret"), "what was typed is not what was shown");
});

test("an asciicast of either version: times, sizes, characters cut in two", async () => {
  const two = (await replayed({ asciicast: "2" })).text
    .trim()
    .split("\n")
    .map((one) => JSON.parse(one));
  assert.deepEqual(two[0], { version: 2, width: 80, height: 24, env: { TERM: "xterm" } });
  assert.deepEqual(two.slice(1), [
    [0.5, "o", "\x1b[32m$\x1b[0m "],
    [0.52, "o", "\u00fc"],
    [0.8, "r", "100x30"],
    [60.8, "o", "\x1b]52;c;ZXZpbA==\x07done\r\n"],
  ]);
  const three = (await replayed({ asciicast: "3" })).text
    .trim()
    .split("\n")
    .map((one) => JSON.parse(one));
  assert.deepEqual(three[0], { version: 3, term: { cols: 80, rows: 24, type: "xterm" } });
  assert.deepEqual(
    three.slice(1).map(([time, code]) => [time, code]),
    [
      [0.5, "o"],
      [0.02, "o"],
      [0.28, "r"],
      [60, "o"],
      [0.1, "x"],
    ],
  );
});

const screen = (t: number, text: string): RecordingLine => ({
  ...{ t, kind: "screen", request: "r-1", channel: 0, columns: 80, rows: 24 },
  bytes: base64(text),
});
const MIDDLE: readonly RecordingLine[] = [
  screen(40_000, "as it was\x1b]52;c;ZXZpbA==\x07"),
  data(41_000, "stdout", "before "),
  data(47_000, "stdout", "asked for "),
  screen(50_000, "again"),
  data(51_000, "stdout", "after"),
];

test("a terminal that is entered in the middle begins with its screen, and takes its time from there on", async () => {
  const { pauses, text } = await replayed({ terminal: true, timing: true, from: "46" }, MIDDLE);
  assert.ok(
    text.startsWith("\x1b[0m\x1b[?1049l\x1b[2J\x1b[Has it wasbefore asked for after"),
    text,
  );
  // Up to the second that was asked for nothing takes time.
  assert.deepEqual(pauses, [1000, 3000, 1000]);
});

test("an asciicast of the middle begins with the screen", async () => {
  const lines = (await replayed({ asciicast: "2" }, MIDDLE)).text.trim().split("\n");
  assert.deepEqual(lines.map((one) => JSON.parse(one)).slice(0, 3), [
    { version: 2, width: 80, height: 24, env: {} },
    [0, "o", "as it was\u001b]52;c;ZXZpbA==\u0007"],
    [1, "o", "before "],
  ]);
});
