import assert from "node:assert/strict";
import test from "node:test";
import { STATUS } from "@custody/wire/ssh/sftp-messages.ts";
import fc from "fast-check";
import type { Detection } from "../../masking/nets.ts";
import type { SftpAnswer } from "./sftp-book.ts";
import { readMasked } from "./sftp-masked-read.ts";
import type { AskHost } from "./sftp-resolve.ts";

const DETECT: readonly Detection[] = [
  { class: "pii.card", kind: "card-number" },
  { class: "pii.email", kind: "email" },
];
const HANDLE = Buffer.from("h");
const NOTHING = Buffer.alloc(0);

/** A host with one file, that gives no more than `most` at once. */
function hostOf(file: Buffer, most = 4096): AskHost {
  return async (request) => {
    assert.ok(request.kind === "read");
    const from = Number(request.offset);
    const data = file.subarray(from, from + Math.min(request.length, most));
    return data.length === 0 ? status(STATUS.eof) : { kind: "data", id: 0, data };
  };
}

function status(code: number): SftpAnswer {
  return { kind: "status", id: 0, code, message: NOTHING, language: NOTHING };
}

test("the same bytes are masked whatever ranges a file is read in", async () => {
  const piece = fc.constantFrom(
    ...["4242424242424242", " ", "ann@example.com", "\n", "4242 4242 4242 4242", "-", "word", "."],
    ...["\x1b[31m", "a@", "42", "\x1b[", "\x1b]0;t\x07", "x".repeat(900)],
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(piece, { minLength: 1, maxLength: 60 }),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 600 })), {
        minLength: 1,
        maxLength: 6,
      }),
      async (pieces, ranges) => {
        const file = Buffer.from(pieces.join(""), "latin1");
        const whole = await readMasked(hostOf(file), DETECT, range(0, file.length));
        assert.ok(whole.kind === "data" && whole.data.length === file.length);
        for (const [place, length] of ranges) {
          const offset = place % file.length;
          const part = await readMasked(hostOf(file, 1000), DETECT, range(offset, length));
          assert.ok(part.kind === "data");
          assert.ok(part.data.equals(whole.data.subarray(offset, offset + length)));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("a value is masked in the last byte of it that is read alone", async () => {
  const file = Buffer.from("to ann@example.com\n");
  for (let at = 3; at < 18; at += 1) {
    const answer = await readMasked(hostOf(file), DETECT, range(at, 1));
    assert.deepEqual(answer, { kind: "data", data: Buffer.from("*"), masked: ["pii.email"] });
  }
  const plain = await readMasked(hostOf(file), DETECT, range(0, 3));
  assert.deepEqual(plain, { kind: "data", data: Buffer.from("to "), masked: [] });
});

test("the end of the file is the host's, and so is what goes wrong", async () => {
  const end = await readMasked(hostOf(Buffer.from("abc")), DETECT, range(3, 10));
  assert.deepEqual(end, { kind: "host", answer: status(STATUS.eof) });
  // What stands behind is not known, and might make a value of what stands before.
  let asked = 0;
  const failing: AskHost = async () => {
    asked += 1;
    return asked === 1
      ? { kind: "data", id: 0, data: Buffer.from("ann@exam") }
      : status(STATUS.failure);
  };
  const failed = await readMasked(failing, DETECT, range(0, 8));
  assert.deepEqual(failed, { kind: "host", answer: status(STATUS.failure) });
});

test("what is no text is not read", async () => {
  const answer = await readMasked(hostOf(Buffer.from("ann@a.org\0")), DETECT, range(0, 5));
  assert.equal(answer.kind, "unmaskable");
});

function range(offset: number, length: number) {
  return { handle: HANDLE, offset: BigInt(offset), length };
}
