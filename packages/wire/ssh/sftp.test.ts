import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { SshError } from "./errors.ts";
import { lacking, runProcess, SFTP_SERVER, testFolder } from "./peer-harness.ts";
import {
  decodeSftpRequest,
  decodeSftpResponse,
  encodeSftpRequest,
  encodeSftpResponse,
  SftpCursor,
} from "./sftp.ts";
import { OPEN_FLAGS, type SftpOperation, type SftpResponse, STATUS } from "./sftp-messages.ts";

const skip = lacking("/usr/bin/sftp", SFTP_SERVER);
const LIMITS = { maxPacketBytes: 256 * 1024 };

function packets(stream: Buffer, chunkBytes = stream.length): Buffer[] {
  const cursor = new SftpCursor(LIMITS);
  const found: Buffer[] = [];
  for (let at = 0; at < stream.length; at += chunkBytes) {
    cursor.push(stream.subarray(at, at + chunkBytes));
    for (let packet = cursor.next(); packet; packet = cursor.next()) found.push(packet);
  }
  assert.equal(cursor.heldBytes, 0);
  return found;
}

test("everything OpenSSH's sftp and its server say is read, and written again alike", {
  skip,
}, async (t) => {
  const folder = testFolder(t);
  const [requests, responses] = [join(folder, "requests"), join(folder, "responses")];
  const wrapper = join(folder, "wrapper.sh");
  writeFileSync(wrapper, `#!/bin/sh\ntee ${requests} | ${SFTP_SERVER} | tee ${responses}\n`, {
    mode: 0o755,
  });
  const big = randomBytes(300_000);
  writeFileSync(join(folder, "big"), big);
  mkdirSync(join(folder, "d"));
  symlinkSync("big", join(folder, "link"));
  const batch = [
    `cd ${folder}`,
    "ls -la",
    `put -p ${join(folder, "big")} d/copy`,
    `get d/copy ${join(folder, "back")}`,
    "ln -s d/copy d/s",
    "ln d/copy d/hard",
    "rename d/hard d/moved",
    "chmod 600 d/moved",
    "-chmod -h 600 link",
    "df d",
    "mkdir e",
    "rmdir e",
    "-rm nothing",
    "-cp d/copy d/third",
    "rm d/moved",
    "-get nothing",
    "pwd",
  ];
  writeFileSync(join(folder, "batch"), `${batch.join("\n")}\n`);
  const run = await runProcess("sftp", ["-b", join(folder, "batch"), "-D", wrapper]);
  assert.equal(run.status, 0, run.stderr);
  assert.ok(readFileSync(join(folder, "back")).equals(big));
  const kinds = new Set<string>();
  for (const packet of packets(readFileSync(requests), 999)) {
    const request = decodeSftpRequest(packet);
    kinds.add(request.kind);
    assert.deepEqual(encodeSftpRequest(request), packet);
  }
  for (const packet of packets(readFileSync(responses), 4097)) {
    const response = decodeSftpResponse(packet);
    kinds.add(response.kind);
    assert.deepEqual(encodeSftpResponse(response), packet);
  }
  for (const kind of [
    ...["init", "open", "close", "read", "write", "lstat", "opendir", "readdir", "setstat"],
    ...["fsetstat", "remove", "mkdir", "rmdir", "realpath", "symlink", "statvfs@openssh.com"],
    ...["posix-rename@openssh.com", "hardlink@openssh.com", "limits@openssh.com", "copy-data"],
    ...["version", "status", "handle", "data", "name", "attrs", "extended-reply"],
  ]) {
    assert.ok(kinds.has(kind), kind);
  }
  assert.ok(!kinds.has("extended"), "an extension we do not know");
});

