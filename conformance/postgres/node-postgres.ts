// node-postgres, unmodified.

import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { type Client, failing } from "./cases.ts";
import { type Peer, residentBytes } from "./peers.ts";

const GATEWAY_MEMORY_BYTES = 250 * 1024 * 1024;

export const nodePostgres: Client = {
  name: "node-postgres",
  unavailable: () => undefined,
  cases: [
    {
      name: "types in text, with parameters of every kind",
      run: async (peer) =>
        await withClient(peer, async (client) => {
          const sql =
            "select $1::int4 as i, $2::text as t, $3::timestamptz as at, $4::jsonb as j, $5::bytea as b, $6::text[] as a, $7::numeric as n, $8::bool as o, null as z";
          const values = [
            7,
            "ä'\\\n",
            new Date(0),
            { k: [1] },
            Buffer.from([0, 255]),
            ["x", null],
            "1.50",
            true,
          ];
          const { rows, fields } = await client.query(sql, values);
          return {
            rows,
            fields: fields.map((field) => [field.name, field.dataTypeID, field.format]),
          };
        }),
    },
    {
      name: "a named prepared statement, many times, and one that fails to parse",
      run: async (peer) =>
        await withClient(peer, async (client) => {
          const names: unknown[] = [];
          for (const id of [1, 2, 3, 49]) {
            const query = {
              name: "item",
              text: "select name from items where id = $1",
              values: [id],
            };
            names.push((await client.query(query)).rows);
          }
          const broken = await failing(
            client.query({ name: "broken", text: "selec 1", values: [] }),
          );
          return { names, broken, after: (await client.query("select 1 as one")).rows };
        }),
    },
    {
      name: "a transaction with a savepoint, an error inside it, and a rollback",
      run: async (peer) =>
        await withClient(peer, async (client) => {
          await client.query("begin");
          await client.query("insert into ledger values (1, 10)");
          await client.query("savepoint here");
          const duplicate = await failing(client.query("insert into ledger values (1, 11)"));
          const aborted = await failing(client.query("select 1"));
          await client.query("rollback to here");
          const inside = (await client.query("select * from ledger")).rows;
          await client.query("rollback");
          return { duplicate, aborted, inside, after: await ledger(client) };
        }),
    },
    {
      name: "several statements in one query, and how they roll back together",
      run: async (peer) =>
        await withClient(peer, async (client) => {
          const results = await client.query("select 1 as a; select 2 as b; select 3 as c");
          const list = (results as unknown as pg.QueryResult[]).map((result) => result.rows);
          const failed = await failing(
            client.query("insert into ledger values (5, 5); select 1/0"),
          );
          return { list, failed, after: await ledger(client) };
        }),
    },
    {
      name: "a refused statement in a multi-statement query undoes the ones before it",
      run: async (peer) =>
        await withClient(peer, async (client) => {
          const refused = await failing(
            client.query("insert into ledger values (6, 6); select * from forbidden"),
          );
          return { refused, after: await ledger(client), alive: await one(client) };
        }),
    },
    {
      name: "a refused statement inside a transaction aborts it and nothing more",
      run: async (peer) =>
        await withClient(peer, async (client) => {
          await client.query("begin");
          await client.query("insert into ledger values ($1, $2)", [7, 7]);
          const refused = await failing(client.query("select * from forbidden where id = $1", [1]));
          const aborted = await failing(client.query("select 1"));
          const end = (await client.query("commit")).command;
          return { refused, aborted, end, after: await ledger(client) };
        }),
    },
    {
      name: "queries sent without waiting come back in order, errors in their place",
      run: async (peer) =>
        await withClient(peer, async (client) =>
          Promise.all(
            [1, 0, 2, 0, 3].map((n) =>
              client.query("select 6 / $1::int as q", [n]).then(
                (result) => result.rows,
                (error) => failing(Promise.reject(error)),
              ),
            ),
          ),
        ),
    },
    {
      name: "a cursor, forwards and in pieces",
      run: async (peer) =>
        await withClient(peer, async (client) => {
          await client.query("begin");
          await client.query("declare c cursor for select id, word from many order by id");
          const first = (await client.query("fetch 3 from c")).rows;
          const skipped = (await client.query("move 1000 in c")).command;
          const next = (await client.query("fetch 2 from c")).rows;
          await client.query("close c");
          await client.query("commit");
          return { first, skipped, next };
        }),
    },
    {
      name: "errors carry what PostgreSQL puts into them",
      run: async (peer) =>
        await withClient(peer, async (client) => {
          const statements = [
            "select * from nothing_of_that_name",
            "select nothing from items",
            "insert into items (id, name) values (1, 'other')",
            "insert into items (id, name, price) values (99, 'neg', -1)",
            "select 'x'::int",
            "update items set name = null where id = 1",
            "select from where",
          ];
          const errors: unknown[] = [];
          for (const sql of statements) errors.push(await failing(client.query(sql)));
          return errors;
        }),
    },
    {
      name: "100 MB in one answer, the gateway's memory bounded",
      async run(peer, peers) {
        let peak = 0;
        const timer = setInterval(() => {
          peak = Math.max(peak, residentBytes(peers.process.pid) ?? 0);
        }, 20);
        try {
          const counted = await withClient(peer, countLarge);
          if (peer.name === "gateway") {
            console.log(`         peak memory of the gateway: ${Math.round(peak / 1048576)} MiB`);
            if (peak > GATEWAY_MEMORY_BYTES) throw new Error(`the gateway took ${peak} bytes`);
          }
          return counted;
        } finally {
          clearInterval(timer);
        }
      },
    },
    {
      name: "a reader that stops reading stops the gateway, not its memory",
      run: async (peer, peers) =>
        await withClient(peer, async (client) => {
          const query = new pg.Query({ text: "select payload from large" });
          let rows = 0;
          const done = new Promise<void>((resolve, reject) => {
            query.on("row", () => rows++);
            query.on("end", () => resolve());
            query.on("error", reject);
          });
          const { stream } = (
            client as unknown as { connection: { stream: NodeJS.ReadableStream } }
          ).connection;
          client.query(query);
          await delay(100);
          stream.pause();
          await delay(1500);
          const held = residentBytes(peers.process.pid) ?? 0;
          stream.resume();
          await done;
          return { rows, bounded: held < GATEWAY_MEMORY_BYTES };
        }),
    },
  ],
};

async function withClient<Value>(
  peer: Peer,
  use: (client: pg.Client) => Promise<Value>,
): Promise<Value> {
  const client = new pg.Client({
    host: peer.host,
    port: peer.port,
    user: peer.user,
    password: peer.password,
    database: peer.database,
    ssl: { ca: readFileSync(peer.caFile, "utf8"), servername: "localhost" },
  });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

async function ledger(client: pg.Client): Promise<unknown[]> {
  return (await client.query("select * from ledger order by id")).rows;
}

async function one(client: pg.Client): Promise<unknown[]> {
  return (await client.query("select 1 as one")).rows;
}

/** Reads the large table row by row and keeps none. */
async function countLarge(client: pg.Client): Promise<{ rows: number; bytes: number }> {
  let rows = 0;
  let bytes = 0;
  const query = new pg.Query({ text: "select id, payload from large" });
  const done = new Promise<void>((resolve, reject) => {
    query.on("row", (row: { payload?: string }) => {
      rows++;
      bytes += row.payload?.length ?? 0;
    });
    query.on("end", () => resolve());
    query.on("error", reject);
  });
  client.query(query);
  await done;
  return { rows, bytes };
}
