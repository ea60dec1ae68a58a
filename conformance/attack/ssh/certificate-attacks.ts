// What somebody could do who took the certificate and key of one approved command off the gateway: with
// OpenSSH's own clients, straight to the host.

import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { privateKeyText } from "@custody/cli/ssh-key.ts";
import { openSshKeys } from "@custody/gateway/credential/ssh-keys.ts";
import { sessionCertificate } from "@custody/gateway/proxy/ssh/certificates.ts";
import { publicKeyLine } from "@custody/wire/ssh/keys.ts";
import type { SshCase } from "../../ssh/checks.ts";
import { type Ran, runProgram, type SshStage } from "../../ssh/stage.ts";

export const CERTIFICATE_ATTACKS: readonly SshCase[] = [
  {
    name: "an approved command runs by a certificate that runs nothing else",
    run: async (stage) => {
      const file = join(stage.folder, "approved");
      const before = stage.server.log().length;
      const pending = stage.ssh("data", [`touch ${file}`]);
      await stage.approveNext("it is wanted");
      const ran = await pending;
      assert.equal(ran.code, 0, ran.stderr);
      assert.ok(existsSync(file));
      const forced = /Starting session: forced-command \(key-option\) ''?touch'/;
      // What sshd writes comes by a pipe of its own.
      const untilMs = Date.now() + 30_000;
      while (!forced.test(stage.server.log().slice(before)) && Date.now() < untilMs)
        await delay(50);
      assert.match(stage.server.log().slice(before), forced);
      // What needs nobody's consent shares the session's connection.
      const shared = stage.server.log().length;
      assert.equal((await stage.ssh("data", ["uptime"])).code, 0);
      assert.doesNotMatch(stage.server.log().slice(shared), /forced-command/);
    },
  },
  {
    name: "the certificate of an approved command, taken: another command, files, a shell, a way on",
    needs: ["/usr/bin/ssh", "/usr/bin/sftp"],
    run: async (stage) => {
      const told = join(stage.folder, "told");
      const stolen = await taken(stage, `'echo' 'approved'`);
      const same = await stolen.ssh([], [`touch ${told}`]);
      assert.equal(same.stdout.toString(), "approved\n");
      const shell = await stolen.ssh(["-tt"], []);
      assert.match(shell.stdout.toString(), /^approved\r?\n$/);
      const subsystem = await stolen.ssh(["-s"], ["sftp"]);
      assert.equal(subsystem.stdout.toString(), "approved\n");
      const way = await stolen.ssh(["-W", `127.0.0.1:${stage.server.port}`], []);
      assert.notEqual(way.code, 0);
      assert.equal(way.stdout.length, 0);
      for (const option of ["-R0:127.0.0.1:1", "-A"]) {
        const forwarded = await stolen.ssh([option, "-o", "ExitOnForwardFailure=yes"], ["true"]);
        assert.doesNotMatch(forwarded.stdout.toString(), /true/);
        if (option !== "-A") assert.notEqual(forwarded.code, 0);
      }
      assert.ok(!existsSync(told));
    },
  },
  {
    name: "the certificate of an approved command, taken: from another address, and later",
    run: async (stage) => {
      const elsewhere = await taken(stage, "'echo' 'approved'", { sourceAddress: "192.0.2.7" });
      const ran = await elsewhere.ssh([], ["true"]);
      assert.equal(ran.code, 255);
      assert.equal(ran.stdout.length, 0);
      const late = await taken(stage, "'echo' 'approved'", { ageMs: 121_000 });
      assert.equal((await late.ssh([], ["true"])).code, 255);
    },
  },
];

interface Stolen {
  ssh(options: readonly string[], words: readonly string[]): Promise<Ran>;
}

/** As the gateway makes it for `line`, and a stock client that has it. */
async function taken(
  stage: SshStage,
  line: string,
  { sourceAddress, ageMs = 0 }: { readonly sourceAddress?: string; readonly ageMs?: number } = {},
): Promise<Stolen> {
  const { targetCa } = openSshKeys(join(stage.folder, "authority"));
  const clock = { nowMs: () => Date.now() - ageMs };
  const random = (count: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(count)));
  const { server } = stage;
  const made = await sessionCertificate({ clock, random }, targetCa, {
    ...{ sessionId: "s-taken", chain: "somebody", principals: [server.user] },
    expiresAtMs: clock.nowMs() + 3_600_000,
    ...{ sourceAddress, command: line },
  });
  const key = join(stage.folder, "taken");
  for (const file of [key, `${key}-cert.pub`]) rmSync(file, { force: true });
  writeFileSync(key, privateKeyText(made.privateKey), { mode: 0o600 });
  writeFileSync(`${key}-cert.pub`, `${publicKeyLine(made.certificate)}\n`);
  const knownHosts = `${key}-known`;
  writeFileSync(knownHosts, `[127.0.0.1]:${server.port} ${server.hostKey}\n`);
  const options = [
    ...["-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"],
    ...["-o", `UserKnownHostsFile=${knownHosts}`, "-o", "BatchMode=yes"],
    ...["-p", String(server.port), "-l", server.user],
  ];
  return {
    ssh: (more, words) =>
      runProgram(["ssh", ...options, ...more, "127.0.0.1", ...words], {
        env: { PATH: process.env.PATH ?? "", HOME: stage.folder, LC_ALL: "C.UTF-8" },
      }),
  };
}