test("OpenSSH's server understands what we write", { skip }, async (t) => {
  const folder = testFolder(t);
  const server = spawn(SFTP_SERVER, [], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => server.kill());
  const cursor = new SftpCursor(LIMITS);
  let id = 0;
  const ask = async (request: Buffer): Promise<SftpResponse> => {
    server.stdin.write(request);
    for (;;) {
      const packet = cursor.next();
      if (packet !== undefined) return decodeSftpResponse(packet);
      cursor.push(((await once(server.stdout, "data")) as [Buffer])[0]);
    }
  };
  const call = async (operation: SftpOperation): Promise<SftpResponse> => {
    const response = await ask(encodeSftpRequest({ ...operation, id: ++id }));
    assert.ok(response.kind !== "version" && response.id === id);
    return response;
  };
  const ok = async (operation: SftpOperation): Promise<void> => {
    const response = await call(operation);
    assert.ok(response.kind === "status" && response.code === STATUS.ok, operation.kind);
  };
  const version = await ask(encodeSftpRequest({ kind: "init", version: 3, extensions: [] }));
  assert.ok(version.kind === "version" && version.version === 3);
  const path = Buffer.from(join(folder, "file"));
  const moved = Buffer.from(join(folder, "moved"));
  const opened = await call({
    kind: "open",
    path,
    flags: OPEN_FLAGS.write | OPEN_FLAGS.read | OPEN_FLAGS.create,
    attributes: { permissions: 0o640 },
  });
  assert.ok(opened.kind === "handle");
  const { handle } = opened;
  await ok({ kind: "write", handle, offset: 0n, data: Buffer.from("twelve bytes") });
  await ok({ kind: "fsync@openssh.com", handle });
  const read = await call({ kind: "read", handle, offset: 7n, length: 100 });
  assert.deepEqual(read, { kind: "data", id, data: Buffer.from("bytes") });
  await ok({ kind: "fsetstat", handle, attributes: { times: { accessed: 1, modified: 2 } } });
  await ok({ kind: "close", handle });
  await ok({ kind: "rename", from: path, to: moved });
  await ok({ kind: "lsetstat@openssh.com", path: moved, attributes: { permissions: 0o600 } });
  const stat = await call({ kind: "stat", path: moved });
  assert.ok(stat.kind === "attrs");
  assert.equal(stat.attributes.size, 12n);
  assert.equal(stat.attributes.permissions, 0o100600);
  assert.equal(stat.attributes.times?.modified, 2);
  await ok({ kind: "symlink", target: moved, path });
  const link = await call({ kind: "readlink", path });
  assert.ok(link.kind === "name" && link.names[0]?.name.equals(moved));
  const missing = await call({ kind: "opendir", path: Buffer.from(join(folder, "none")) });
  assert.ok(missing.kind === "status" && missing.code === STATUS.noSuchFile);
  const expanded = await call({ kind: "expand-path@openssh.com", path: Buffer.from("~") });
  assert.equal(expanded.kind, "name");
  const unknown = await call({
    kind: "extended",
    name: Buffer.from("nobody@example.com"),
    data: Buffer.alloc(3),
  });
  assert.ok(unknown.kind === "status" && unknown.code === STATUS.unsupported);
});

test("extensions of later servers, written and read", () => {
  const operations: SftpOperation[] = [
    {
      kind: "copy-data",
      handle: Buffer.of(1),
      offset: 2n,
      size: 0n,
      toHandle: Buffer.of(2),
      toOffset: 1n << 40n,
    },
    { kind: "home-directory", user: Buffer.from("web") },
    { kind: "users-groups-by-id@openssh.com", uids: Buffer.alloc(8), gids: Buffer.alloc(4) },
    { kind: "fstatvfs@openssh.com", handle: Buffer.of(9) },
    {
      kind: "setstat",
      path: Buffer.from("p"),
      attributes: {
        size: 1n,
        owner: { uid: 1, gid: 2 },
        extended: [{ name: Buffer.from("a"), data: Buffer.alloc(2) }],
      },
    },
  ];
  for (const operation of operations) {
    const request = { ...operation, id: 5 };
    assert.deepEqual(decodeSftpRequest(encodeSftpRequest(request)), request);
  }
});

test("packets that cannot be are refused", () => {
  const cursor = new SftpCursor({ maxPacketBytes: 100 });
  cursor.push(Buffer.from("00000065", "hex"));
  assert.throws(() => cursor.next(), { code: "limit" });
  const empty = new SftpCursor({ maxPacketBytes: 100 });
  empty.push(Buffer.alloc(4));
  assert.throws(() => empty.next(), { code: "packet" });
  const packet = encodeSftpRequest({ kind: "stat", id: 1, path: Buffer.from("/etc/passwd") });
  for (let end = 0; end < packet.length; end++) {
    assert.throws(() => decodeSftpRequest(packet.subarray(0, end)), SshError);
  }
  assert.throws(() => decodeSftpRequest(Buffer.concat([packet, Buffer.of(0)])), SshError);
  const long = Buffer.concat([packet, Buffer.of(0)]);
  long.writeUInt32BE(long.length - 4);
  assert.throws(() => decodeSftpRequest(long), { code: "trailing" });
  assert.throws(() => decodeSftpResponse(packet), { code: "sequence" });
});
