// Commands that wait for people while what they are read by changes.

import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { SshCase } from "./checks.ts";
import type { SshStage } from "./stage.ts";

/** Its operands: text, or paths that are written. */
export const deployer = (operands: "text" | "write"): string =>
  `programs:\n  deployer:\n    operands: [${operands}...]\n`;

export const HELD: readonly SshCase[] = [
  {
    name: "what was approved is what runs: a grammar that reads it otherwise by then voids the approval",
    async run(stage) {
      const mark = join(stage.folder, "deployed");
      const ask = () => stage.ssh("data", [`deployer ${mark}`]);
      const first = ask();
      const id = await stage.nextRequest();
      await load(stage, deployer("write"));
      await stage.operator(["approve", id, "--reason", "as it was read"]);
      const voided = await first;
      assert.equal(voided.code, 125, voided.stderr);
      assert.match(voided.stderr, /what was approved is no longer what would run; not executed/);
      // Asked again it is read anew, and what people consent to then is what runs: the host has no such program.
      const second = ask();
      const next = await stage.nextRequest();
      assert.notEqual(next, id);
      await stage.operator(["approve", next, "--reason", "as it is read now"]);
      const ran = await second;
      assert.equal(ran.code, 127, ran.stderr);
      // A change that leaves the reading as it is voids nothing.
      const third = ask();
      const last = await stage.nextRequest();
      await load(stage, `${deployer("write")}  other-deployer:\n    operands: [text]\n`);
      await stage.operator(["approve", last, "--reason", "still the same"]);
      assert.equal((await third).code, 127);
      assert.equal(existsSync(mark), false);
    },
  },
];

async function load(stage: SshStage, grammars: string): Promise<void> {
  const loaded = () => stage.gateway.output().split("configuration loaded").length;
  const before = loaded();
  writeFileSync(join(stage.folder, "grammars.yaml"), grammars);
  process.kill(stage.gateway.pid, "SIGHUP");
  for (let waitedMs = 0; waitedMs < 30_000; waitedMs += 50) {
    if (loaded() > before) return;
    await delay(50);
  }
  throw new Error(`the grammar was not loaded: ${stage.gateway.output().slice(-1000)}`);
}
