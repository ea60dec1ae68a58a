#!/usr/bin/env node
// Plain JavaScript on purpose: it runs on whatever Node starts it (18 or later), finds one that is new
// enough (npm's own runtime package first) and hands over to main.ts.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const MINIMUM = [24, 12];

const child = spawn(
  findNode(),
  ["--disable-warning=ExperimentalWarning", join(here, "..", "main.ts"), ...process.argv.slice(2)],
  { stdio: "inherit" },
);
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

function findNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])) return process.execPath;
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
