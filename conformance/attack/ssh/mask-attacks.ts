// Attempts to see a value that a permit has masked: cut over packets and reads, with a terminal's sequences
// in it, on stderr, under another name, in what is no text. Everything below `masked` is read with masks;
// `cat`, `printf`, `scp` and `mv` write with them.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OPEN_FLAGS, STATUS } from "@custody/wire/ssh/sftp-messages.ts";
import type { SshCase } from "../../ssh/checks.ts";
import { openSftp, type RawSftp } from "../../ssh/raw-sftp.ts";
import type { SshStage } from "../../ssh/stage.ts";

export const MASK_POLICIES = `
@id("output-is-masked")
@mask("pii.card, pii.email")
permit (principal, action == SSH::Action::"exec", resource)
when { ["cat", "printf", "scp"].contains(resource.program) };
@id("files-are-masked")
@mask("pii.card, pii.email")
permit (principal, action in SSH::Action::"data", resource is SSH::Path)
when { resource.path like "*/masked/*" };
@id("what-is-not-detected")
@mask("pii.unheard-of")
permit (principal, action == SSH::Action::"exec", resource)
when { resource.program == "uname" };
`;

export const MASK_ATTACKS: readonly SshCase[] = [
  {
    name: "masks: values cut by the packets of a long output",
    run: async (stage) => {
      const file = written(stage, "long", LONG);
      const ran = await stage.ssh("data", [`cat ${file}`]);
      assert.equal(ran.code, 0, ran.stderr);
      assert.deepEqual(leaks(ran.stdout), []);
      assert.equal(ran.stdout.toString("latin1"), LONG.replaceAll(VALUES, nameOf));
      assert.match(ran.stderr, /Custody masked what was found of pii\.card \(\d+\), pii\.email/);
    },
  },
  {
    name: "masks: values with colours inside, and on stderr",
    run: async (stage) => {
      const file = written(stage, "coloured", "a \x1b[1mzq\x1b[31m7canary@exam\x1b[0mple.net b\n");
      const ran = await stage.ssh("data", [`cat ${file} ${file}-zq7canary@example.net`]);
      assert.match(ran.stdout.toString("latin1"), /^a .*\[masked pii\.email\].* b\n$/);
      assert.match(ran.stderr, /\[masked pii\.email\]: No such file/);
      assert.ok(!ran.stderr.includes("canary"));
    },
  },
  {
    name: "masks: the recording has what the client saw, the log which classes",
    run: async (stage) => {
      const file = written(stage, "recorded", "to zq7canary@example.net\n");
      await stage.ssh("data", [`cat ${file}`]);
      const shown = Buffer.from("to [masked pii.email]\n").toString("base64");
      const has = (text: string) => text.includes("to [masked pii.email]") || text.includes(shown);
      const untilMs = Date.now() + 30_000;
      let text: string | undefined;
      while (text === undefined && Date.now() < untilMs) text = (await recorded(stage)).find(has);
      assert.ok(text !== undefined, "no recording has it");
      const plain = ["canary@", Buffer.from("to zq7canary@example.net\n").toString("base64")];
      for (const one of plain) assert.ok(!text.includes(one));
    },
  },
  {
    name: "masks: what is no text, and what moves files, is refused and not corrupted",
    run: async (stage) => {
      const file = written(stage, "binary", "zq7canary@example.net \0 more");
      const ran = await stage.ssh("data", [`cat ${file}`]);
      assert.equal(ran.code, 124);
      assert.match(ran.stderr, /stopped: .* cannot be masked: it is not text/);
      assert.equal(ran.stdout.length, 0);
      const moved = await stage.ssh("data", [`scp -f ${file}`]);
      assert.equal(moved.code, 126);
      assert.match(moved.stderr, /sends more than text/);
      const unheard = await stage.ssh("data", ["uname"]);
      assert.equal(unheard.code, 126);
      assert.match(unheard.stderr, /pii\.unheard-of masked, which this target does not detect/);
    },
  },
  {
    name: "masks: a file read in ranges of any place and length",
    run: async (stage) => {
      const file = written(stage, "ranges", LONG);
      const expected = LONG.replaceAll(VALUES, (value) => "*".repeat(value.length));
      await using sftp = await openSftp(stage);
      const handle = await opened(sftp, file, OPEN_FLAGS.read);
      const first = LONG.indexOf("zq7canary@");
      const ranges = Array.from(
        { length: 30 },
        (_, n) => [first - 5 + n, 1 + ((n * 7) % 23)] as const,
      );
      for (const [offset, length] of [
        ...ranges,
        [32_760, 16],
        [0, 5],
        [LONG.length - 3, 99],
      ] as const) {
        const answer = await sftp.ask({ kind: "read", handle, offset: BigInt(offset), length });
        assert.ok(answer.kind === "data", answer.kind);
        assert.equal(
          answer.data.toString("latin1"),
          expected.slice(offset, offset + length),
          `${offset}+${length}`,
        );
      }
      const end = await sftp.ask({ kind: "read", handle, offset: BigInt(LONG.length), length: 9 });
      assert.equal(end.kind === "status" ? end.code : end.kind, STATUS.eof);
      const size = await sftp.ask({ kind: "fstat", handle });
      assert.equal(size.kind === "attrs" ? Number(size.attributes.size) : 0, LONG.length);
    },
  },
  {
    name: "masks: a whole file by the sftp that is there, byte for byte but for what is masked",
    run: async (stage) => {
      const file = written(stage, "fetched", LONG);
      const copy = join(stage.folder, "fetched");
      rmSync(copy, { force: true });
      const ran = await stage.sftp("data", [`get ${file} ${copy}`]);
      assert.equal(ran.code, 0, ran.stderr);
      assert.match(ran.stderr, /Custody masked what was found of/);
      const expected = LONG.replaceAll(VALUES, (value) => "*".repeat(value.length));
      assert.equal(readFileSync(copy, "latin1"), expected);
    },
  },
  {
    name: "masks: a file under another name, by a link, as a copy, or opened for both",
    run: async (stage) => {
      const file = written(stage, "named", "zq7canary@example.net ");
      const place = join(stage.folder, "plain");
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place);
      symlinkSync(file, join(place, "link"));
      await using sftp = await openSftp(stage);
      const [from, to] = [Buffer.from(file), Buffer.from(join(place, "moved"))];
      for (const kind of ["rename", "posix-rename@openssh.com", "hardlink@openssh.com"] as const) {
        const answer = await sftp.ask({ kind, from, to });
        assert.equal(answer.kind === "status" ? answer.code : 0, STATUS.permissionDenied, kind);
      }
      const both = await sftp.ask({
        ...{ kind: "open", path: from, flags: OPEN_FLAGS.read | OPEN_FLAGS.write },
        attributes: {},
      });
      assert.equal(both.kind === "status" ? both.code : 0, STATUS.permissionDenied);
      const handle = await opened(sftp, join(place, "link"), OPEN_FLAGS.read);
      const read = await sftp.ask({ kind: "read", handle, offset: 0n, length: 100 });
      assert.equal(read.kind === "data" ? read.data.toString() : "", `${"*".repeat(21)} `);
      const { create, write } = OPEN_FLAGS;
      const toHandle = await opened(sftp, join(place, "copy"), create | write);
      const copied = await sftp.ask({
        ...{ kind: "copy-data", handle, offset: 0n, size: 0n, toHandle, toOffset: 0n },
      });
      assert.equal(copied.kind === "status" ? copied.code : 0, STATUS.permissionDenied);
      assert.equal(readFileSync(join(place, "copy")).length, 0);
      assert.ok(!existsSync(join(place, "moved")));
    },
  },
  {
    name: "masks: a binary file is not read, and not changed",
    run: async (stage) => {
      const file = written(stage, "binary-file", "zq7canary@example.net\0");
      await using sftp = await openSftp(stage);
      const handle = await opened(sftp, file, OPEN_FLAGS.read);
      const answer = await sftp.ask({ kind: "read", handle, offset: 0n, length: 5 });
      assert.equal(answer.kind === "status" ? answer.code : 0, STATUS.failure);
    },
  },
];

