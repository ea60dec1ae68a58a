// Plain JavaScript on purpose: this runs on the machine's own Node (18 or later), before anything
// is installed. It installs when the lock file changed since the last install, finds the Node
// runtime the lock file pins (npm package node-<os>-<arch>) and hands over to it.
//
//   node tools/bootstrap.mjs <script.ts> [arguments…]

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");
const stamp = join(modules, ".custody-installed");
const minimum = [24, 12];

install();
run(findNode(), process.argv.slice(2));

function install() {
  const lock = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  if (readStamp() === lock) return;
  // Two first starts at once would install over each other; the second waits for the first.
  const guard = join(root, ".custody", "install.lock");
  mkdirSync(dirname(guard), { recursive: true });
  for (;;) {
    try {
      mkdirSync(guard);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      if (readStamp() === lock) return;
      if (Date.now() - (statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? 0) > 600_000)
        rmSync(guard, { recursive: true, force: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    }
  }
  try {
    if (readStamp() === lock) return;
    process.stderr.write("custody: installing what the lock file names (npm ci)…\n");
    const npm = process.env.npm_execpath
      ? [process.execPath, [process.env.npm_execpath]]
      : ["npm", []];
    // Only what the machine's own Node would be too old for is warned of, and it will not run it.
    const quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--engine-strict=false"];
    const done = spawnSync(npm[0], [...npm[1], "ci", ...quiet], {
      cwd: root,
      stdio: ["ignore", 2, 2],
    });
    if (done.status !== 0) {
      process.stderr.write(
        "custody: npm ci failed; its own words are above. Nothing was started.\n",
      );
      process.exit(1);
    }
    writeFileSync(stamp, lock);
  } finally {
    rmSync(guard, { recursive: true, force: true });
  }
}

function readStamp() {
  return existsSync(stamp) ? readFileSync(stamp, "utf8") : undefined;
}

/** The pinned runtime where one is published for this platform, else a new enough one of the machine. */
function findNode() {
  try {
    const require = createRequire(join(root, "package.json"));
    const pinned = require.resolve(`node-${process.platform}-${process.arch}/bin/node`);
    if (existsSync(pinned)) return pinned;
  } catch {
    // Not published for this platform: fall through to the machine's own.
  }
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > minimum[0] || (major === minimum[0] && minor >= minimum[1])) return process.execPath;
  process.stderr.write(
    `custody: needs Node.js ${minimum.join(".")} or later; this is ${process.versions.node}, and npm has no ` +
      `runtime for ${process.platform}-${process.arch}. Install Node.js 24 and try again.\n`,
  );
  return process.exit(1);
}

/** The command line works in the folder npm was called in, everything else in the clone. */
function run(node, args) {
  const [script, ...rest] = args;
  const cwd = script.startsWith("packages/cli/") ? (process.env.INIT_CWD ?? process.cwd()) : root;
  const child = spawn(
    node,
    ["--disable-warning=ExperimentalWarning", join(root, script), ...rest],
    { stdio: "inherit", cwd },
  );
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    for (const name of signals) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}
