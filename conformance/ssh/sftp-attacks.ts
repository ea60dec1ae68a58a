// Attempts to reach by SFTP what policies forbid, packet by packet: other names of a forbidden path, what
// can be done with an open file, messages a client would never send. `*/secret/*` is nobody's.

import assert from "node:assert/strict";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { OPEN_FLAGS, type SftpOperation, STATUS } from "@custody/wire/ssh/sftp-messages.ts";
import type { SshCase } from "./checks.ts";
import { openSftp, type RawSftp } from "./raw-sftp.ts";
import type { SshStage } from "./stage.ts";

const { create, read, truncate, write } = OPEN_FLAGS;
const bytes = (text: string) => Buffer.from(text);

export const SFTP_ATTACKS: readonly SshCase[] = [
  {
    name: "SFTP: a forbidden file by every other name of it",
    run: (stage) =>
      inPlace(stage, async (sftp, place) => {
        symlinkSync(join(place, "secret"), join(place, "link"));
        symlinkSync("link", join(place, "link-to-link"));
        symlinkSync(join(place, "secret", "key"), join(place, "file-link"));
        symlinkSync("/", join(place, "root"));
        for (const path of [
          `${place}/secret/key`,
          `${place}//secret///key`,
          `${place}/./secret/./key`,
          `${place}/x/../secret/key`,
          `${place}/link/key`,
          `${place}/link-to-link/key`,
          `${place}/file-link`,
          `${place}/root${place}/secret/key`,
          `${place}/link/../secret/key`,
          `/proc/self/root${place}/secret/key`,
          `${"../".repeat(40)}${place.slice(1)}/secret/key`,
        ]) {
          for (const flags of [read, write, read | write, write | truncate, create | write, 0])
            await denied(sftp, { kind: "open", path: bytes(path), flags, attributes: {} }, path);
          await denied(sftp, { kind: "stat", path: bytes(path) }, path);
          await denied(sftp, { kind: "setstat", path: bytes(path), attributes: MODE }, path);
        }
        assert.equal(readFileSync(join(place, "secret", "key"), "utf8"), "hidden");
      }),
  },
  {
    name: "SFTP: moving, linking and removing what is forbidden, or into it",
    run: (stage) =>
      inPlace(stage, async (sftp, place) => {
        const secret = `${place}/secret/key`;
        const open = `${place}/open`;
        for (const kind of [
          "rename",
          "posix-rename@openssh.com",
          "hardlink@openssh.com",
        ] as const) {
          await denied(sftp, { kind, from: bytes(secret), to: bytes(`${place}/out`) }, kind);
          await denied(sftp, { kind, from: bytes(open), to: bytes(`${place}/secret/in`) }, kind);
        }
        await denied(sftp, { kind: "remove", path: bytes(secret) }, "remove");
        const inside = bytes(`${place}/secret/dir`);
        await denied(sftp, { kind: "mkdir", path: inside, attributes: {} }, "mkdir");
        await denied(sftp, { kind: "symlink", target: bytes("/"), path: inside }, "symlink");
        await denied(sftp, { kind: "readlink", path: inside }, "readlink");
        await denied(sftp, { kind: "lstat", path: bytes(secret) }, "lstat");
        assert.ok(existsSync(secret) && existsSync(open) && !existsSync(`${place}/out`));
      }),
  },
  {
    name: "SFTP: a link made in place of a file, and followed, leads nowhere forbidden",
    run: (stage) =>
      inPlace(stage, async (sftp, place) => {
        // Making a link is writing where it lies; it is what is behind it that is judged then.
        const link = bytes(`${place}/made`);
        const made = await sftp.ask({
          kind: "symlink",
          target: bytes(`${place}/secret/key`),
          path: link,
        });
        assert.equal(made.kind === "status" && made.code, STATUS.ok);
        await denied(sftp, { kind: "open", path: link, flags: read, attributes: {} }, "made");
        const removed = await sftp.ask({ kind: "remove", path: link });
        assert.equal(removed.kind === "status" && removed.code, STATUS.ok);
        assert.ok(existsSync(`${place}/secret/key`));
        assert.throws(() => lstatSync(`${place}/made`));
      }),
  },
  {
    name: "SFTP: a file opened for reading stays unchanged, whatever is asked of it",
    run: (stage) =>
      inPlace(stage, async (sftp, place) => {
        const path = bytes(`${place}/open`);
        const opened = await sftp.ask({ kind: "open", path, flags: read, attributes: {} });
        assert.ok(opened.kind === "handle");
        const { handle } = opened;
        const before = statSync(`${place}/open`);
        for (const request of [
          { kind: "write", handle, offset: 0n, data: bytes("changed") },
          { kind: "fsetstat", handle, attributes: MODE },
          { kind: "fsetstat", handle, attributes: { size: 0n } },
          {
            kind: "copy-data",
            ...{ handle, offset: 0n, size: 0n, toHandle: handle, toOffset: 0n },
          },
        ] as const)
          await denied(sftp, request, request.kind);
        const after = statSync(`${place}/open`);
        assert.deepEqual([after.mode, after.size], [before.mode, before.size]);
        const data = await sftp.ask({ kind: "read", handle, offset: 0n, length: 100 });
        assert.equal(data.kind === "data" && data.data.toString(), "open");
      }),
  },
  {
    name: "SFTP: handles nobody was given, unknown requests, paths that are none",
    run: (stage) =>
      inPlace(stage, async (sftp, place) => {
        for (const handle of [Buffer.alloc(4), Buffer.of(0, 0, 0, 1), bytes("x"), Buffer.alloc(0)])
          for (const kind of ["close", "fstat", "readdir"] as const)
            await refused(sftp, { kind, handle });
        await refused(sftp, { kind: "extended", name: bytes("x@y"), data: bytes(place) });
        await refused(sftp, { kind: "expand-path@openssh.com", path: bytes("~root") });
        await refused(sftp, { kind: "home-directory", user: bytes("root") });
        for (const path of [bytes(`${place}/a\0b`), Buffer.of(0x2f, 0xff), bytes("/a\nb")])
          await denied(sftp, { kind: "open", path, flags: read, attributes: {} }, "no path");
        const deep = bytes(`/${"a/".repeat(200)}b`);
        await denied(sftp, { kind: "mkdir", path: deep, attributes: {} }, "deep");
      }),
  },
  {
    name: "SFTP: a thousand requests at once are answered in their own names",
    run: (stage) =>
      inPlace(stage, async (sftp, place) => {
        const answers = await Promise.all(
          Array.from({ length: 1000 }, (_, n) =>
            sftp.ask({
              kind: "lstat",
              path: bytes(n % 2 === 0 ? `${place}/open` : `${place}/secret/key`),
            }),
          ),
        );
        for (const [n, answer] of answers.entries())
          assert.equal(answer.kind, n % 2 === 0 ? "attrs" : "status", String(n));
      }),
  },
];

const MODE = { permissions: 0o100777 };

async function inPlace(
  stage: SshStage,
  run: (sftp: RawSftp, place: string) => Promise<void>,
): Promise<void> {
  const place = join(stage.folder, "attacked");
  rmSync(place, { recursive: true, force: true });
  mkdirSync(join(place, "secret"), { recursive: true });
  mkdirSync(join(place, "x"));
  writeFileSync(join(place, "secret", "key"), "hidden");
  writeFileSync(join(place, "open"), "open");
  linkSync(join(place, "open"), join(place, "open2"));
  await using sftp = await openSftp(stage);
  await run(sftp, place);
}

async function denied(sftp: RawSftp, request: SftpOperation, what: string): Promise<void> {
  const answer = await sftp.ask(request);
  assert.equal(
    answer.kind === "status" ? answer.code : answer.kind,
    STATUS.permissionDenied,
    `${request.kind} ${what}`,
  );
}

/** In whatever words, but no success. */
async function refused(sftp: RawSftp, request: SftpOperation): Promise<void> {
  const answer = await sftp.ask(request);
  assert.ok(answer.kind === "status" && answer.code !== STATUS.ok, request.kind);
}
