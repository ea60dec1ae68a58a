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
});
