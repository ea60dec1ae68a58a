// What a longer chain costs at sign-in, where it is verified, once a session: connect, one statement, close,
// with a chain of one hop and of four, interleaved.
//   node bench/connect.ts [--json] [--runs N]

import { parseArgs } from "node:util";
import { openLiveStage } from "./live-stage.ts";
import { median, printRows, type Row } from "./rows.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    runs: { type: "string", default: "300" },
  },
});
const runs = Number(values.runs);
const DEPTH = 4;
const WARM_UP = 20;

await using stage = await openLiveStage({ sessions: 50, depth: DEPTH });
const [one] = stage.hops;
const four = stage.hops[DEPTH - 1];
if (one === undefined || four === undefined) throw new Error("no delegations");
const ofOne: number[] = [];
const ofFour: number[] = [];
for (let run = -WARM_UP; run < runs; run++) {
  const [first, second] = [await connect(one.handle), await connect(four.handle)];
  if (run < 0) continue;
  ofOne.push(first);
  ofFour.push(second);
}
const row = (what: string, value: number, peer: number): Row => ({
  name: `connection, 4 hops: ${what}`,
  unit: "ms",
  value,
  against: `one hop, ${peer.toFixed(1)} ms`,
  ratio: value / peer,
  runs,
});
printRows(
  [
    row("median", median(ofFour), median(ofOne)),
    row("p99", percentile(ofFour, 0.99), percentile(ofOne, 0.99)),
  ],
  values.json,
);

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
