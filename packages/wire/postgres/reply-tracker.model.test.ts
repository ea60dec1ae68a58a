import assert from "node:assert/strict";
import test from "node:test";
import { startPostgres } from "../../../conformance/support/postgres-server.ts";
import { MODEL_SCHEMA, PipelineModel } from "../../../fuzz/postgres/pipeline-model.ts";
import { seededRandom } from "../../../fuzz/postgres/random.ts";
import { connectRaw } from "../../../fuzz/postgres/raw-connection.ts";

const RUNS = Number(process.env.CUSTODY_RUNS ?? 300);
const SEED = Number(process.env.CUSTODY_SEED ?? 1);

test(`${RUNS} random pipelines stay in step with PostgreSQL`, async () => {
  await using server = await startPostgres({ tls: false, databases: ["model"] });
  await server.query("model", MODEL_SCHEMA);
  await using connection = await connectRaw(server.connection("model"));
  const random = seededRandom(SEED);
  const model = new PipelineModel(connection, random, { maxOutstanding: 1000, patienceMs: 5000 });
  for (let run = 0; run < RUNS; run++) {
    try {
      await model.run(5 + random.below(60));
    } catch (error) {
      throw new Error(`pipeline ${run} of seed ${SEED}`, { cause: error });
    }
  }
  for (const what of MUST_HAPPEN) assert.ok(model.seen.has(what), `never happened: ${what}`);
});

/** What the pipelines have to come across, or the test shows nothing. */
const MUST_HAPPEN = [
  ...["parse 1", "parse E", "bind 2", "bind E", "close 3", "sync Z", "sync E"],
  ...["describe-statement t", "describe-statement T", "describe-statement n"],
  ...["describe-portal T", "describe-portal n", "describe-portal E", "describe-statement E"],
  ...["execute D", "execute C", "execute s", "execute I", "execute E"],
  ...["execute G", "execute H", "execute d", "execute c"],
  ...["query T", "query D", "query C", "query I", "query E", "query Z"],
  ...["query G", "query H", "query d", "query c", "function V", "function E", "function Z"],
  ...[
    "nothing N",
    "nothing S",
    "nothing A",
    "skipped query",
    "skipped function",
    "skipped execute",
  ],
  ...["skipped parse", "skipped bind", "skipped close"],
];
