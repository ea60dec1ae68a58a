// The door for a person who has neither a certificate nor a handle: a code, shown by OpenSSH's own client,
// entered with a browser at the identity provider.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@custody/cli/client.ts";
import type { SshCase } from "./checks.ts";
import type { SshStage } from "./stage.ts";

const WAIT_MS = 30_000;

export const DOOR: readonly SshCase[] = [
  {
    name: "a code to sign in with; what came of it ends with the connection",
    async run(stage) {
      const before = new Set((await signIns(stage)).map(({ id }) => id));
      const client = startClient(stage, "echo signed in");
      const uri = await client.shown();
      await stage.provider.approveDevice("engineer", uri);
      const ran = await client.ended;
      assert.deepEqual([ran.code, ran.out], [0, "signed in\n"], client.said());
      await until(async () => {
        const made = (await signIns(stage)).filter(({ id }) => !before.has(id));
        return made.length === 1 && made[0]?.status === "revoked";
      });
    },
  },
  {
    name: "a client that leaves before it has signed in leaves nothing behind",
    async run(stage) {
      const before = (await signIns(stage)).length;
      const client = startClient(stage, "echo never");
      const uri = await client.shown();
      client.leave();
      await client.ended;
      // A person may agree all the same: nobody asks any more.
      await stage.provider.approveDevice("engineer", uri).catch(() => undefined);
      const again = await stage.ssh("data", ["echo still there"]);
      assert.equal(again.code, 0);
      assert.equal((await signIns(stage)).length, before);
    },
  },
];

/** The engineer's sign-ins, as the gateway has them. */
async function signIns(stage: SshStage) {
  const { token } = (await stage.operator(["token"])) as { readonly token: string };
  const client = createClient({
    ...{ url: stage.gateway.url, token, ca: readFileSync(stage.gateway.caFile, "utf8") },
  });
  try {
    const { delegations } = await client.call("delegations");
    return delegations.filter(({ depth }) => depth === 0);
  } finally {
    await client.close();
  }
}

/** ssh whose person presses Enter where it asks for a handle. */
function startClient(stage: SshStage, line: string) {
  const own = ["-o", "PreferredAuthentications=keyboard-interactive", "-o", "LogLevel=INFO"];
  const child = spawn("ssh", [...own, ...stage.options, "127.0.0.1", line], {
    env: {
      ...{ PATH: process.env.PATH, HOME: stage.folder, CUSTODY_TEST_SECRET: "" },
      ...{ SSH_ASKPASS: join(stage.folder, "ask"), SSH_ASKPASS_REQUIRE: "force" },
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  const ended = once(child, "close").then(([code]) => ({ code: Number(code), out }));
  return {
    ended,
    said: () => err,
    leave: () => void child.kill(),
    async shown() {
      await until(
        async () => /with this code: \S+/.test(err),
        () => err,
      );
      return /https:\S+/.exec(err)?.[0] ?? "";
    },
  };
}

async function until(holds: () => Promise<boolean>, about = () => ""): Promise<void> {
  for (let waitedMs = 0; waitedMs < WAIT_MS; waitedMs += 100) {
    if (await holds()) return;
    await delay(100);
  }
  throw new Error(`it did not come to be: ${about()}`);
}
