// The one shape of a benchmark's result: medians, with the peer measured in the same run.

export interface Row {
  readonly name: string;
  readonly unit: string;
  /** Custody's median. */
  readonly value: number;
  /** What it is held against: `pgbouncer 1.18`, `direct`. */
  readonly against: string;
  /** Custody's median by the peer's; undefined where the value is a difference already. */
  readonly ratio: number | undefined;
  readonly runs: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** `--json`: the array alone; otherwise a table for people. */
export function printRows(rows: readonly Row[], json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    return;
  }
  for (const { name, unit, value, against, ratio, runs } of rows)
    process.stdout.write(
      `${name.padEnd(36)} ${value.toFixed(value < 100 ? 3 : 0).padStart(10)} ${unit.padEnd(8)} ` +
        `${ratio === undefined ? "against" : `${ratio.toFixed(2).padStart(6)} of`} ${against} (${runs} runs)\n`,
    );
}
