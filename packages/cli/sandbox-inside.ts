// The first program inside a sandbox: it listens on loopback, where the clients expect the gateway, and
// hands every connection to the socket that leads out to it; then it starts the agent's program. On its
// own there: nothing but Node's own modules is imported.
//
//   node sandbox-inside.ts '{"forwards":[{"host","port","socket"}]}' program arguments…
//
// Signals come as names on descriptor 3; its end means that who started us is gone.

import { spawn } from "node:child_process";
import { connect, createServer, Socket } from "node:net";
import { constants } from "node:os";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream";

interface Forward {
  readonly host: string;
  readonly port: number;
  readonly socket: string;
}

const NOT_FOUND = 127;

const [configuration = "", program = "", ...args] = process.argv.slice(2);
const { forwards } = JSON.parse(configuration) as { forwards: readonly Forward[] };
await Promise.all(forwards.map(listen));
start();

function listen({ host, port, socket }: Forward): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const outside = connect({ path: socket, allowHalfOpen: true });
    pipeline(client, outside, () => undefined);
    pipeline(outside, client, () => undefined);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
}

function start(): void {
  const child = spawn(program, args, { stdio: "inherit" });
  child.on("error", (error) => {
    process.stderr.write(`custody: ${program} cannot be started: ${error.message}\n`);
    process.exit(NOT_FOUND);
  });
  child.on("exit", (code, signal) => {
    process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
  });
  const signals = createInterface({ input: new Socket({ fd: 3 }) });
  signals.on("line", (name) => void child.kill(name as NodeJS.Signals));
  signals.on("close", () => void child.kill("SIGKILL"));
}
