// Prisma's schema engine where its binary is wanted (PRISMA_SCHEMA_ENGINE_BINARY): the same engine, from
// @prisma/schema-engine-wasm, over Prisma's own adapter for node-postgres. Its command line, and the
// JSON-RPC on its standard input and output, are the binary's, as far as `prisma db` and `migrate diff` use them.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { PrismaPg } from "@prisma/adapter-pg";
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from "@prisma/driver-adapter-utils";
import * as bindings from "@prisma/schema-engine-wasm/schema_engine_bg";

/** The binary's, of an error that it can name. */
const EXIT_FAILED = 1;

/** pg_type's OIDs: the catalogue is full of "char", which the engine's own driver reads and the adapter does not. */
const [CHAR, BPCHAR] = [18, 1042];

/** The adapter, with columns of type "char" told apart from text. */
function openAdapter() {
  const factory = new PrismaPg({ connectionString: process.env.DATABASE_URL });
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const adapter = await connect();
    const { queryRaw } = adapter;
    adapter.queryRaw = async (query) => {
      const characters = [];
      const noting = async (asked) => {
        const result = await adapter.performIO(asked);
        for (const [index, field] of result.fields.entries()) {
          if (field.dataTypeID !== CHAR) continue;
          field.dataTypeID = BPCHAR;
          characters.push(index);
        }
        return result;
      };
      const own = Object.create(adapter, { performIO: { value: noting } });
      const result = await queryRaw.call(own, query);
      for (const index of characters) result.columnTypes[index] = ColumnTypeEnum.Character;
      return result;
    };
    return adapter;
  };
  return factory;
}

const adapters = openAdapter();
const factory = bindMigrationAwareSqlAdapterFactory(adapters);

async function openEngine() {
  // What the engine logs is not for its output.
  for (const name of ["debug", "error", "info", "log", "warn"]) console[name] = () => {};
  const here = import.meta.resolve("@prisma/schema-engine-wasm/schema_engine_bg");
  const code = readFileSync(fileURLToPath(here.replace(/\.js$/, ".wasm")));
  globalThis.PRISMA_WASM_PANIC_REGISTRY = {
    set_message: (text) => process.stderr.write(`${text}\n`),
  };
  const { instance } = await WebAssembly.instantiate(code, { "./schema_engine_bg.js": bindings });
  bindings.__wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start();
  const datamodels = process.argv.flatMap((word, index) =>
    word === "--datamodels"
      ? [[process.argv[index + 1], readFileSync(process.argv[index + 1], "utf8")]]
      : [],
  );
  const given = datamodels.length === 0 ? {} : { datamodels };
  return bindings.SchemaEngine.new(given, () => {}, factory);
}

/** As the CLI reads them. What the adapter threw the engine knows by a number alone. */
function faultOf(error) {
  const number = /External error id#(\d+)/.exec(String(error?.message))?.[1];
  const thrown =
    number === undefined ? error : factory.errorRegistry.consumeError(Number(number))?.error;
  const message = String(thrown?.message ?? thrown);
  return { code: 4466, message: "An error happened.", data: { is_panic: false, message } };
}

async function serve() {
  let engine;
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, method, params } = JSON.parse(line);
    let answer;
    try {
      engine ??= await openEngine();
      const name = method === "getDatabaseVersion" ? "version" : method;
      answer = { result: (await engine[name](params)) ?? {} };
    } catch (error) {
      answer = { error: faultOf(error) };
    }
    process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", id, ...answer })}\n`);
  }
}

async function canConnect() {
  try {
    const adapter = await adapters.connect();
    await adapter.executeScript("select 1");
  } catch (error) {
    const fields = { message: String(error?.message ?? error), error_code: error?.code ?? "P1001" };
    const told = { level: "ERROR", target: "schema_engine::logger", fields };
    // The CLI reads all lines but the first.
    process.stderr.write(`\n${JSON.stringify(told)}`);
    process.exit(EXIT_FAILED);
  }
}

if (process.argv.includes("can-connect-to-database")) await canConnect();
else await serve();
process.exit(0);
