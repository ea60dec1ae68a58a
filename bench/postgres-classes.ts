// What it costs that columns are classified: a row of a hundred columns as more and more of them are masked,
// and a plain read beside it that touches none.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Measured, pgbench } from "./pgbench.ts";
import { median, type Row } from "./rows.ts";
import { BENCH_DATABASE, openBenchStage, type Way, WIDE_ROWS } from "./stage.ts";

export interface ClassesOptions {
  readonly runs: number;
  readonly seconds: number;
  readonly workers: number;
  /** Classified columns of the hundred, of each stage. */
  readonly counts: readonly number[];
}

interface Costs {
  readonly masked: readonly Measured[];
  readonly plain: readonly Measured[];
  /** The same rows without anything in between, in the same minute. */
  readonly direct: readonly Measured[];
}

export async function benchClasses(options: ClassesOptions): Promise<Row[]> {
  const seen = new Map<number, Costs>();
  for (const count of options.counts) seen.set(count, await costsOf(count, options));
  const cpu = (count: number, of: "masked" | "plain") =>
    median((seen.get(count)?.[of] ?? []).map(({ cpuUs }) => cpuUs));
  const tps = (count: number, of: "masked" | "direct") =>
    median((seen.get(count)?.[of] ?? []).map((one) => one.tps));
  const [least = 1] = options.counts;
  const runs = options.runs;
  return options.counts.flatMap((count): Row[] => [
    {
      name: `${count} of 100 columns masked: CPU a row`,
      unit: "µs",
      value: cpu(count, "masked"),
      against: `${least}, ${cpu(least, "masked").toFixed(0)} µs`,
      ratio: cpu(count, "masked") / cpu(least, "masked"),
      runs,
    },
    {
      name: `${count} of 100 columns masked`,
      unit: "tps",
      value: tps(count, "masked"),
      against: "direct",
      ratio: tps(count, "masked") / tps(count, "direct"),
      runs,
    },
    {
      name: `${count} classified columns: CPU of a read of none`,
      unit: "µs",
      value: cpu(count, "plain"),
      against: `${least}, ${cpu(least, "plain").toFixed(0)} µs`,
      ratio: cpu(count, "plain") / cpu(least, "plain"),
      runs,
    },
  ]);
}

async function costsOf(count: number, options: ClassesOptions): Promise<Costs> {
  const { runs, seconds, workers } = options;
  await using stage = await openBenchStage({
    scale: 1,
    workers,
    profileFolder: undefined,
    wideClasses: count,
  });
  const script = join(stage.folder, "wide.sql");
  writeFileSync(script, `\\set id random(1, ${WIDE_ROWS})\nselect * from wide where id = :id;\n`);
  const run = (way: Way, of?: string) =>
    pgbench(
      way,
      { mode: "prepared", clients: 1, seconds, ...(of === undefined ? {} : { script: of }) },
      BENCH_DATABASE,
    );
  const costs = { masked: [] as Measured[], plain: [] as Measured[], direct: [] as Measured[] };
  // Until the optimiser and the caches have seen it.
  await run(stage.custody, script);
  for (let at = 0; at < runs; at++) {
    costs.direct.push(await run(stage.direct, script));
    costs.masked.push(await run(stage.custody, script));
    costs.plain.push(await run(stage.custody));
  }
  return costs;
}
