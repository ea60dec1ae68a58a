// Random uses of real launchers (env, xargs, find, sh, …), with GNU's programs or busybox's: what is read
// as literal is run, and every program that starts must be one that was decided.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTold, writeTellTales } from "../../conformance/support/shells.ts";
import { readArgv } from "../../packages/gateway/command/decide-command.ts";
import { loadGrammars } from "../../packages/gateway/command/load-grammars.ts";
import type { CommandEffect } from "../../packages/gateway/command/scope.ts";
import type { Random } from "../postgres/random.ts";
import { randomInput, randomWords } from "./launcher-words.ts";

export interface Outcome {
  /** Of those that were run: they were literal, and no code. */
  readonly accepted: number;
  readonly problems: readonly string[];
}

const GNU = ["env", "nice", "nohup", "timeout", "setsid", "stdbuf", "ionice", "taskset", "flock"];
const BUSYBOX = ["env", "nice", "nohup", "timeout", "setsid", "flock", "xargs", "find", "sh"];

const PROGRAMS: Readonly<Record<"gnu" | "busybox", Readonly<Record<string, string>>>> = {
  gnu: {
    ...Object.fromEntries(
      [...GNU, "xargs", "find", "bash"].map((name) => [name, `/usr/bin/${name}`]),
    ),
    sh: "/usr/bin/dash",
  },
  busybox: Object.fromEntries(BUSYBOX.map((name) => [name, `/usr/bin/busybox ${name}`])),
};

const GRAMMAR = "programs: { 'p, if': { lenient: true, permute: false, operands: [text...] } }";

export function fuzzLaunchers(kind: "gnu" | "busybox", random: Random, runs: number): Outcome {
  const launchers = PROGRAMS[kind];
  const grammars = loadGrammars([{ name: "telltales", text: GRAMMAR }]);
  const folder = mkdtempSync(join(tmpdir(), "custody-launchers-"));
  const { bin, fallback: told } = writeTellTales(folder, ["p", "if", "evil"], launchers);
  const work = join(folder, "work");
  mkdirSync(work);
  writeFileSync(join(work, "f1"), "");
  const problems: string[] = [];
  let accepted = 0;
  try {
    for (let run = 0; run < runs; run++) {
      const words = randomWords(random, Object.keys(launchers));
      const input = randomInput(random);
      const reading = readArgv(
        words.map((word) => Buffer.from(word)),
        grammars,
      );
      if (!reading.ok || reading.command.effects.some(({ kind }) => kind === "exec_code")) continue;
      accepted++;
      rmSync(told, { recursive: true, force: true });
      mkdirSync(told);
      const [program = "", ...args] = reading.command.argv ?? [];
      const options = { cwd: work, env: { PATH: bin, HOME: work }, input, timeout: 10_000 };
      spawnSync(join(bin, program), args, options);
      for (const call of readTold(told))
        if (!reading.command.effects.some((effect) => isCallOf(call, effect)))
          problems.push(`${JSON.stringify(words)} ran ${JSON.stringify(call)}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { accepted, problems };
}

function isCallOf(call: readonly string[], effect: CommandEffect): boolean {
  if (effect.open) return call[0] === effect.program;
  return JSON.stringify(call) === JSON.stringify([effect.program, ...effect.arguments]);
}
