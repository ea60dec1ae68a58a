// Screens of real full-screen programs under a real terminal (script of util-linux): the screen kept at any
// place, and what came after it, show what all of it shows.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { buffer } from "node:stream/consumers";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import headless, { type IBufferCell } from "@xterm/headless";
import { systemClock } from "../base/clock.ts";
import type { ShownScreen } from "./kept-terminal.ts";
import { readRecording } from "./replay.ts";
import { createScreen, type ScreenSize } from "./screen.ts";
import { stallingEvidence } from "./stalling-disk.fixture.ts";

const SIZE = { columns: 80, rows: 24 };

/** Everything that can be seen of a terminal: characters, their looks, the cursor, modes. */
async function seen(size: ScreenSize, pieces: readonly Buffer[]): Promise<readonly string[]> {
  const terminal = new headless.Terminal({
    ...{ cols: size.columns, rows: size.rows, scrollback: 0, allowProposedApi: true },
    logLevel: "off",
  });
  for (const piece of pieces)
    await new Promise<void>((done) => terminal.write(piece, () => done()));
  const { active } = terminal.buffer;
  const rows = Array.from({ length: size.rows }, (_, row) => {
    const line = active.getLine(active.baseY + row);
    const cells = Array.from({ length: size.columns }, (_, at) => lookOf(line?.getCell(at)));
    return cells.join("");
  });
  const { cursorX, cursorY, type } = active;
  terminal.dispose();
  return [...rows, `${type} ${cursorX},${cursorY}`, JSON.stringify(terminal.modes)];
}

function lookOf(cell: IBufferCell | undefined): string {
  if (cell === undefined) return "?";
  const text = cell.getWidth() === 0 ? "" : cell.getChars() || " ";
  if (cell.isAttributeDefault()) return text;
  const bits = [cell.isBold(), cell.isDim(), cell.isUnderline(), cell.isInverse(), cell.isItalic()];
  const back = [cell.isBgDefault(), cell.getBgColor()];
  // Of a space only its background is seen, but for lines and inverted ones.
  const isPlain = text === " " && !cell.isInverse() && !cell.isUnderline();
  const fore = isPlain ? [] : [cell.isFgRGB(), cell.getFgColor(), bits.map(Number).join("")];
  return back[0] === true && isPlain ? text : `<${[...back, ...fore].join(",")}>${text}`;
}

function shownAt(pieces: readonly Buffer[]): Promise<ShownScreen | undefined> {
  const screen = createScreen(SIZE, { keep: () => undefined });
  for (const piece of pieces) screen.output(piece, () => undefined);
  return new Promise((resolve) =>
    screen.show((shown) => {
      screen.close();
      resolve(shown);
    }),
  );
}

/** Cuts anywhere, in the middle of sequences and characters too. */
async function assertSameFrom(output: Buffer, cuts: number): Promise<void> {
  const all = await seen(SIZE, [output]);
  for (let cut = 1; cut <= cuts; cut++) {
    const at = Math.floor((output.length * cut) / (cuts + 1));
    const shown = await shownAt([output.subarray(0, at)]);
    assert.ok(shown !== undefined);
    assert.deepEqual(
      await seen(SIZE, [shown.bytes]),
      await seen(SIZE, [output.subarray(0, at)]),
      `the screen at ${at} of ${output.length}`,
    );
    assert.deepEqual(await seen(SIZE, [shown.bytes, output.subarray(at)]), all, `from ${at} on`);
  }
}

