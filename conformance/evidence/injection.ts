// A program under strace: what it asks of the kernel about the files in a folder, and the same with one of
// these calls failing or killing it.
//
// strace counts calls for each thread by itself. Faults are therefore given to one call on files of one kind,
// which is one thread's work.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { has } from "./report.ts";

/** What makes or changes files and their names, and what puts them on the disk. */
export const CALLS = [
  ...["write", "pwrite64", "writev", "pwritev", "pwritev2", "fallocate", "ftruncate", "truncate"],
  ...[
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
  ],
  ...["mkdir", "mkdirat", "open", "openat"],
] as const;

/** Files of one kind: the same but for numbers in their names. */
export interface FileKind {
  readonly name: string;
  /** Below the folder. */
  readonly paths: readonly string[];
  /** That are made on files of this kind, and how often. */
  readonly calls: ReadonlyMap<string, number>;
}

export interface Fault {
  readonly kind: FileKind;
  readonly call: string;
  /** As strace has it: `error=EIO`, `signal=KILL`. */
  readonly fault: string;
  /** From 1. */
  readonly place: number;
  /** All calls from this one on: a disk that is full stays so. */
  readonly stays: boolean;
}

export interface Life {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  /** The fault met a call. */
  readonly hit: boolean;
}

/** What is starved and killed. */
export interface Subject {
  readonly name: string;
  /** A folder as it finds it; undefined: there is none. */
  readonly template: string | undefined;
  readonly command: (folder: string) => readonly string[];
  /** Acknowledged by the life before, which left the template. */
  readonly before: readonly string[];
  /** Goes on in the folder, and says what is wrong with what is in it then. */
  readonly goOn: (
    folder: string,
    acknowledged: readonly string[],
    refused: readonly string[],
  ) => Promise<string[]>;
  /** Whether this call may fail and the program go on. */
  readonly mayGoOn: (kind: FileKind, call: string) => boolean;
}

const LIFE_MS = 120_000;
/** Numbers of a name that other runs may have instead. */
const OTHER_NUMBERS = 256;

/** Why nothing can be injected here; undefined: it can. */
export function cannotInject(): string | undefined {
  if (!has("strace", "--version")) return "no strace on the path";
  if (spawnSync("strace", ["-o", "/dev/null", "true"]).status !== 0)
    return "this machine does not let strace trace";
  return undefined;
}

export function describe({ kind, call, fault, place, stays }: Fault): string {
  return `${fault} at ${call} number ${place}${stays ? " and all after it" : ""} of ${kind.name}`;
}

/** Runs the program and says what it does with files below `folder`. */
export async function observe(
  command: readonly string[],
  folder: string,
  trace: string,
): Promise<readonly FileKind[]> {
  const strace = ["-y", "-s", "0", "-e", `trace=${CALLS.join(",")}`];
  const life = await live(["strace", "-f", "-qq", "-o", trace, ...strace, ...command]);
  if (life.code !== 0)
    throw new Error(`without a fault it ended with ${life.code}: ${life.output}`);
  const kinds = new Map<string, { paths: Set<string>; calls: Map<string, number> }>();
  for (const line of readFileSync(trace, "utf8").split("\n")) {
    const [, call = "", rest = ""] = /^\d+ +(\w+)\((.*)$/.exec(line) ?? [];
    // What is only read is none of this.
    if (call === "openat" && !rest.includes("O_CREAT") && !rest.includes("O_TRUNC")) continue;
    const path = pathsIn(rest.split(" = ")[0] ?? "").find((one) => one.startsWith(`${folder}/`));
    if (path === undefined) continue;
    const name = path.slice(folder.length + 1).replaceAll(/\d+(?=$|\.|\/)/g, "N");
    const kind = kinds.get(name) ?? { paths: new Set(), calls: new Map() };
    kinds.set(name, kind);
    for (const one of likeIt(path.slice(folder.length + 1))) kind.paths.add(one);
    kind.calls.set(call, (kind.calls.get(call) ?? 0) + 1);
  }
  return [...kinds]
    .map(([name, { paths, calls }]) => ({ name, paths: [...paths], calls }))
    .sort((a, b) => a.name.localeCompare(b.name));
}

function pathsIn(args: string): string[] {
  return [...args.matchAll(/<(\/[^>]*)>|"(\/[^"]*)"/g)].map(([, one, other]) => one ?? other ?? "");
}

/** The path, and with other numbers in its last part: another run's tile is of another width. */
function* likeIt(path: string): Generator<string> {
  yield path;
  const [, before = "", digits, after = ""] =
    /^((?:.*\/)?[^/]*?)(\d+)((?:\.\w+)*)$/.exec(path) ?? [];
  if (digits === undefined || digits.length > 10) return;
  for (let number = 0; number < OTHER_NUMBERS; number++)
    yield `${before}${String(number).padStart(digits[0] === "0" ? digits.length : 1, "0")}${after}`;
}

/** Runs the program with the fault. */
export async function liveWith(
  command: readonly string[],
  { kind, call, fault, place, stays }: Fault,
  folder: string,
  trace: string,
): Promise<Life> {
  const inject = `inject=${call}:${fault}:when=${place}${stays ? "+" : ""}`;
  const only = kind.paths.flatMap((path) => ["-P", join(folder, path)]);
  const strace = ["strace", "-f", "-qq", "-o", trace, "-e", `trace=${call}`, "-e", inject];
  const life = await live([...strace, ...only, ...command]);
  const traced = existsSync(trace) ? readFileSync(trace, "utf8") : "";
  return { ...life, hit: traced.includes("(INJECTED)") || traced.includes("killed by SIGKILL") };
}

export async function live(command: readonly string[]): Promise<Omit<Life, "hit">> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: LIFE_MS,
    // One thread for files: the N-th call is then the N-th of one kind.
    env: { ...process.env, UV_THREADPOOL_SIZE: "1", NODE_NO_WARNINGS: "1" },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      output += chunk;
    });
  }
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  return { code, signal, output };
}

export function acknowledgedIn(output: string): string[] {
  return [...output.matchAll(/^ack (\S+)$/gm)].map(([, what]) => what ?? "");
}

export function refusedIn(output: string): string[] {
  return [...output.matchAll(/^refused (\S+): /gm)].map(([, what]) => what ?? "");
}