const CARD = "4242424242424242";
/** Of odd length, so that values fall on every place of a packet. */
const LONG = Array.from(
  { length: 4001 },
  (_, n) =>
    `line ${n} to zq7canary@example.net by ${n % 2 === 0 ? CARD : "4242 4242 4242 4242"};\n`,
).join("");
const VALUES = /zq7canary@example\.net|4242 ?4242 ?4242 ?4242/g;

function nameOf(value: string): string {
  return value.includes("@") ? "[masked pii.email]" : "[masked pii.card]";
}

function leaks(output: Buffer): readonly string[] {
  return output.toString("latin1").match(/canary|4242/g) ?? [];
}

/** Of the sessions before, the latest ones, one by one. */
async function recorded(stage: SshStage): Promise<readonly string[]> {
  const { sessions } = (await stage.operator(["sessions"])) as {
    sessions: readonly { readonly id: string }[];
  };
  const recordings: string[] = [];
  for (const { id } of sessions.slice(0, 3))
    recordings.push(JSON.stringify(await stage.replay(id)));
  return recordings;
}

function written(stage: SshStage, name: string, text: string): string {
  const place = join(stage.folder, "masked");
  mkdirSync(place, { recursive: true });
  const file = join(place, name);
  rmSync(file, { force: true });
  writeFileSync(file, text, "latin1");
  return file;
}

async function opened(sftp: RawSftp, path: string, flags: number): Promise<Buffer> {
  const request = { kind: "open", path: Buffer.from(path), flags, attributes: {} } as const;
  const answer = await sftp.ask(request);
  assert.ok(answer.kind === "handle", JSON.stringify(answer));
  return answer.handle;
}
