// Unmodified clients against the real gateway and a real PostgreSQL: the same operations directly and
// through Custody, compared. `npm run conformance:postgres`; with words as arguments only the clients
// whose names contain one of them. The last line is `N passed, N failed, N skipped`.

import { runCases } from "./cases.ts";
import { jdbc } from "./jdbc.ts";
import { libpq18 } from "./libpq18.ts";
import { nodePostgres } from "./node-postgres.ts";
import { openPeers } from "./peers.ts";
import { pgx } from "./pgx.ts";
import { postgresJs } from "./postgres-js.ts";
import { psql } from "./psql.ts";
import { psycopg } from "./psycopg.ts";
import { byProof } from "./sign-in.ts";

const words = process.argv.slice(2);
const clients = [psql, nodePostgres, postgresJs, psycopg, jdbc, pgx, libpq18].filter(
  ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
);

await using peers = await openPeers();
console.log(`PostgreSQL ${peers.server.version}, gateway at ${peers.process.url}\n`);
const { passed, failed, skipped } = await runCases(
  [...clients, ...clients.filter((one) => one !== libpq18).map(byProof)],
  peers,
);
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
