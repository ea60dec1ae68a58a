// PostgreSQL direct, through PgBouncer and through Custody, interleaved; medians and ratios. CPU time a
// transaction is what a shared machine measures best: it is there for each gateway.
//   node bench/postgres.ts [--rows select,bulk,cold,policies,depth,idle,churn,classes] [--json] [--runs N] [--seconds N]
//     [--clients 1,8] [--modes simple,prepared] [--workers N] [--policies 10,100] [--classes 1,10]
//     [--sessions N] [--profile FOLDER]
// Without --rows: select, pgbench's own. The others take minutes.

import { parseArgs } from "node:util";
import { benchBulk } from "./postgres-bulk.ts";
import { benchChurn } from "./postgres-churn.ts";
import { benchClasses } from "./postgres-classes.ts";
import { benchCold, benchPolicies } from "./postgres-decisions.ts";
import { benchSelect } from "./postgres-select.ts";
import { benchDepth, benchIdle } from "./postgres-sessions.ts";
import { printRows, type Row } from "./rows.ts";
import { openBenchStage } from "./stage.ts";

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "select" },
    json: { type: "boolean", default: false },
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "5" },
    clients: { type: "string", default: "1,8,32" },
    modes: { type: "string", default: "simple,prepared" },
    workers: { type: "string", default: "1" },
    policies: { type: "string", default: "10,100,1000,10000" },
    classes: { type: "string", default: "1,10,100" },
    depths: { type: "string", default: "1,4,8" },
    sessions: { type: "string", default: "1000" },
    profile: { type: "string" },
  },
});
const wanted = new Set(values.rows.split(","));
const numbers = (text: string) => text.split(",").map(Number);
const workers = Number(values.workers);
const runs = Number(values.runs);
const seconds = Number(values.seconds);

const rows: Row[] = [];
if (["select", "bulk", "cold", "policies", "churn"].some((name) => wanted.has(name))) {
  await using stage = await openBenchStage({ scale: 1, workers, profileFolder: values.profile });
  if (wanted.has("select")) {
    const modes = values.modes.split(",");
    rows.push(
      ...(await benchSelect(stage, { runs, seconds, modes, clients: numbers(values.clients) })),
    );
  }
  if (wanted.has("bulk")) rows.push(...(await benchBulk(stage, runs)));
  if (wanted.has("cold")) rows.push(...(await benchCold(stage, runs)));
  if (wanted.has("churn"))
    rows.push(...(await benchChurn(stage, { runs, seconds, clients: [1, 8] })));
  if (wanted.has("policies"))
    rows.push(...(await benchPolicies(stage, { runs, seconds, counts: numbers(values.policies) })));
}
if (wanted.has("classes"))
  rows.push(...(await benchClasses({ runs, seconds, workers, counts: numbers(values.classes) })));
if (wanted.has("depth"))
  rows.push(...(await benchDepth({ runs, seconds, workers, depths: numbers(values.depths) })));
if (wanted.has("idle"))
  rows.push(...(await benchIdle({ workers, sessions: Number(values.sessions) })));
printRows(rows, values.json);
