// psql, unmodified: what it prints is compared, line by line.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { Case, Client } from "./cases.ts";
import { libpqEnvironment, type Peer } from "./peers.ts";

const version = spawnSync("psql", ["--version"], { encoding: "utf8" });

const scripts: [name: string, script: string][] = [
  [
    "queries in several formats",
    "select id, name, price from items order by id limit 3;\n\\x\nselect * from items where id = 7;\n\\pset format csv\nselect id, tags, doc from items where id < 4 order by 1;",
  ],
  [
    "transactions, savepoints and the aborted state",
    "begin;\ninsert into ledger values (50, 1);\nsavepoint s;\nselect 1/0;\nselect 1;\nrollback to s;\nselect * from ledger;\nrollback;\nselect * from ledger;",
  ],
  [
    "PREPARE and EXECUTE",
    "prepare p (int) as select name from items where id = $1;\nexecute p (3);\nexecute p (4);\ndeallocate p;\nexecute p (5);",
  ],
  [
    "DECLARE and FETCH",
    "begin;\ndeclare c cursor for select id from many order by id;\nfetch 2 from c;\nfetch 2 from c;\nclose c;\ncommit;",
  ],
  [
    "\\copy to and from",
    "\\copy (select id, name from items where id < 4 order by id) to stdout csv header\n\\copy ledger from stdin csv\n60,1\n61,2\n\\.\nselect * from ledger order by id;\ndelete from ledger where id >= 60;",
  ],
  [
    "COPY from stdin with a broken line",
    "copy ledger from stdin;\n70\tnot a number\n\\.\nselect count(*) from ledger;",
  ],
  [
    "errors with their place in the text",
    "select nothing from items;\nselect * form items;\ninsert into items (id, name) values (1, 'x');",
  ],
  [
    "several statements in one message",
    "select 1 as a \\; select 2 as b;\ninsert into ledger values (80, 1) \\; select 1/0;\nselect count(*) from ledger;",
  ],
  [
    "settings that are free",
    "set datestyle to german;\nselect made from items where id = 1;\nset timezone to 'Asia/Tokyo';\nselect made from items where id = 1;\nset extra_float_digits to 0;\nshow datestyle;",
  ],
  ["\\d, \\dt and \\df of the catalogue", "\\dt\n\\d items\n\\d ledger"],
  ["\\gdesc and \\crosstabview ask the server for the shape", "select id, name from items \\gdesc"],
];

export const psql: Client = {
  name: version.status === 0 ? version.stdout.trim().replace(/ \(.*/, "") : "psql",
  unavailable: () => (version.status === 0 ? undefined : "psql is not installed"),
  cases: [...scripts.map(scriptCase), { name: "ctrl-C cancels the running query", run: cancelled }],
};

function scriptCase([name, script]: [string, string]): Case {
  return {
    name,
    async run(peer) {
      const { child, output } = start(peer);
      child.stdin.end(`${script}\n`);
      await once(child, "close");
      return output();
    },
  };
}

/** A script ends when it is interrupted: the cancel's error, then psql's own exit code. */
async function cancelled(peer: Peer): Promise<unknown> {
  const { child, output } = start(peer);
  const closed = once(child, "close");
  child.stdin.write("\\warn started\nselect count(*) from many a, many b, many c;\n");
  await once(child.stderr, "data");
  await delay(400);
  child.kill("SIGINT");
  const [code] = await closed;
  return { code, ...output() };
}

function start(peer: Peer) {
  const child = spawn("psql", ["-X", "-f", "-"], {
    env: libpqEnvironment(peer),
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.on("error", () => undefined);
  const chunks: Buffer[] = [];
  const errors: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk));
  const lines = (parts: Buffer[]) => Buffer.concat(parts).toString("utf8").split("\n");
  return { child, output: () => ({ stdout: lines(chunks), stderr: lines(errors) }) };
}
