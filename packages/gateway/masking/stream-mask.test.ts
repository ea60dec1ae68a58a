import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GatewayError } from "../base/errors.ts";
import type { Detection } from "./nets.ts";
import { createStreamMask, MAX_WAITING_BYTES, reachOf } from "./stream-mask.ts";

const ALL: readonly Detection[] = [
  { class: "pii.card", kind: "card-number" },
  { class: "pii.email", kind: "email" },
  { class: "secret.key", kind: "provider-key" },
];
const CARD = "4242424242424242";
const PEM = `-----BEGIN RSA PRIVATE KEY-----\n${"QUFB".repeat(40)}\n-----END RSA PRIVATE KEY-----`;

/** Each piece by itself, byte by byte where `pieces` is one text. */
function masked(pieces: readonly (string | Buffer)[], form?: "label" | "same-length"): string {
  const mask = createStreamMask(ALL, form);
  const out = pieces.map((piece) => mask.push(Buffer.from(piece as string, "latin1")));
  return Buffer.concat([...out, mask.end()]).toString("latin1");
}

function byteByByte(text: string): string {
  return masked([...text]);
}

test("a value is found however it is cut", () => {
  for (const [text, shown] of [
    [`card ${CARD}.`, "card [masked pii.card]."],
    ["4242 4242 4242 4242", "[masked pii.card]"],
    ["to ann@example.com and bob@example.org\n", "to [masked pii.email] and [masked pii.email]\n"],
    [`key AKIA${"A".repeat(16)}\n`, "key [masked secret.key]\n"],
    [`eyJ${"a".repeat(4000)}.eyJ${"b".repeat(7000)}.${"c".repeat(900)} `, "[masked secret.key] "],
    [PEM, "[masked secret.key]-----END RSA PRIVATE KEY-----"],
    [`2026-11-23 ${CARD} 7\n`, "2026-11-23 [masked pii.card] 7\n"],
    ["nothing of 42 here, @home\n", "nothing of 42 here, @home\n"],
  ] as const) {
    assert.equal(masked([text]), shown);
    assert.equal(byteByByte(text), shown);
  }
});

test("a terminal's sequences inside of a value do not hide it, and stay", () => {
  for (const [text, shown] of [
    ["\x1b[31m4242\x1b[0m424242424242 x", "\x1b[31m[masked pii.card]\x1b[0m x"],
    ["ann\x1b[1;4m@exam\x1b(Bple.com ", "[masked pii.email]\x1b[1;4m\x1b(B "],
    // A backspace, a title in between, and one that another sequence ends.
    ["4242\b4242\x1b]0;top\x0742424242 ", "[masked pii.card]\b\x1b]0;top\x07 "],
    ["4242\x1b]0;top\x1b[m424242424242 ", "[masked pii.card]\x1b]0;top\x1b[m "],
    // Strings are texts of their own.
    [
      "\x1b]8;;mailto:ann@a.org\x1b\\ann\x1b]8;;\x1b\\ ",
      "\x1b]8;;mailto:*********\x1b\\ann\x1b]8;;\x1b\\ ",
    ],
    // What begins like a sequence and is none hides nothing.
    [`\x1b[${CARD}\n`, "\x1b[[masked pii.card]\n"],
    [`\x1b]0;${CARD} `, "\x1b]0;[masked pii.card] "],
    [`\x1b]0;${"x ".repeat(3000)}${CARD}\x07`, `\x1b]0;${"x ".repeat(3000)}[masked pii.card]\x07`],
    [`\x1b[${"1;".repeat(40)}ann@a.org m`, `\x1b[${"1;".repeat(40)}[masked pii.email] m`],
    ["tail \x1b", "tail \x1b"],
  ] as const) {
    assert.equal(masked([text]), shown);
    assert.equal(byteByByte(text), shown);
  }
});

test("what cannot begin a value does not wait", () => {
  const mask = createStreamMask(ALL);
  const out = (text: string) => mask.push(Buffer.from(text)).toString();
  assert.equal(out("Continue? [y/N] "), "Continue? [y/N] ");
  assert.equal(out("loading: ann"), "loading: ");
  assert.equal(out("@example.com"), "");
  assert.equal(out("!"), "[masked pii.email]!");
  assert.equal(out("\x1b[3"), "");
  assert.equal(out("2mgreen "), "\x1b[32mgreen ");
  assert.equal(mask.end().toString(), "");
  assert.deepEqual([...mask.found], [["pii.email", 1]]);
});

