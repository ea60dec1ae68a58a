// Hosts on which a link takes a folder's place between the question where a path leads and its use.

import assert from "node:assert/strict";
import test from "node:test";
import {
  OPEN_FLAGS,
  type SftpAttributes,
  type SftpOperation,
  STATUS,
} from "@custody/wire/ssh/sftp-messages.ts";
import type { SftpAnswer } from "./sftp-book.ts";
import { openAsDecided, RealPaths } from "./sftp-resolve.ts";

const NOTHING = Buffer.alloc(0);
const PATH = Buffer.from("/srv/a/file");
const MINE = { permissions: 0o100_644, owner: { uid: 7, gid: 7 }, size: 5n };

interface Host {
  /** Where the path leads when it is looked at again. */
  readonly leadsTo?: string;
  readonly open?: SftpAttributes;
  readonly there?: SftpAttributes;
}

/** What was asked, in order, and what came of it. */
async function opening(
  flags: number,
  { leadsTo = "/srv/a/file", open = MINE, there = MINE }: Host,
) {
  const asked: SftpOperation[] = [];
  const ask = async (request: SftpOperation): Promise<SftpAnswer> => {
    asked.push(request);
    switch (request.kind) {
      case "open":
        return { kind: "handle", id: 0, handle: Buffer.from("h") };
      case "realpath": {
        const name = Buffer.from(leadsTo);
        return { kind: "name", id: 0, names: [{ name, line: name, attributes: {} }] };
      }
      case "fstat":
        return { kind: "attrs", id: 0, attributes: open };
      case "lstat":
        return { kind: "attrs", id: 0, attributes: there };
      default:
        return { kind: "status", id: 0, code: STATUS.ok, message: NOTHING, language: NOTHING };
    }
  };
  const request = { kind: "open", id: 1, path: PATH, flags, attributes: {} } as const;
  const answer = await openAsDecided(ask, new RealPaths(ask), request);
  return { answer, asked, kinds: asked.map(({ kind }) => kind) };
}

test("what was decided on is opened", async () => {
  const { answer, kinds } = await opening(OPEN_FLAGS.read, {});
  assert.ok(answer !== "moved" && answer.kind === "handle");
  assert.ok(!kinds.includes("close"));
});

test("what a link led elsewhere is closed, whether the link stays or not", async () => {
  const root = { ...MINE, owner: { uid: 0, gid: 0 } };
  for (const host of [
    { leadsTo: "/etc/shadow" },
    { open: root },
    { open: { ...MINE, permissions: 0o100_600 } },
    { there: { ...MINE, permissions: 0o120_777 } },
  ]) {
    const { answer, kinds } = await opening(OPEN_FLAGS.read, host);
    assert.equal(answer, "moved");
    assert.equal(kinds.at(-1), "close");
  }
});

test("nothing is emptied before it is known to be what was decided on", async () => {
  const { truncate, write, create, exclusive } = OPEN_FLAGS;
  const moved = await opening(write | truncate, { leadsTo: "/etc/passwd" });
  assert.deepEqual(moved.asked[0], { ...moved.asked[0], flags: write });
  assert.ok(!moved.kinds.includes("fsetstat"));
  const there = await opening(write | truncate | create, {});
  assert.ok(there.kinds.includes("fsetstat"));
  // What was empty, or is no plain file, needs none; a new file is not emptied.
  for (const open of [
    { ...MINE, size: 0n },
    { ...MINE, permissions: 0o020_666 },
  ]) {
    const { kinds } = await opening(write | truncate, { open, there: open });
    assert.ok(!kinds.includes("fsetstat"));
  }
  const made = await opening(write | create | truncate | exclusive, {});
  assert.deepEqual(made.asked[0], {
    ...made.asked[0],
    flags: write | create | truncate | exclusive,
  });
});
