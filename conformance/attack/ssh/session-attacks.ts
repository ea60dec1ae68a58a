// Attempts on what surrounds the lines: what is sent before anything was decided, and what is done with
// the time people take. The attacker holds a delegation of little: it reads by SFTP below `open`.

import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { encodeSftpRequest } from "@custody/wire/ssh/sftp.ts";
import { OPEN_FLAGS, STATUS } from "@custody/wire/ssh/sftp-messages.ts";
import type { SshCase } from "../../ssh/checks.ts";
import { openSftp, type SftpAnswer } from "../../ssh/raw-sftp.ts";
import type { SshStage } from "../../ssh/stage.ts";
import { openWireClient, type WireClient } from "../../ssh/wire-client.ts";

export const SESSION_POLICIES = `
@id("everybody-connects")
permit (principal, action == Custody::Action::"connect", resource);
@id("everybody-delegates")
permit (principal, action == Custody::Action::"delegate", resource);
@id("data-for-everybody")
permit (principal, action in SSH::Action::"data", resource);
@id("held-waits")
@approvers("corp/operators")
@quorum("1")
@approval_ttl("5m")
forbid (principal, action == SSH::Action::"sftp_write", resource is SSH::Path)
when { resource.path like "*/held/*" }
unless { context.approved };
@id("touching-waits")
@approvers("corp/operators")
@quorum("1")
forbid (principal, action == SSH::Action::"exec", resource)
when { resource.program == "touch" }
unless { context.approved };
@id("little-is-read")
@max_bytes("16B")
permit (principal, action == SSH::Action::"sftp_read", resource is SSH::Path)
when { resource.path like "*/little/*" };
@id("operators-approve")
permit (
  principal in Custody::Group::"corp/operators",
  action in [Custody::Action::"approve", Custody::Action::"replay", Custody::Action::"administer"],
  resource
);
`;

