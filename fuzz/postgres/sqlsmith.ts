// Statements by sqlsmith (Debian's package), made from the schema it reads at the server itself: valid by
// construction, and unlike anything our own grammar makes. It only prints them; they go to the gateway.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import type { TestPostgres } from "../../conformance/support/postgres-server.ts";

export interface SqlsmithRun {
  readonly database: string;
  readonly seed: number;
  readonly count: number;
  /** Relations of the catalogue too, default false: most are refused. */
  readonly catalogue?: boolean;
}

/**
 * What never runs: values of pseudo-types (of PostgreSQL 14 and later it knows too much), and tables of the
 * attacked schema that are out of reach or wait for consent.
 */
const IN_VAIN = /as "?any|public\.(?:held|forbidden|ledger|ledger_closed|notes|notes_secret)\b/;

/** A rejection when it ends before there are so many. */
export async function* sqlsmithStatements(
  server: TestPostgres,
  { database, seed, count, catalogue = false }: SqlsmithRun,
): AsyncGenerator<string> {
  const words = [
    ...[`host=${server.host}`, `port=${server.port}`, `dbname=${database}`],
    ...[`user=${server.superuser}`, `password=${server.password}`],
    ...["sslmode=verify-full", `sslrootcert=${server.caFile ?? ""}`],
  ];
  const smith = spawn(
    "sqlsmith",
    [
      ...[`--target=${words.join(" ")}`, "--dry-run", `--seed=${seed}`, "--max-queries=100000000"],
      ...(catalogue ? [] : ["--exclude-catalog"]),
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const complaints: Buffer[] = [];
  let given = 0;
  smith.stderr.on("data", (piece: Buffer) => complaints.push(piece));
  const ended = endOf(smith);
  try {
    let statement = "";
    for await (const line of createInterface({ input: smith.stdout })) {
      statement += `${line}\n`;
      if (!line.endsWith(";")) continue;
      const made = statement;
      statement = "";
      if (IN_VAIN.test(made)) continue;
      yield made;
      if (++given === count) return;
    }
    const said = Buffer.concat(complaints).toString();
    throw new Error(`sqlsmith ended with ${await ended}: ${said}`);
  } finally {
    smith.kill();
    await ended;
  }
}

export function hasSqlsmith(): boolean {
  return spawnSync("sqlsmith", ["--version"], { stdio: "ignore" }).status === 0;
}

function endOf(child: ChildProcess): Promise<number | null> {
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on("error", reject);
  child.on("close", resolve);
  return promise;
}
