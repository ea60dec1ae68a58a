import assert from "node:assert/strict";
import test from "node:test";
import { OPEN_FLAGS, type SftpOperation } from "@custody/wire/ssh/sftp-messages.ts";
import {
  isPlainRead,
  lexicalPath,
  openActions,
  pathNeeds,
  readablePath,
  splitPath,
} from "./sftp-paths.ts";

test("an open is judged by everything its flags allow", () => {
  const { append, create, exclusive, read, truncate, write } = OPEN_FLAGS;
  for (const [flags, actions] of [
    [0, ["sftp_read"]],
    [read, ["sftp_read"]],
    [write, ["sftp_write"]],
    [append, ["sftp_write"]],
    [read | write, ["sftp_read", "sftp_write"]],
    // Making or emptying a file is a change, whatever is done with it then.
    [read | create, ["sftp_read", "sftp_write"]],
    [read | truncate, ["sftp_read", "sftp_write"]],
    [exclusive, ["sftp_write"]],
  ] as const)
    assert.deepEqual(openActions(flags), actions, String(flags));
});

test("what moves a file needs to read it where it was", () => {
  const path = Buffer.from("/a");
  for (const kind of ["rename", "posix-rename@openssh.com", "hardlink@openssh.com"] as const) {
    const needs = pathNeeds({ kind, from: path, to: path });
    assert.ok(needs?.find(({ field }) => field === "from")?.actions.includes("sftp_read"), kind);
    assert.deepEqual(needs?.find(({ field }) => field === "to")?.actions, ["sftp_write"], kind);
  }
});

test("what follows a link is judged where it leads, what works on a link on the link itself", () => {
  const of = (operation: SftpOperation) => pathNeeds(operation)?.map(({ last }) => last);
  const path = Buffer.from("/a");
  for (const kind of ["stat", "opendir"] as const) assert.deepEqual(of({ kind, path }), ["follow"]);
  for (const kind of ["lstat", "remove", "rmdir", "readlink"] as const)
    assert.deepEqual(of({ kind, path }), ["itself"]);
  assert.deepEqual(of({ kind: "setstat", path, attributes: {} }), ["follow"]);
  assert.deepEqual(of({ kind: "lsetstat@openssh.com", path, attributes: {} }), ["itself"]);
});

test("only looking is a plain read", () => {
  const path = Buffer.from("/a");
  assert.ok(isPlainRead({ kind: "stat", path }));
  assert.ok(isPlainRead({ kind: "open", path, flags: OPEN_FLAGS.read, attributes: {} }));
  assert.ok(!isPlainRead({ kind: "open", path, flags: OPEN_FLAGS.write, attributes: {} }));
  assert.ok(!isPlainRead({ kind: "remove", path }));
});

test("paths without dots, from the home folder or the root, never above it", () => {
  for (const [written, path] of [
    ["", "/home/x"],
    [".", "/home/x"],
    ["a//b/./c", "/home/x/a/b/c"],
    ["../y", "/home/y"],
    ["/../../etc/passwd", "/etc/passwd"],
    ["/a/b/../../..", "/"],
  ] as const)
    assert.equal(lexicalPath("/home/x", written), path);
});

test("a folder and the name in it; folders by themselves have none", () => {
  assert.deepEqual(splitPath("/a/b"), { folder: "/a", name: "b" });
  assert.deepEqual(splitPath("/a"), { folder: "/", name: "a" });
  assert.deepEqual(splitPath("a"), { folder: ".", name: "a" });
  // A slash at the end would make the host follow a link.
  assert.deepEqual(splitPath("/a/link/"), { folder: "/a", name: "link" });
  for (const path of ["/", "", ".", "..", "/a/..", "/a/."])
    assert.equal(splitPath(path), undefined);
});

test("bytes that are no text, or that a line could not show, are no path", () => {
  assert.equal(readablePath(Buffer.from("/ä/b c")), "/ä/b c");
  for (const bytes of [Buffer.of(0x2f, 0xff), Buffer.from("/a\0b"), Buffer.from("/a\nb")])
    assert.equal(readablePath(bytes), undefined);
  assert.equal(readablePath(Buffer.alloc(5000, 0x61)), undefined);
});
