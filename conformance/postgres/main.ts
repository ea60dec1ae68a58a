// Unmodified clients against the real gateway and a real PostgreSQL: the same operations directly and
// through Custody, compared. `npm run conformance:postgres`; with words as arguments only the clients
// whose names contain one of them. The last line is `N passed, N failed, N skipped`.

import { runCases, type Tally } from "./cases.ts";
import { jdbc } from "./jdbc.ts";
import { libpq18 } from "./libpq18.ts";
import { nodePostgres } from "./node-postgres.ts";
import { openPeers } from "./peers.ts";
import { pgx } from "./pgx.ts";
import { postgresJs } from "./postgres-js.ts";
import { psql } from "./psql.ts";
import { psycopg } from "./psycopg.ts";
import { REPLICATION, runReplication } from "./replication.ts";
import { byProof } from "./sign-in.ts";

const words = process.argv.slice(2);
const clients = [psql, nodePostgres, postgresJs, psycopg, jdbc, pgx, libpq18].filter(
  ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
);

const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
function add(one: Tally): void {
  for (const name of ["passed", "failed", "skipped"] as const) tally[name] += one[name];
}

if (clients.length > 0) {
  await using peers = await openPeers();
  console.log(`PostgreSQL ${peers.server.version}, gateway at ${peers.process.url}\n`);
  const proving = clients.filter((one) => one !== libpq18).map(byProof);
  add(await runCases([...clients, ...proving], peers));
}
if (words.length === 0 || words.some((word) => REPLICATION.includes(word)))
  add(await runReplication());
const { passed, failed, skipped } = tally;
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
