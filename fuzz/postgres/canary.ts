// `npm run fuzz:canary -- --runs 3000 --seed 1`: random statements against the real gateway, with values
// planted in classified columns that must never come back. Ends with what was run and found.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { DATABASE, openAttackStage } from "../../conformance/attack/postgres/stage.ts";
import { searchCanaries } from "./canary-run.ts";

const { values } = parseArgs({
  options: { runs: { type: "string", default: "3000" }, seed: { type: "string", default: "1" } },
});
const runs = Number(values.runs);
const seed = Number(values.seed);

await using stage = await openAttackStage();
const door = {
  ...stage.gateway.postgres,
  ca: readFileSync(stage.gateway.caFile, "utf8"),
  parameters: { user: "shop", database: DATABASE },
  password: stage.handles.wide,
};
const { gaveRows, refused, closed, leaks } = await searchCanaries(door, stage.canaries, {
  seed,
  runs,
});
for (const { statement, found } of leaks) console.log(`LEAKED ${found.join(", ")}\n  ${statement}`);
console.log(
  `seed ${seed}: ${runs} statements, ${gaveRows} gave rows, ${refused} refused, ${closed} sessions closed`,
);
// A run that lets hardly anything through has searched nothing.
const searched = gaveRows > runs / 4;
if (!searched) console.log("too few statements gave rows");
console.log(
  `\n${leaks.length === 0 && searched ? 1 : 0} passed, ${leaks.length === 0 && searched ? 0 : 1} failed, 0 skipped`,
);
process.exitCode = leaks.length === 0 && searched ? 0 : 1;