/** What a program writes to a terminal of 80 by 24 when these keys are typed, one after its screen. */
async function runAtTerminal(command: string, keys: readonly string[]): Promise<Buffer> {
  const child = spawn("script", ["-qec", `stty rows 24 cols 80; ${command}`, "/dev/null"], {
    env: { ...process.env, TERM: "xterm-256color", LESSHISTFILE: "-", LINES: "", COLUMNS: "" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const output = buffer(child.stdout);
  for (const key of keys) {
    // Whether it has drawn or not: what it draws then is another output, and as good.
    await Promise.race([once(child.stdout, "data"), delay(500)]);
    if (child.exitCode === null) child.stdin.write(key);
  }
  child.stdin.end();
  return output;
}

const SOURCE = import.meta.filename;
const CSI = "\u001b[";

/** What programs seldom do all of: a scrolling region in the alternate screen, lines put in, line drawing. */
const DRAWN = [
  ...["$ top\r\n", `${CSI}31mred`, `${CSI}?1049h${CSI}?25l${CSI}2J`, `${CSI}5;20r${CSI}?1h`],
  ...Array.from({ length: 40 }, (_, line) => `${CSI}20;1H${CSI}4${line % 8}mline ${line} ü→世\n`),
  ...[
    "\u001b(0lqqk\u001b(B",
    `${CSI}7;3H${CSI}3L`,
    `${CSI}?6h${CSI}2;2Hinside`,
    `${CSI}?6l${CSI}r`,
  ],
  ...[`${CSI}?25h${CSI}?1049l`, "back\r\n", "🙂 done\r\n"],
].join("");

const PROGRAMS = [
  { program: "less", command: `less ${SOURCE}`, keys: [" ", " ", "b", "/screen\n", "n", "G", "q"] },
  {
    ...{ program: "vim", command: `vim -u NONE -N -c 'syntax off' ${SOURCE}` },
    keys: ["10j", "dd", "p", "Gzz", ":q!\r"],
  },
  { program: "top", command: "top -n 1", keys: [] },
].filter(({ program }) => existsSync(`/usr/bin/${program}`));

describe("the screen at any place and the rest show what all of it shows", () => {
  for (const { command, keys, program } of PROGRAMS)
    it(`of ${program}`, async () => {
      const output = await runAtTerminal(command, keys);
      assert.ok(output.length > 500, output.toString());
      await assertSameFrom(output, 7);
    });

  it("of what programs seldom do", () => assertSameFrom(Buffer.from(DRAWN), 40));
});

describe("a recording entered in the middle of a terminal", () => {
  it("begins with the last screen before, and without one at the start", async () => {
    await using evidence = await stallingEvidence(() => false);
    let nowMs = 0;
    const recorder = evidence.openRecorder(
      { sessionId: "s-1", subject: "corp/ann", data: {} },
      { nowMs: systemClock.nowMs, monotonicMs: () => nowMs },
    );
    const about = { request: "r-1", channel: 0 };
    recorder.typed({ kind: "terminal", ...about, ...SIZE });
    for (let second = 1; second <= 60; second++) {
      nowMs = second * 1000;
      recorder.data("r-1", 0, "stdout", Buffer.alloc(10_000, `${second}`));
      const bytes = Buffer.from(`screen ${second}`).toString("base64");
      if (second % 20 === 0) recorder.typed({ kind: "screen", ...about, ...SIZE, bytes });
    }
    recorder.end();
    await evidence.journal.settled();
    const firstFrom = async (fromMs: number) => {
      const events = readRecording(evidence, "s-1", {}, fromMs, true);
      for await (const event of events) return `${event.kind} ${event.t}`;
      return "nothing";
    };
    const at = [];
    for (const fromMs of [15_000, 20_000, 39_999, 45_000, 59_000, 61_000])
      at.push(await firstFrom(fromMs));
    assert.deepEqual(at, [
      "start 0",
      ...Array(2).fill("data 20000"),
      ...Array(2).fill("data 40000"),
      "data 60000",
    ]);
  });
});

describe("a screen", () => {
  it("is kept when there was so much output, or some and so much time", async () => {
    const kept: string[] = [];
    const isKept = Promise.withResolvers<void>();
    const screen = createScreen(SIZE, {
      ...{ everyBytes: 10, everyMs: 1 },
      keep({ bytes }) {
        kept.push(bytes.toString());
        isKept.resolve();
      },
    });
    screen.output(Buffer.from("abc"), () => undefined);
    await isKept.promise;
    assert.match(kept.join(), /^[^a]*abc[^c]*$/);
    screen.close();
  });

  it("follows its size, in the order in which it changed", async () => {
    const screen = createScreen(SIZE, { keep: () => undefined });
    screen.output(Buffer.from("x".repeat(100)), () => undefined);
    screen.resized({ columns: 40, rows: 10 });
    screen.output(Buffer.from(`${CSI}10;40Hy`), () => undefined);
    const shown = await new Promise<ShownScreen | undefined>((resolve) => screen.show(resolve));
    assert.deepEqual([shown?.columns, shown?.rows], [40, 10]);
    assert.match(String(shown?.bytes), /y/);
    screen.close();
  });

  it("makes who writes faster than it reads wait, and lets go of them when it ends", async () => {
    const screen = createScreen(SIZE, { keep: () => undefined, everyBytes: 1 << 30 });
    let waits = 0;
    const piece = Buffer.alloc(64 << 10, "z");
    for (let at = 0; at < 32; at++) {
      waits++;
      screen.output(piece, () => void waits--);
    }
    assert.equal(waits, 16, "a mebibyte may be on its way");
    screen.close();
    assert.equal(waits, 0);
  });

  it("of a size nobody has is not kept, and nothing waits for it", async () => {
    const screen = createScreen({ columns: 1e6, rows: 1e6 }, { keep: () => assert.fail() });
    const { promise, resolve } = Promise.withResolvers<void>();
    screen.output(Buffer.alloc(1 << 20), resolve);
    await promise;
    assert.equal(await new Promise((done) => screen.show(done)), undefined);
  });
});

describe("what is written by who means no good", () => {
  const MOST = "2147483647";
  const repeats = [..."bILMSTZ", " @", " A", "'}", "'~"];

  for (const final of repeats)
    it(`shows what fills the screen and no more: CSI ${MOST} ${final}`, async () => {
      const around = (count: string) => [
        Buffer.from(`abc\r\n\td${CSI}${count}${final}${"e".repeat(300)}`),
      ];
      const shown = await shownAt(around(MOST));
      assert.ok(shown !== undefined, "it is kept");
      const most = final === "b" ? SIZE.columns * SIZE.rows : SIZE.columns;
      assert.deepEqual(await seen(SIZE, [shown.bytes]), await seen(SIZE, around(String(most))));
    });

  it("keeps nothing of a screen without an end: a cell takes any number of accents", async () => {
    const screen = createScreen(SIZE, { keep: () => undefined, everyBytes: 1 << 30 });
    screen.output(Buffer.from("e"), () => undefined);
    screen.output(Buffer.from("\u0301".repeat(512 << 10)), () => undefined);
    assert.equal(await new Promise((done) => screen.show(done)), undefined);
    const other = await shownAt([Buffer.from("others are")]);
    assert.match(String(other?.bytes), /others are/);
  });

  it("takes a size that changes all the time, and pieces of a byte, as what they come to", async () => {
    const screen = createScreen(SIZE, { keep: () => undefined, everyBytes: 1 << 30 });
    for (let rows = 10; rows < 400_010; rows++)
      screen.resized({ columns: 40, rows: 10 + (rows % 11) });
    let waits = 0;
    for (let byte = 0; byte < 30_000; byte++) {
      waits++;
      screen.output(Buffer.from("y"), () => void waits--);
    }
    assert.ok(waits > 0, "pieces are counted, not their bytes alone");
    const shown = await new Promise<ShownScreen | undefined>((resolve) => screen.show(resolve));
    assert.deepEqual([shown?.columns, shown?.rows], [40, 10 + (400_009 % 11)]);
    assert.equal(waits, 0);
    screen.close();
  });

  it("is kept less often where a screen takes more than what was written", async () => {
    let kept = 0;
    const screen = createScreen(SIZE, {
      ...{ everyBytes: 1000, everyMs: 1 << 30 },
      keep: () => void kept++,
    });
    const looks = Array.from({ length: 1900 }, (_, at) => `${CSI}48;2;${at % 256};7;9m#`).join("");
    const read = async (text: string) => {
      screen.output(Buffer.from(text), () => undefined);
      await new Promise((done) => screen.show(done));
    };
    await read(looks);
    assert.equal(kept, 1);
    for (let at = 0; at < 20; at++) await read("z\r".repeat(500));
    assert.equal(kept, 1, "twenty thousand bytes, and a screen of thirty thousand");
    screen.close();
  });
});

it("a terminal whose client knows no size is kept as one of the usual size", async () => {
  const screen = createScreen({ columns: 0, rows: 0 }, { keep: () => undefined });
  screen.output(Buffer.from("ready\r\n"), () => undefined);
  screen.resized({ columns: 0, rows: 0 });
  const shown = await new Promise<ShownScreen | undefined>((resolve) => screen.show(resolve));
  screen.close();
  assert.deepEqual([shown?.columns, shown?.rows], [80, 24]);
  assert.match(shown?.bytes.toString() ?? "", /ready/);
});
