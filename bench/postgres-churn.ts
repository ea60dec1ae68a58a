// Connections that are made for one plain read each: TLS, sign-in and, for Custody, a session with a login role
// of its own at the target, which PgBouncer's clients share.

import { type Measured, pgbench } from "./pgbench.ts";
import { median, type Row } from "./rows.ts";
import { BENCH_DATABASE, type BenchStage, type Way } from "./stage.ts";

export interface ChurnOptions {
  readonly runs: number;
  readonly seconds: number;
  readonly clients: readonly number[];
}

export async function benchChurn(stage: BenchStage, options: ChurnOptions): Promise<Row[]> {
  const { runs, seconds } = options;
  const { direct, pgbouncer, custody } = stage;
  const ways = pgbouncer === undefined ? [direct, custody] : [direct, pgbouncer, custody];
  const rows: Row[] = [];
  for (const clients of options.clients) {
    const seen = new Map<Way, Measured[]>(ways.map((way) => [way, []]));
    for (let run = 0; run < runs; run++)
      for (const way of ways)
        seen
          .get(way)
          ?.push(
            await pgbench(
              way,
              { mode: "simple", clients, seconds, reconnects: true },
              BENCH_DATABASE,
            ),
          );
    const of = (way: Way, figure: keyof Measured) =>
      median((seen.get(way) ?? []).map((one) => one[figure]));
    const name = `connections, ${clients} client${clients === 1 ? "" : "s"}`;
    for (const peer of ways.filter((way) => way !== custody))
      rows.push({
        name,
        unit: "a second",
        value: of(custody, "tps"),
        against: `${peer.name}, ${of(peer, "tps").toFixed(0)}`,
        ratio: of(custody, "tps") / of(peer, "tps"),
        runs,
      });
    if (pgbouncer === undefined) continue;
    rows.push({
      name: `${name}: CPU of one`,
      unit: "µs",
      value: of(custody, "cpuUs"),
      against: `pgbouncer, which takes ${of(pgbouncer, "cpuUs").toFixed(0)} µs`,
      ratio: of(custody, "cpuUs") / of(pgbouncer, "cpuUs"),
      runs,
    });
  }
  return rows;
}
