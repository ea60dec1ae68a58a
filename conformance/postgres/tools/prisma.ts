// Prisma itself, its packages fetched by npm as prisma/package-lock.json pins them, into the cache: no dependency of
// the product's. `prisma db pull` looks at the database, `prisma generate` makes a client of what it saw, and that
// client works (prisma/cases.mjs). Prisma's schema engine is a binary that npm does not bring: the same engine in
// WebAssembly stands in (prisma/engine.mjs). Skipped, with the reason, where npm cannot fetch it.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Case, Client } from "../cases.ts";
import type { Peer } from "../peers.ts";

const VERSION = "7.10.0";
const PRISMA = join("node_modules", "prisma", "build", "index.js");
const INSTALL_MS = 240_000;
const here = (name: string) => fileURLToPath(new URL(`prisma/${name}`, import.meta.url));

/** Of one command of Prisma's, and of one case. */
const RUN_MS = 120_000;

export function prisma(): Client {
  const packages = installed();
  const projects = new Map<string, string>();
  const project = (peer: Peer) => {
    const folder = projects.get(peer.name) ?? openProject(packages ?? "");
    projects.set(peer.name, folder);
    return folder;
  };
  return {
    name: `Prisma ${VERSION}`,
    unavailable: () => (packages === undefined ? "npm cannot fetch its packages" : undefined),
    cases: [
      { name: "db pull", run: (peer) => pull(project(peer), peer) },
      { name: "a client of what it saw", run: (peer) => generate(project(peer), peer) },
      { name: "migrate status", run: (peer) => status(project(peer), peer) },
      { name: "db push is denied", run: (peer) => push(project(peer), peer) },
      { name: "db execute is denied", run: (peer) => define(project(peer), peer) },
      ...names().map((name): Case => ({ name, run: (peer) => work(project(peer), name, peer) })),
    ],
  };
}

function names(): string[] {
  const listed = spawnSync(process.execPath, [here("cases.mjs")], { encoding: "utf8" });
  if (listed.status !== 0) throw new Error(listed.stderr);
  return listed.stdout.trim().split("\n");
}

/** A folder as somebody who uses Prisma has it. */
function openProject(packages: string): string {
  const folder = mkdtempSync(join(tmpdir(), "custody-prisma-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const name of [
    "package.json",
    "prisma.config.mjs",
    "schema.prisma",
    "engine.mjs",
    "cases.mjs",
  ])
    copyFileSync(here(name), join(folder, name));
  symlinkSync(packages, join(folder, "node_modules"));
  const engine = `#!/bin/sh\nexec '${process.execPath}' '${join(folder, "engine.mjs")}' "$@"\n`;
  writeFileSync(join(folder, "engine"), engine, { mode: 0o700 });
  return folder;
}

/** The schema it wrote. */
async function pull(folder: string, peer: Peer): Promise<unknown> {
  await run(folder, [PRISMA, "db", "pull"], peer);
  const schema = readFileSync(join(folder, "schema.prisma"), "utf8");
  if (!schema.includes("model person {")) throw new Error(`it saw nothing: ${schema}`);
  return schema;
}

async function generate(folder: string, peer: Peer): Promise<unknown> {
  await run(folder, [PRISMA, "generate", "--no-hints"], peer);
  return existsSync(join(folder, "client", "index.js"));
}

async function status(folder: string, peer: Peer): Promise<unknown> {
  const { output } = await execute(folder, [PRISMA, "migrate", "status"], peer);
  if (output.includes("The current database is not managed by Prisma Migrate")) return "unmanaged";
  throw new Error(`migrate status: ${output}`);
}

/** What it has no rights to see it would drop; PostgreSQL refuses that it looks whether there are rows. */
async function push(folder: string, peer: Peer): Promise<unknown> {
  const schema = join(folder, "more.prisma");
  const more = "\nmodel more {\n  id Int @id\n}\n";
  writeFileSync(schema, readFileSync(join(folder, "schema.prisma"), "utf8") + more);
  const words = ["db", "push", "--schema", schema];
  return denied(folder, words, /permission denied for table forbidden/, peer);
}

/** Direct, the account has no right to it; through the gateway nobody has. */
async function define(folder: string, peer: Peer): Promise<unknown> {
  writeFileSync(join(folder, "more.sql"), "create table more (id int)");
  const why =
    peer.name === "gateway" ? /Custody denied create on / : /permission denied for schema/;
  return denied(folder, ["db", "execute", "--file", "more.sql"], why, peer);
}

async function denied(folder: string, words: readonly string[], why: RegExp, peer: Peer) {
  const { code, output } = await execute(folder, [PRISMA, ...words], peer);
  if (code !== 0 && why.test(output)) return "denied";
  throw new Error(`against ${peer.name}: ${words.join(" ")}: ${output}`);
}

async function work(folder: string, name: string, peer: Peer): Promise<unknown> {
  return (await run(folder, ["cases.mjs", name], peer)).trim().split("\n");
}

async function run(folder: string, args: readonly string[], peer: Peer): Promise<string> {
  const { code, output } = await execute(folder, args, peer);
  if (code !== 0) throw new Error(`against ${peer.name}: ${args.join(" ")}: ${output}`);
  return output;
}

async function execute(folder: string, args: readonly string[], peer: Peer) {
  const url = new URL(`postgresql://${peer.host}:${peer.port}/${peer.database}`);
  url.username = peer.user;
  url.password = peer.password;
  url.searchParams.set("sslmode", "verify-full");
  url.searchParams.set("sslrootcert", peer.caFile);
  const child = spawn(process.execPath, args, {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: RUN_MS,
    env: {
      PATH: process.env.PATH ?? "",
      HOME: folder,
      DATABASE_URL: url.href,
      CUSTODY_PEER: peer.name,
      PRISMA_SCHEMA_ENGINE_BINARY: join(folder, "engine"),
      PRISMA_HIDE_UPDATE_MESSAGE: "1",
      CHECKPOINT_DISABLE: "1",
      NO_COLOR: "1",
    },
  });
  const out: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => out.push(chunk));
  const [code] = await once(child, "close");
  return { code, output: Buffer.concat(out).toString() };
}

/** The folder of its packages; undefined where they cannot be had. */
function installed(): string | undefined {
  const cache = process.env.CUSTODY_CACHE ?? join(homedir(), ".cache", "custody");
  const lock = createHash("sha256")
    .update(readFileSync(here("package-lock.json")))
    .digest("hex");
  const folder = join(cache, `prisma-${VERSION}-${lock.slice(0, 12)}`);
  const packages = join(folder, "node_modules");
  if (existsSync(packages)) return packages;
  // Moved into place when it is whole: what another run left half done is not taken for it.
  const making = `${folder}.${process.pid}`;
  mkdirSync(making, { recursive: true });
  for (const name of ["package.json", "package-lock.json"])
    copyFileSync(here(name), join(making, name));
  const words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries", "1"];
  const npm = spawnSync("npm", words, { cwd: making, timeout: INSTALL_MS, stdio: "ignore" });
  try {
    // Another run may have been faster.
    if (npm.status === 0 && !existsSync(folder)) renameSync(making, folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return npm.status === 0 ? packages : undefined;
}
