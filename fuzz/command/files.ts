// Random uses of real programs on real files: where all paths of a command are said to be known, nothing
// changes but what it was said to write, and no other program is started. All in a folder of its own.

import { spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTold, writeTellTales } from "../../conformance/support/shells.ts";
import { type DecidedCommand, readArgv } from "../../packages/gateway/command/decide-command.ts";
import { loadGrammars } from "../../packages/gateway/command/load-grammars.ts";
import type { Random } from "../postgres/random.ts";
import { PROGRAMS } from "./file-words.ts";
import type { Outcome } from "./launchers.ts";

/** What a program here could start; gzip and its like are started by tar, and are real. */
const TELLTALES = [
  "evil",
  "sh",
  "bash",
  "rsh",
  "ssh",
  "pr",
  "less",
  "more",
  "rsync",
  "vi",
  "editor",
];
const FILES = ["a", "b", "d", "d/c", "new", "d/new", "nd/x"];

export function fuzzFiles(random: Random, runs: number): Outcome {
  const grammars = loadGrammars();
  const folder = mkdtempSync(join(tmpdir(), "custody-files-"));
  const { bin, fallback: told } = writeTellTales(folder, TELLTALES, {});
  const work = join(folder, "work");
  const problems: string[] = [];
  let accepted = 0;
  try {
    for (let run = 0; run < runs; run++) {
      const argv = randomUse(random, work);
      const reading = readArgv(
        argv.map((word) => Buffer.from(word)),
        grammars,
      );
      if (!reading.ok || reading.command.effects.some(({ kind }) => kind === "exec_code")) continue;
      accepted++;
      prepare(work, told);
      const before = snapshot(work);
      const [program = "", ...args] = reading.command.argv ?? [];
      const path = [`/usr/bin/${program}`, `/bin/${program}`].find((one) => existsSync(one));
      const env = { PATH: `${bin}:/usr/bin:/bin`, HOME: work };
      const options = { cwd: join(work, "d"), env, input: "1\n2\n", timeout: 10_000 };
      spawnSync(path ?? program, args, options);
      const wrong = [
        ...unsaid(reading.command, before, snapshot(work)).map((one) => `changed ${one}`),
        ...readTold(told).map((call) => `started ${JSON.stringify(call)}`),
      ];
      for (const what of wrong)
        problems.push(`${JSON.stringify(argv)} ${what}`.replaceAll(work, ""));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { accepted, problems };
}

function randomUse(random: Random, work: string): string[] {
  const program = random.pick(Object.keys(PROGRAMS));
  const words = [program];
  for (let left = 1 + random.below(6); left > 0; left--)
    words.push(
      random.chance(0.5) ? random.pick(PROGRAMS[program] ?? []) : join(work, random.pick(FILES)),
    );
  return words;
}

function prepare(work: string, told: string): void {
  for (const path of [work, told]) rmSync(path, { recursive: true, force: true });
  mkdirSync(told);
  mkdirSync(join(work, "d"), { recursive: true });
  for (const name of ["a", "b", "d/c"]) writeFileSync(join(work, name), `1 x\n2 y\n${name}\n`);
}

/** Everything below a folder: path → what it is and has in it. */
function snapshot(folder: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const path = join(folder, name);
    const stat = lstatSync(path);
    const { mode, size } = stat;
    if (stat.isDirectory()) found.set(path, `folder ${mode}`);
    else if (stat.isSymbolicLink()) found.set(path, `link ${readlinkSync(path)}`);
    else if (stat.isFile() && size < 1 << 20)
      found.set(path, `file ${mode} ${readFileSync(path, "latin1")}`);
    else found.set(path, `other ${mode} ${size}`);
  }
  return found;
}

/** What changed and was not said to; folders on the way to what is written are. */
function unsaid(
  { effects }: DecidedCommand,
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): string[] {
  if (effects.some(({ pathsKnown, open }) => !pathsKnown && !open)) return [];
  const writes = effects.flatMap((effect) => effect.writes);
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((path) => before.get(path) !== after.get(path))
    .filter(
      (path) =>
        !writes.some(
          (one) =>
            path === one ||
            path.startsWith(`${one}/`) ||
            (after.get(path)?.startsWith("folder") === true && one.startsWith(`${path}/`)),
        ),
    );
}
