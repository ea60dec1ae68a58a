// What a longer chain costs at sign-in, where it is verified, once a session: connect, one statement, close,
// with a chain of one hop and of four, in pairs whose order changes. The tail is the machine's as much as
// ours, so the difference of the two comes with what resampling the pairs makes of it.
//   node bench/connect.ts [--json] [--runs N]

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Delegated, openLiveStage } from "./live-stage.ts";
import { median, printRows, type Row } from "./rows.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    runs: { type: "string", default: "500" },
  },
});
const runs = Number(values.runs);
const DEPTH = 4;
const WARM_UP = 20;
const RESAMPLES = 2000;
const CPU_BATCHES = 8;
const CPU_BATCH = 25;

await using stage = await openLiveStage({ sessions: 50, depth: DEPTH });
const one = hopOf(0);
const four = hopOf(DEPTH - 1);
const ofOne: number[] = [];
const ofFour: number[] = [];
for (let run = -WARM_UP; run < runs; run++) {
  // Which comes first changes with every pair, so that what one leaves behind is not the other's.
  const order = run % 2 === 0 ? [one, four] : [four, one];
  for (const { handle } of order) {
    const tookMs = await connect(handle);
    if (run >= 0) (handle === one.handle ? ofOne : ofFour).push(tookMs);
  }
}
const [cpuOfOne, cpuOfFour] = await processorTimes();
const row = (what: string, value: number, peer: number): Row => ({
  name: `connection, 4 hops: ${what}`,
  unit: "ms",
  value,
  against: `one hop, ${peer.toFixed(1)} ms`,
  ratio: value / peer,
  runs,
});
const over = (of: (found: readonly number[]) => number) => of(ofFour) - of(ofOne);
const p99 = (found: readonly number[]) => percentile(found, 0.99);
const [low, high] = interval(() => {
  const picks = ofOne.map(() => Math.floor(Math.random() * ofOne.length));
  const at = (found: readonly number[]) => picks.map((index) => found[index] ?? 0);
  return p99(at(ofFour)) - p99(at(ofOne));
});
const tenth = (value: number) => value.toFixed(1);
printRows(
  [
    row("median", median(ofFour), median(ofOne)),
    row("p99", p99(ofFour), p99(ofOne)),
    {
      name: "connection, 4 hops over one: median of the pairs",
      unit: "ms",
      value: median(ofFour.map((value, index) => value - (ofOne[index] ?? 0))),
      against: "the same pair",
      ratio: undefined,
      runs,
    },
    {
      name: "connection, 4 hops over one: p99",
      unit: "ms",
      value: over(p99),
      against: `bound 10 ms; 95 % of resampled pairs between ${tenth(low)} and ${tenth(high)}`,
      ratio: undefined,
      runs,
    },
    row("processor time of the gateway", cpuOfFour, cpuOfOne),
  ],
  values.json,
);

function hopOf(depth: number): Delegated {
  const hop = stage.hops[depth];
  if (hop === undefined) throw new Error("no delegations");
  return hop;
}

/** Of one connection, with one hop and with four: what no other load of the machine can add to. */
async function processorTimes(): Promise<readonly [number, number]> {
  const spent = [0, 0];
  for (let batch = 0; batch < CPU_BATCHES * 2; batch++) {
    const which = batch % 2;
    const { handle } = which === 0 ? one : four;
    const before = processorMs();
    for (let made = 0; made < CPU_BATCH; made++) await connect(handle);
    spent[which] = (spent[which] ?? 0) + processorMs() - before;
  }
  const [first = 0, second = 0] = spent.map((ms) => ms / (CPU_BATCHES * CPU_BATCH));
  return [first, second];
}

/** Of all threads of the gateway; proc(5), fields 14 and 15, in hundredths of a second. */
function processorMs(): number {
  const fields = readFileSync(`/proc/${stage.gateway.pid}/stat`, "utf8").split(") ")[1]?.split(" ");
  return (Number(fields?.[11]) + Number(fields?.[12])) * 10;
}

/** Of what is drawn anew RESAMPLES times: the middle 95 %. */
function interval(draw: () => number): readonly [number, number] {
  const drawn = Array.from({ length: RESAMPLES }, draw);
  return [percentile(drawn, 0.025), percentile(drawn, 0.975)];
}

async function connect(handle: string): Promise<number> {
  const client = stage.client(handle);
  const startedMs = performance.now();
  await client.connect();
  await client.query("select 1");
  const tookMs = performance.now() - startedMs;
  await client.end();
  return tookMs;
}

function percentile(found: readonly number[], part: number): number {
  const sorted = [...found].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}