test("masks of the same length leave every other byte in its place", () => {
  assert.equal(
    masked([`a ${CARD} b \x1b[1mann@a\x1b[0m.org c`], "same-length"),
    `a ${"*".repeat(16)} b \x1b[1m*****\x1b[0m**** c`,
  );
});

test("what is no text is refused, and so is what would wait without end", () => {
  const refused = (error: unknown) => error instanceof GatewayError && error.code === "limit";
  assert.throws(() => masked(["a\0b"]), refused);
  const mask = createStreamMask(ALL);
  mask.push(Buffer.from("42"));
  const sequences = Buffer.from("\x1b[1m".repeat(4096));
  assert.throws(() => {
    for (let sent = 0; sent <= MAX_WAITING_BYTES; sent += sequences.length) mask.push(sequences);
  }, refused);
});

test("memory is bounded whatever text comes", () => {
  for (const unit of [
    "a",
    "1",
    "1 ",
    "-",
    "eyJ",
    "A.",
    "-----BEGIN PRIVATE KEY-----",
    "a@b.c",
    "\x1b]x\x07",
  ]) {
    const mask = createStreamMask(ALL);
    let [given, got] = [0, 0];
    const piece = Buffer.from(unit.repeat(Math.ceil(4096 / unit.length)));
    for (let round = 0; round < 40; round += 1) {
      given += piece.length;
      got += mask.push(piece).length;
      // Labels are longer than what they stand for only where values are short.
      assert.ok(given - got < MAX_WAITING_BYTES || unit.includes("@") || unit.includes("-"), unit);
    }
  }
});

/** Text that is likely to hold values, beginnings of values, and sequences. */
const piece = fc.oneof(
  fc.constantFrom(CARD, "4242 4242 4242 4242", "ann@example.com", `ghp_${"a1".repeat(20)}`, PEM),
  fc.constantFrom("\x1b[31m", "\x1b[0m", "\x1b]0;ann@a.org\x07", "\x1b", "\x1b]", "\x1b[1", "\b"),
  fc.constantFrom(
    "-----",
    "-----BEGIN ",
    "PRIVATE KEY-----",
    "@",
    ".",
    " ",
    "\n",
    "4242",
    "eyJ",
    "-",
  ),
  fc.stringMatching(/^[a-z0-9@. -]{0,12}$/),
);

test("the same comes out whatever the pieces are", () => {
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 14 }).map((pieces) => pieces.join("")),
      fc.array(fc.nat({ max: 400 }), { maxLength: 12 }),
      fc.constantFrom("label" as const, "same-length" as const),
      (text, cuts, form) => {
        const places = cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b);
        const pieces = [0, ...places].map((from, index) =>
          text.slice(from, places[index] ?? text.length),
        );
        assert.equal(masked(pieces, form), masked([text], form));
      },
    ),
    { numRuns: 600 },
  );
});

test("no value gets through, whatever stands around it and wherever it is cut", () => {
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 6 }),
      fc.array(piece, { maxLength: 6 }),
      fc.array(fc.nat({ max: 300 }), { maxLength: 8 }),
      (before, after, cuts) => {
        const canary = "zq7canary@example.net";
        const text = `${before.join("")}\n ${canary}\n${after.join("")}`;
        const places = cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b);
        const pieces = [0, ...places].map((from, index) =>
          text.slice(from, places[index] ?? text.length),
        );
        assert.ok(!masked(pieces).includes("zq7canary@"));
      },
    ),
    { numRuns: 300 },
  );
});

test("a part is masked as in the whole, with as much around it as a value can reach", () => {
  const detections = ALL.slice(0, 2);
  const reach = reachOf(detections);
  const filler = "lorem 12 ipsum@ 34-56 dolor. ".repeat(500);
  fc.assert(
    fc.property(
      fc.array(
        piece.filter((text) => !text.startsWith("-----")),
        { minLength: 1, maxLength: 12 },
      ),
      fc.nat(),
      fc.nat({ max: 40 }),
      (pieces, place, length) => {
        const file = Buffer.from(filler + pieces.join("") + filler, "latin1");
        const whole = sameLength(detections, file);
        const from = filler.length - 20 + (place % (pieces.join("").length + 40));
        const start = Math.max(0, from - reach);
        const part = sameLength(detections, file.subarray(start, from + length + reach));
        assert.ok(
          part
            .subarray(from - start, from - start + length)
            .equals(whole.subarray(from, from + length)),
        );
      },
    ),
    { numRuns: 60 },
  );
});

function sameLength(detections: readonly Detection[], bytes: Buffer): Buffer {
  const mask = createStreamMask(detections, "same-length");
  return Buffer.concat([mask.push(bytes), mask.end()]);
}
