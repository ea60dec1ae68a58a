// `npm run fuzz:canary -- --runs 3000 --seed 1`: random statements against the real gateway, with values
// planted in classified columns that must never come back: our own grammar's, and a tenth as many of
// sqlsmith's where it is there. Ends with what was run and found.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { DATABASE, openAttackStage } from "../../conformance/attack/postgres/stage.ts";
import { type CanaryTally, searchCanaries } from "./canary-run.ts";
import { hasSqlsmith, sqlsmithStatements } from "./sqlsmith.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "3000" },
    seed: { type: "string", default: "1" },
    sqlsmith: { type: "string" },
  },
});
const runs = Number(values.runs);
const seed = Number(values.seed);
const smithRuns = Number(values.sqlsmith ?? Math.ceil(runs / 10));

await using stage = await openAttackStage();
const door = {
  ...stage.gateway.postgres,
  ca: readFileSync(stage.gateway.caFile, "utf8"),
  parameters: { user: "shop", database: DATABASE },
  password: stage.handles.wide,
};
const results: boolean[] = [];
let skipped = 0;
if (runs > 0) {
  const tally = await searchCanaries(door, stage.canaries, { seed, runs });
  results.push(report("grammar", tally, tally.statements / 4));
}
if (smithRuns > 0 && hasSqlsmith()) {
  const made = { database: DATABASE, seed, count: smithRuns };
  const statements = sqlsmithStatements(stage.server, made);
  const tally = await searchCanaries(door, stage.canaries, { seed, runs: 0, statements });
  // Most of what it makes computes with whatever there is, which is refused.
  results.push(report("sqlsmith", tally, 0));
} else if (smithRuns > 0) {
  console.log("skipped: sqlsmith is not on this machine");
  skipped++;
}
const passed = results.filter(Boolean).length;
console.log(`\n${passed} passed, ${results.length - passed} failed, ${skipped} skipped`);
process.exitCode = passed === results.length && passed > 0 ? 0 : 1;

/** A run that lets hardly anything through has searched nothing. */
function report(what: string, tally: CanaryTally, leastRows: number): boolean {
  const { statements, gaveRows, refused, closed, leaks } = tally;
  for (const { statement, found } of leaks)
    console.log(`LEAKED ${found.join(", ")}\n  ${statement}`);
  console.log(
    `${what}, seed ${seed}: ${statements} statements, ${gaveRows} gave rows, ${refused} refused, ${closed} sessions closed`,
  );
  const searched = gaveRows >= leastRows && statements - refused >= statements / 20;
  if (!searched) console.log("too few statements ran");
  return leaks.length === 0 && searched;
}
