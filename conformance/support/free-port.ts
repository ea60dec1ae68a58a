// Ports of loopback for programs that do not take port 0.

import { once } from "node:events";
import { createServer } from "node:net";

const HOST = "127.0.0.1";
const ATTEMPTS = 10;

/** One that was free just now. Between that and its use somebody else may take it: `onFreePorts`. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return address.port;
}

/** `start` looks for its ports itself, and is tried anew where `isTaken` says of its error that one was. */
export async function onFreePorts<Started>(
  start: () => Promise<Started>,
  isTaken: (error: unknown) => boolean,
): Promise<Started> {
  for (let attempt = 1; ; attempt++)
    try {
      return await start();
    } catch (error) {
      if (attempt === ATTEMPTS || !isTaken(error)) throw error;
    }
}

/** As etcd, an API server, sshd and PostgreSQL say it. */
export function saysTaken(text: string): boolean {
  return /address already in use/i.test(text);
}
