// One plain read a transaction, as pgbench -S does it.

import { type Measured, pgbench } from "./pgbench.ts";
import { median, type Row } from "./rows.ts";
import { BENCH_DATABASE, type BenchStage, type Way } from "./stage.ts";

export interface SelectOptions {
  readonly runs: number;
  readonly seconds: number;
  readonly modes: readonly string[];
  readonly clients: readonly number[];
}

export async function benchSelect(stage: BenchStage, options: SelectOptions): Promise<Row[]> {
  const { runs, seconds } = options;
  const { direct, pgbouncer, custody } = stage;
  const ways = pgbouncer === undefined ? [direct, custody] : [direct, pgbouncer, custody];
  const rows: Row[] = [];
  for (const mode of options.modes)
    for (const clients of options.clients) {
      const seen = new Map<Way, Measured[]>(ways.map((way) => [way, []]));
      for (let run = 0; run < runs; run++)
        for (const way of ways)
          seen.get(way)?.push(await pgbench(way, { mode, clients, seconds }, BENCH_DATABASE));
      const of = (way: Way, figure: keyof Measured) =>
        median((seen.get(way) ?? []).map((one) => one[figure]));
      const name = `select ${mode}, ${clients} client${clients === 1 ? "" : "s"}`;
      for (const peer of ways.filter((way) => way !== custody))
        rows.push({
          name,
          unit: "tps",
          value: of(custody, "tps"),
          against: peer.name,
          ratio: of(custody, "tps") / of(peer, "tps"),
          runs,
        });
      if (pgbouncer === undefined) continue;
      rows.push({
        name: `${name}: CPU a transaction`,
        unit: "µs",
        value: of(custody, "cpuUs"),
        against: `pgbouncer, which takes ${of(pgbouncer, "cpuUs").toFixed(0)} µs`,
        ratio: of(custody, "cpuUs") / of(pgbouncer, "cpuUs"),
        runs,
      });
      if (clients !== 1) continue;
      const added = of(custody, "latencyUs") - of(direct, "latencyUs");
      const peerAdded = of(pgbouncer, "latencyUs") - of(direct, "latencyUs");
      rows.push({
        name: `${name}: latency added to direct`,
        unit: "µs",
        value: added,
        against: `pgbouncer, which adds ${peerAdded.toFixed(0)} µs`,
        ratio: added / peerAdded,
        runs,
      });
    }
  return rows;
}
