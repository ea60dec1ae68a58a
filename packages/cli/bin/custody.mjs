#!/usr/bin/env node
// Plain JavaScript on purpose: it runs on whatever Node starts it (18 or later). When that one is new
// enough it goes on in this process, else it hands over to npm's own runtime package.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const MINIMUM = [24, 12];

const [major, minor] = process.versions.node.split(".").map(Number);
if (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])) await import("../main.ts");
else handOver();

function handOver() {
  const args = [
    "--disable-warning=ExperimentalWarning",
    fileURLToPath(new URL("../main.ts", import.meta.url)),
  ];
  const child = spawn(pinnedNode(), [...args, ...process.argv.slice(2)], { stdio: "inherit" });
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
