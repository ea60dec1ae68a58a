// An agent's connection to the shop through the gateway: an unmodified node-postgres, with everything
// that came over its wire kept (after TLS, before the driver), so that it can be searched.

import { readFileSync } from "node:fs";
import type { Duplex } from "node:stream";
import pg from "pg";
import { DATABASE, type Stage, TARGET } from "./stage.ts";

export interface AgentConnection extends AsyncDisposable {
  readonly client: pg.Client;
  /** Every byte the server's side sent, decrypted. */
  received(): Buffer;
  /** Notices so far, as the agent sees them. */
  readonly notices: readonly string[];
  /** Settles with the last error's text when the connection is over. */
  readonly ended: Promise<string>;
}

/** The parts of node-postgres' connection that are not in its types. */
interface WireConnection {
  stream: Duplex;
  once(event: "sslconnect", listener: () => void): void;
}

/** What an agent is given to connect with; this is all it has. */
export function connectionEnvironment(stage: Stage, handle: string): Record<string, string> {
  return {
    PGHOST: stage.gateway.postgres.host,
    PGPORT: String(stage.gateway.postgres.port),
    PGUSER: TARGET,
    PGDATABASE: DATABASE,
    PGPASSWORD: handle,
    PGSSLMODE: "verify-full",
    PGSSLROOTCERT: stage.gateway.caFile,
  };
}

/** Connects as the agent that holds `handle`. */
export async function connectAgent(stage: Stage, handle: string): Promise<AgentConnection> {
  const env = connectionEnvironment(stage, handle);
  const client = new pg.Client({
    host: env.PGHOST,
    port: Number(env.PGPORT),
    user: env.PGUSER,
    database: env.PGDATABASE,
    password: env.PGPASSWORD,
    ssl: { ca: readFileSync(stage.gateway.caFile, "utf8") },
  });
  const chunks: Buffer[] = [];
  const notices: string[] = [];
  let lastError = "the connection was closed";
  const wire = (client as unknown as { connection: WireConnection }).connection;
  wire.once("sslconnect", () => {
    wire.stream.on("data", (chunk: Buffer) => chunks.push(Buffer.from(chunk)));
  });
  client.on("notice", (notice) => notices.push(notice.message ?? ""));
  const ended = new Promise<string>((resolve) => client.once("end", () => resolve(lastError)));
  client.on("error", (error) => {
    lastError = error.message;
  });
  await client.connect();
  return {
    client,
    notices,
    ended,
    received: () => Buffer.concat(chunks),
    async [Symbol.asyncDispose]() {
      await client.end().catch(() => undefined);
    },
  };
}
