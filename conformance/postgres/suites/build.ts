// PostgreSQL 15's own test programs, from Debian's source package, built without the server: pg_regress,
// the isolation tester and libpq_pipeline. The server is Debian's of the same version.
//
// Kept in the folder CUSTODY_SUITE_CACHE names (default: custody-postgresql-15 in the temporary folder),
// outside of the clone; built once, in about two minutes. Needs apt-get, a compiler and make.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface SuiteBuild {
  /** The built source tree. */
  readonly source: string;
  /** Debian's server and client programs: `<installation>/bin`. */
  readonly installation: string;
  /** `15.18` */
  readonly version: string;
}

const PACKAGE = "postgresql-15";
const INSTALLATION = "/usr/lib/postgresql/15";
const RELEASE = "bookworm";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const PARTS = [
  ["src/backend", "generated-headers"],
  ["src/test/regress"],
  ["src/test/isolation"],
  ["src/test/modules/libpq_pipeline"],
] as const;

/** Why the suites cannot be run here; undefined when they can. */
export function missingForSuites(): string | undefined {
  if (!existsSync(join(INSTALLATION, "bin", "postgres")))
    return `Debian's package ${PACKAGE} is not installed`;
  for (const program of ["apt-get", "make", "cc"])
    if (spawnSync(program, ["--version"]).error !== undefined) return `${program} is missing`;
  return undefined;
}

/** Builds what is not built yet. Throws with the output of the step that failed. */
export function buildSuites(): SuiteBuild {
  const cache = process.env.CUSTODY_SUITE_CACHE ?? join(tmpdir(), "custody-postgresql-15");
  const source = join(cache, "build");
  const stamp = join(cache, "built");
  if (!existsSync(stamp)) {
    mkdirSync(source, { recursive: true });
    const version = download(cache);
    const tar = join(cache, `${PACKAGE}_${version}.orig.tar.bz2`);
    run("tar", ["xjf", tar, "--strip-components=1"], source);
    run("./configure", ["--without-readline", "--without-zlib", "--with-openssl"], source);
    for (const [folder, ...targets] of PARTS) run("make", ["-s", "-C", folder, ...targets], source);
    writeFileSync(stamp, version);
  }
  return { source, installation: INSTALLATION, version: readFileSync(stamp, "utf8") };
}

/** Debian's source package by apt's own client, with lists of its own: the machine's stay as they are. */
function download(cache: string): string {
  const lists = join(cache, "apt");
  mkdirSync(join(lists, "lists", "partial"), { recursive: true });
  mkdirSync(join(lists, "cache", "archives", "partial"), { recursive: true });
  writeFileSync(
    join(lists, "sources.list"),
    `deb-src [signed-by=${KEYRING}] ${mirror()} ${RELEASE} main\n`,
  );
  const options = [
    `Dir::Etc::sourcelist=${join(lists, "sources.list")}`,
    "Dir::Etc::sourceparts=/dev/null",
    `Dir::State::lists=${join(lists, "lists")}`,
    `Dir::Cache=${join(lists, "cache")}`,
  ].flatMap((option) => ["-o", option]);
  run("apt-get", [...options, "-q", "update"], cache);
  run("apt-get", [...options, "-q", "source", "--download-only", PACKAGE], cache);
  const tar = readdirSync(cache).find((name) => name.endsWith(".orig.tar.bz2"));
  const version = /_([0-9.]+)\.orig/.exec(tar ?? "")?.[1];
  if (version === undefined) throw new Error(`${PACKAGE}: no source archive came`);
  return version;
}

/** Where this machine's own packages of the release come from. */
function mirror(): string {
  const asked = ["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"];
  const { stdout } = spawnSync("apt-get", asked, { encoding: "utf8" });
  const line = stdout.split("\n").find((one) => one.endsWith(` ${RELEASE}`));
  if (line === undefined) throw new Error(`apt knows no ${RELEASE}: run apt-get update`);
  return line.slice(0, -RELEASE.length - 1);
}

function run(program: string, args: readonly string[], cwd: string): void {
  const done = spawnSync(program, args, { cwd, encoding: "utf8", maxBuffer: 64 << 20 });
  if (done.status !== 0)
    throw new Error(`${program} ${args.join(" ")}: ${done.error?.message ?? ""}${done.stderr}`);
}
