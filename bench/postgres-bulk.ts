// A million rows in one answer: as they are, and with one column masked.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pgbench } from "./pgbench.ts";
import { median, type Row } from "./rows.ts";
import { BENCH_DATABASE, type BenchStage, type Way } from "./stage.ts";

const ROWS = 1_000_000;

export async function benchBulk(stage: BenchStage, runs: number): Promise<Row[]> {
  const { direct, pgbouncer, custody } = stage;
  await stage.postgres.query(
    BENCH_DATABASE,
    `insert into bulk select g, g % 1000, 'note of row ' || g, 'c' || g || '@example.com'
       from generate_series(1, ${ROWS}) g`,
  );
  await stage.postgres.query(BENCH_DATABASE, "vacuum analyze bulk");
  const ways = pgbouncer === undefined ? [direct, custody] : [direct, pgbouncer, custody];
  const rows: Row[] = [];
  for (const [name, columns] of [
    ["1 M rows", "id, kind, note"],
    ["1 M rows, one column masked", "id, kind, email"],
  ]) {
    const script = join(stage.folder, "bulk.sql");
    writeFileSync(script, `select ${columns} from bulk;\n`);
    const seen = new Map<Way, number[]>(ways.map((way) => [way, []]));
    for (let run = 0; run <= runs; run++)
      for (const way of ways) {
        const load = { mode: "simple", clients: 1, transactions: 1, script };
        const { latencyUs } = await pgbench(way, load, BENCH_DATABASE);
        // The first warms up.
        if (run > 0) seen.get(way)?.push(latencyUs / 1000);
      }
    const of = (way: Way) => median(seen.get(way) ?? []);
    for (const peer of ways.filter((way) => way !== custody))
      rows.push({
        name: name ?? "",
        unit: "ms",
        value: of(custody),
        against: `${peer.name}, ${of(peer).toFixed(0)} ms (its time by ours)`,
        ratio: of(peer) / of(custody),
        runs,
      });
  }
  return rows;
}
