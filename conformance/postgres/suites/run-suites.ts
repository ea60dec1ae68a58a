// Runs the three suites through one door and says what each test came to.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serverAccount } from "../../support/postgres-binaries.ts";
import type { SuiteBuild } from "./build.ts";
import type { SuiteDoor } from "./stage.ts";

export interface SuiteResult {
  /** `regress/boolean` → it came out as PostgreSQL's own expected output, or the first difference. */
  readonly tests: ReadonlyMap<string, "ok" | string>;
  readonly seconds: number;
}

export const SUITES = ["regress", "isolation", "libpq_pipeline"] as const;
export type Suite = (typeof SUITES)[number];

const CONCURRENT = 20;
const ROWS = 700;
/** More are no matter of moments. */
const MAX_AGAIN = 5;

export async function runSuites(
  build: SuiteBuild,
  door: SuiteDoor,
  suites: readonly string[],
  /** What the programs wrote stays, to be read. */
  keepsOutput: boolean,
): Promise<SuiteResult> {
  const startedMs = performance.now();
  const folder = mkdtempSync(join(tmpdir(), "custody-suite-output-"));
  chmodSync(folder, 0o777);
  const account = serverAccount();
  if (account !== undefined) chownSync(folder, account.uid, account.gid);
  const tests = new Map<string, string>();
  const wants = (suite: Suite) => suites.includes(suite);
  try {
    if (wants("regress")) {
      const schedule = ["--schedule", join(build.source, "src/test/regress/parallel_schedule")];
      await regress(
        build,
        door,
        folder,
        "regress",
        "pg_regress",
        [...schedule, `--max-concurrent-tests=${CONCURRENT}`],
        tests,
      );
    }
    if (wants("isolation")) {
      const isolation = (chosen: readonly string[]) =>
        regress(build, door, folder, "isolation", "pg_isolation_regress", chosen, tests);
      await isolation(["--schedule", join(build.source, "src/test/isolation/isolation_schedule")]);
      // In what order two sessions are heard of is a matter of moments on a busy machine.
      const differing = [...tests].filter(([, said]) => said !== "ok").map(([name]) => name);
      const again = differing.filter((name) => name.startsWith("isolation/"));
      if (!door.hidesProcessIds && again.length > 0 && again.length <= MAX_AGAIN) {
        console.log(`once more: ${again.join(", ")}`);
        await isolation(again.map((name) => name.slice("isolation/".length)));
      }
    }
    if (wants("libpq_pipeline")) await pipelines(build, door, tests);
  } finally {
    if (keepsOutput) console.log(`what the programs wrote is kept in ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
  }
  return { tests, seconds: Math.round((performance.now() - startedMs) / 1000) };
}

function environment(door: SuiteDoor): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    PGPASSWORD: door.password,
    PGSSLMODE: "verify-ca",
    PGSSLROOTCERT: door.caFile,
    PGGSSENCMODE: "disable",
    LC_ALL: "C",
    // Steps that wait for a lock are found by the process id; where they are not, nobody lets them go on.
    ...(door.hidesProcessIds ? { PGISOLATIONTIMEOUT: "1" } : {}),
  };
}

async function regress(
  build: SuiteBuild,
  door: SuiteDoor,
  folder: string,
  suite: string,
  program: string,
  more: readonly string[],
  tests: Map<string, string>,
): Promise<void> {
  const source = join(build.source, "src/test", suite);
  const output = join(folder, suite);
  const args = [
    ...["--inputdir", source, "--outputdir", output, "--expecteddir", source, "--dlpath", source],
    ...["--bindir", join(build.installation, "bin"), "--host", door.host],
    ...["--port", String(door.port), "--user", door.user, ...more],
    ...(door.hasDatabases ? ["--use-existing"] : []),
  ].filter((_, index, all) => !isUnknownOption(all, index));
  const { stdout } = await run(join(source, program), args, source, door);
  const differences = readDifferences(join(output, "regression.diffs"));
  for (const line of stdout.split("\n")) {
    const found = /^(?:test| {4,})\s*(\S+)\s+\.\.\. (ok|FAILED|failed \(ignored\))/.exec(line);
    if (found?.[1] === undefined) continue;
    const said = found[2] === "ok" ? "ok" : (differences.get(found[1]) ?? "failed");
    tests.set(`${suite}/${found[1]}`, isChance(found[2], said) ? "ok" : said);
  }
  if (tests.size === 0) throw new Error(`${program} ran no test:\n${stdout}`);
}

/** The schedule says of the test `random` that it may fail, by numbers that came; not that it may err. */
function isChance(verdict: string | undefined, said: string): boolean {
  return verdict === "failed (ignored)" && !/^(?:ERROR|FATAL)/.test(said);
}

/** PostgreSQL 15's pg_regress has no --expecteddir: the folder is the input's. */
function isUnknownOption(all: readonly string[], index: number): boolean {
  return all[index] === "--expecteddir" || all[index - 1] === "--expecteddir";
}

/**
 * Of each test why it differs: the first error that came and was not expected, in its own words; else the
 * first line that came; else the first that did not.
 */
function readDifferences(path: string): Map<string, string> {
  const missing = new Map<string, string>();
  const lines = new Map<string, string>();
  const errors = new Map<string, string>();
  if (!existsSync(path)) return missing;
  let test: string | undefined;
  for (const line of readFileSync(path, "utf8").split("\n")) {
    const header = /^\+\+\+ .*\/results\/(\S+)\.out/.exec(line);
    if (header?.[1] !== undefined) test = header[1];
    if (test === undefined || !/^[+-][^+-]/.test(line)) continue;
    const first = line.startsWith("+") ? lines : missing;
    if (!first.has(test)) first.set(test, line);
    const error = /^\+.*?((?:ERROR|FATAL): .*)/.exec(line)?.[1];
    if (error !== undefined && !errors.has(test)) errors.set(test, error.replace(/\s+/g, " "));
  }
  return new Map([...missing, ...lines, ...errors]);
}

async function pipelines(
  build: SuiteBuild,
  door: SuiteDoor,
  tests: Map<string, string>,
): Promise<void> {
  const folder = join(build.source, "src/test/modules/libpq_pipeline");
  const program = join(folder, "libpq_pipeline");
  const listed = await run(program, ["tests"], folder, door);
  const connection = `host=${door.host} port=${door.port} user=${door.user} dbname=postgres`;
  for (const name of listed.stdout.split(/\s+/).filter((word) => word !== "")) {
    const args = ["-r", String(ROWS), name, connection];
    const { code, stderr } = await run(program, args, folder, door);
    const said = /(?:ERROR|FATAL): .*/.exec(stderr)?.[0] ?? stderr.trim().split("\n").at(-1);
    tests.set(`libpq_pipeline/${name}`, code === 0 ? "ok" : (said ?? "failed"));
  }
}

async function run(program: string, args: readonly string[], cwd: string, door: SuiteDoor) {
  const child = spawn(program, args, {
    ...serverAccount(),
    cwd,
    env: environment(door),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  const [code] = await once(child, "close");
  return {
    code: Number(code),
    stdout: Buffer.concat(out).toString(),
    stderr: Buffer.concat(err).toString(),
  };
}
