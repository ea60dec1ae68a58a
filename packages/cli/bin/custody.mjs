#!/usr/bin/env node
// Plain JavaScript on purpose: it runs on whatever Node starts it (18 or later). When that one is new
// enough it goes on in this process, else it hands over to npm's own runtime package.

import { spawn } from "node:child_process";
import nodeModule, { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const MINIMUM = [24, 12];

// The gateway's own: the parser's largest function takes V8's optimising compiler 500 MB and a second of
// both cores to make no faster, and large results leave less behind with a smaller young generation. Its
// threads share a few arenas of the C library: with one they wait for each other, and one for each keeps tens
// of megabytes for nothing.
const SERVE_FLAGS = ["--liftoff-only", "--max-semi-space-size=4"];

const main = fileURLToPath(new URL("../main.ts", import.meta.url));
const serves = process.argv[2] === "serve";
const flags = ["--disable-warning=ExperimentalWarning", ...(serves ? SERVE_FLAGS : [])];

const [major, minor] = process.versions.node.split(".").map(Number);
if (!(major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1]))) handOver();
else if (serves && !process.execArgv.includes(SERVE_FLAGS[0]) && process.execve) replace();
else await start();

/** Keeps what was made of the TypeScript beside the installation, where only who installs can write. */
async function start() {
  nodeModule.enableCompileCache(
    fileURLToPath(new URL("../../../node_modules/.cache/custody", import.meta.url)),
  );
  await import("../main.ts");
}

/** The same process with V8's flags, which cannot be set once it runs. */
function replace() {
  process.removeAllListeners("warning");
  const { execPath, execArgv, argv } = process;
  process.execve(execPath, [execPath, ...execArgv, ...flags, argv[1], ...argv.slice(2)], {
    ...process.env,
    MALLOC_ARENA_MAX: process.env.MALLOC_ARENA_MAX ?? "4",
  });
}

function handOver() {
  const args = [...flags, main, ...process.argv.slice(2)];
  const child = spawn(pinnedNode(), args, { stdio: "inherit" });
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(`custody: Node.js cannot be started: ${error.message}\n`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    for (const name of signals) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}

function pinnedNode() {
  try {
    const require = createRequire(import.meta.url);
    return require.resolve(`node-${process.platform}-${process.arch}/bin/node`);
  } catch {
    process.stderr.write(
      `custody: needs Node.js ${MINIMUM.join(".")} or later; this is ${process.versions.node}. ` +
        "Install Node.js 24 and try again.\n",
    );
    return process.exit(1);
  }
}