export const SESSION_ATTACKS: readonly SshCase[] = [
  {
    name: "SFTP requests in the same breath as the subsystem that is to read them",
    run: async (stage) => {
      const place = emptied(stage, "early-sftp");
      await using client = await openAs(stage, "ssh:sftp_read", `${place}/open/*`);
      const { connection } = client;
      const channel = connection.openChannel({ kind: "session" });
      client.flush();
      await delay(SETTLED_MS);
      const made = Buffer.from(join(place, "made"));
      const { create, truncate, write } = OPEN_FLAGS;
      connection.requestChannel(channel, { kind: "subsystem", name: Buffer.from("sftp") });
      connection.sendData(
        channel,
        Buffer.concat([
          encodeSftpRequest({ kind: "init", version: 3, extensions: [] }),
          encodeSftpRequest({
            ...{ kind: "open", id: 1, path: made, flags: create | truncate | write },
            attributes: {},
          }),
          encodeSftpRequest({
            ...{ kind: "mkdir", id: 2, path: Buffer.from(join(place, "folder")) },
            attributes: {},
          }),
        ]),
      );
      client.flush();
      await delay(SETTLED_MS);
      assert.deepEqual([existsSync(made), existsSync(join(place, "folder"))], [false, false]);
    },
  },
  {
    name: "input in the same breath as the command that reads it is recorded",
    run: async (stage) => {
      await using client = await openAs(stage, "ssh:data", "*");
      const { connection } = client;
      const channel = connection.openChannel({ kind: "session" });
      client.flush();
      await delay(SETTLED_MS);
      connection.requestChannel(channel, { kind: "exec", command: Buffer.from("wc -c") });
      connection.sendData(channel, Buffer.from(EARLY_INPUT));
      connection.sendEof(channel);
      client.flush();
      await delay(SETTLED_MS);
      const text = await recorded(stage);
      const bytes = Buffer.from(EARLY_INPUT).toString("base64");
      assert.ok(text.includes(EARLY_INPUT) || text.includes(bytes), text);
    },
  },
  {
    name: "a folder that becomes a link to elsewhere while people read what was asked",
    run: async (stage) => {
      const place = emptied(stage, "held");
      mkdirSync(join(place, "a"));
      writeFileSync(join(place, "open", "file"), "whole");
      await using sftp = await openSftp(stage);
      const { truncate, write } = OPEN_FLAGS;
      const path = Buffer.from(join(place, "a", "file"));
      const answer = sftp.ask({ kind: "open", path, flags: write | truncate, attributes: {} });
      const request = await stage.nextRequest();
      rmSync(join(place, "a"), { recursive: true });
      symlinkSync(join(place, "open"), join(place, "a"));
      await stage.operator(["approve", request, "--reason", "as it is"]);
      assert.equal(codeOf(await answer), STATUS.permissionDenied);
      assert.equal(readFileSync(join(place, "open", "file"), "utf8"), "whole");
    },
  },
  {
    name: "more of a file than may be read of it, at once or piece by piece",
    run: async (stage) => {
      const place = emptied(stage, "little");
      writeFileSync(join(place, "file"), "x".repeat(100));
      await using sftp = await openSftp(stage);
      const path = Buffer.from(join(place, "file"));
      const opened = await sftp.ask({
        ...{ kind: "open", path, flags: OPEN_FLAGS.read },
        attributes: {},
      });
      assert.ok(opened.kind === "handle");
      const { handle } = opened;
      const read = async (offset: bigint, length: number) =>
        codeOf(await sftp.ask({ kind: "read", handle, offset, length }));
      assert.equal(await read(0n, 100), STATUS.permissionDenied);
      assert.equal(await read(0n, 16), "data");
      assert.equal(await read(16n, 1), STATUS.permissionDenied);
    },
  },
  {
    name: "consent to one mode of a file, spent on another",
    run: async (stage) => {
      const place = emptied(stage, "held");
      const file = join(place, "file");
      writeFileSync(file, "", { mode: 0o644 });
      const path = Buffer.from(file);
      const mode = (permissions: number) =>
        ({ kind: "setstat", path, attributes: { permissions } }) as const;
      {
        await using sftp = await openSftp(stage);
        sftp.ask(mode(0o600)).catch(() => undefined);
        const request = await stage.nextRequest();
        await stage.operator(["approve", request, "--reason", "private"]);
        await delay(SETTLED_MS);
      }
      assert.equal(statSync(file).mode & 0o7777, 0o600);
      let request: string;
      {
        // Its connection ends before it is decided: consent is kept for the same, asked again.
        await using sftp = await openSftp(stage);
        sftp.ask(mode(0o640)).catch(() => undefined);
        request = await stage.nextRequest();
      }
      await stage.operator(["approve", request, "--reason", "for the group"]);
      await using sftp = await openSftp(stage);
      sftp.ask(mode(0o4777)).catch(() => undefined);
      assert.notEqual(await stage.nextRequest(), request);
      assert.equal(statSync(file).mode & 0o7777, 0o600);
    },
  },
];

const SETTLED_MS = 800;
const EARLY_INPUT = "sent before anybody decided";

function emptied(stage: SshStage, name: string): string {
  const place = join(stage.folder, name);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(join(place, "open"), { recursive: true });
  return place;
}

async function openAs(stage: SshStage, actions: string, resources: string): Promise<WireClient> {
  const secret = await stage.delegate("attacker", actions, resources);
  return openWireClient({ port: Number(stage.port), user: "web-1", secret });
}

function codeOf(answer: SftpAnswer): number | string {
  return answer.kind === "status" ? answer.code : answer.kind;
}

/** What was recorded of every session that is open. */
async function recorded(stage: SshStage): Promise<string> {
  const { sessions } = (await stage.operator(["sessions"])) as {
    sessions: readonly { readonly id: string }[];
  };
  const lines: unknown[] = [];
  for (const { id } of sessions) lines.push(...(await stage.replay(id)));
  return JSON.stringify(lines);
}
