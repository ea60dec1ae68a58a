// Real shells for tests. Lines are run in each shell the machine has, each line in a folder of its own,
// with tell-tale programs as the only ones on the path: each writes down the words it was started with.

import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Shell {
  readonly name: string;
  /** Before the line, as a login shell gets it from sshd. */
  readonly line: readonly string[];
  /** Before a file of lines. */
  readonly file: readonly string[];
}

/** What a line did: each started tell-tale's words, its own name first, in the order of `byWords`. */
export interface Seen {
  readonly calls: readonly (readonly string[])[];
  /** Files that were made where it ran. */
  readonly files: readonly string[];
}

export interface Playground extends Disposable {
  /** One process for all lines: for many. */
  runAll(shell: Shell, lines: readonly string[]): readonly Seen[];
  /** As `sh -c`: for lines that may break the shell they are in. */
  run(shell: Shell, line: string): Seen;
}

const CANDIDATES: readonly Shell[] = [
  shell("dash", "/usr/bin/dash"),
  shell("bash", "/usr/bin/bash"),
  shell("bash --posix", "/usr/bin/bash", "--posix"),
  shell("busybox", "/usr/bin/busybox", "sh"),
  shell("mksh", "/usr/bin/mksh"),
  shell("zsh", "/usr/bin/zsh", "-f"),
  shell("zsh --emulate ksh", "/usr/bin/zsh", "--emulate", "ksh", "-f"),
];

/** The shells of this machine; dash and bash are of every Debian. */
export function shells(): readonly Shell[] {
  const found = CANDIDATES.filter(({ file }) => existsSync(file[0] ?? ""));
  for (const needed of ["dash", "bash"])
    if (!found.some(({ name }) => name === needed)) throw new Error(`${needed} is not installed`);
  return found;
}

export function byWords(one: readonly string[], other: readonly string[]): number {
  return JSON.stringify(one) < JSON.stringify(other) ? -1 : 1;
}

export interface TellTales {
  /** The folder they are in, and nothing else: a PATH. */
  readonly bin: string;
  /** Where they write without the variable TELL, as env -i leaves them. */
  readonly fallback: string;
}

/**
 * `names`: tell-tale programs, which do nothing else. `launchers`: name → program; these tell as well and
 * then run the program in their place.
 */
export function writeTellTales(
  folder: string,
  names: readonly string[],
  launchers: Readonly<Record<string, string>>,
): TellTales {
  const bin = join(folder, "bin");
  const fallback = join(folder, "now");
  mkdirSync(bin);
  // One file a process: several of a pipeline write at once. A launcher keeps its number, so what it
  // becomes writes beside it and not over it. dash's printf gives NUL for \0.
  const tell = `f="\${TELL:-${fallback}}/$$"; while test -e "$f"; do f="$f+"; done\nprintf '%s\\0' "\${0##*/}" "$@" >"$f"\n`;
  writeFileSync(join(folder, "telltale"), `#!/usr/bin/dash\n${tell}`, { mode: 0o755 });
  for (const name of names) symlinkSync("../telltale", join(bin, name));
  for (const [name, path] of Object.entries(launchers))
    writeFileSync(join(bin, name), `#!/usr/bin/dash\n${tell}exec ${path} "$@"\n`, { mode: 0o755 });
  return { bin, fallback };
}

/** What was told in a folder, in the order of `byWords`. */
export function readTold(folder: string): readonly (readonly string[])[] {
  return readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), "utf8").split("\0").slice(0, -1))
    .sort(byWords);
}

export function openPlayground(
  names: readonly string[],
  launchers: Readonly<Record<string, string>> = {},
): Playground {
  const folder = mkdtempSync(join(tmpdir(), "custody-shell-"));
  const { bin, fallback } = writeTellTales(folder, names, launchers);
  let count = 0;

  function prepare(): { readonly work: string; readonly tell: string } {
    const base = join(folder, `case-${++count}`);
    const [work, tell] = [join(base, "work"), join(base, "tell")];
    mkdirSync(work, { recursive: true });
    mkdirSync(tell);
    return { work, tell };
  }

  function start(argv: readonly string[], cwd: string, tell: string): void {
    const [program = "", ...args] = argv;
    spawnSync(program, args, {
      cwd,
      env: { PATH: bin, HOME: cwd, LANG: "C.UTF-8", TELL: tell },
      stdio: "ignore",
      timeout: 60_000,
    });
  }

  return {
    runAll(shell, lines) {
      const places = lines.map(prepare);
      const script = lines.map((line, index) => {
        const { work, tell } = places[index] ?? prepare();
        return `TELL=${tell}\nexport TELL\ncd ${work}\n${line}\nwait\n`;
      });
      const file = join(folder, `lines-${count}`);
      writeFileSync(file, script.join(""));
      start([...shell.file, file], folder, folder);
      return places.map(look);
    },
    run(shell, line) {
      const { work, tell } = prepare();
      rmSync(fallback, { force: true });
      symlinkSync(tell, fallback);
      start([...shell.line, line], work, tell);
      return look({ work, tell });
    },
    [Symbol.dispose]() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function look({ work, tell }: { readonly work: string; readonly tell: string }): Seen {
  return { calls: readTold(tell), files: readdirSync(work).sort() };
}

function shell(name: string, ...argv: string[]): Shell {
  return { name, line: [...argv, "-c"], file: argv };
}
