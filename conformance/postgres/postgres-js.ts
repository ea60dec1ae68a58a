// postgres.js, unmodified: it pipelines by itself and prepares everything.

import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import postgres from "postgres";
import { type Client, failing } from "./cases.ts";
import type { Peer } from "./peers.ts";

export const postgresJs: Client = {
  name: "postgres.js",
  unavailable: () => undefined,
  cases: [
    {
      name: "a pipeline of prepared statements",
      run: async (peer) =>
        await withClient(peer, async (sql) => {
          const ids = Array.from({ length: 40 }, (_, index) => index + 1);
          return await Promise.all(
            ids.map((id) => sql`select id, name, price from items where id = ${id}`),
          );
        }),
    },
    {
      name: "an error in a pipeline stays where it belongs",
      run: async (peer) =>
        await withClient(peer, async (sql) =>
          Promise.all(
            [1, 0, 2].map((n) =>
              sql`select 6 / ${n}::int as q`.then(
                (rows) => [...rows],
                (error) => failing(Promise.reject(error)),
              ),
            ),
          ),
        ),
    },
    {
      name: "a refused statement in a pipeline stays where it belongs",
      run: async (peer) =>
        await withClient(peer, async (sql) => {
          const before = sql`select 1 as a`.then((rows) => [...rows]);
          const refused = failing(sql`select * from forbidden`);
          const after = sql`select 2 as b`.then((rows) => [...rows]);
          return await Promise.all([before, refused, after]);
        }),
    },
    {
      name: "a transaction that commits, one that fails, a savepoint",
      run: async (peer) =>
        await withClient(peer, async (sql) => {
          await sql.begin(async (tx) => {
            await tx`insert into ledger values (20, 1)`;
            await tx.savepoint(async (inner) => inner`update ledger set amount = 2 where id = 20`);
          });
          const committed = [...(await sql`select * from ledger order by id`)];
          const failed = await failing(
            sql.begin(async (tx) => {
              await tx`insert into ledger values (21, 1)`;
              await tx`insert into ledger values (20, 1)`;
            }),
          );
          await sql`delete from ledger where id = 20`;
          return { committed, failed, after: [...(await sql`select * from ledger`)] };
        }),
    },
    {
      name: "COPY in and COPY out",
      run: async (peer) =>
        await withClient(peer, async (sql) => {
          const writable = await sql`copy ledger from stdin`.writable();
          await pipeline(Readable.from(["30\t300\n31", "\t310\n"]), writable);
          const readable = await sql`copy (select * from ledger order by id) to stdout`.readable();
          const out: Buffer[] = [];
          for await (const chunk of readable) out.push(Buffer.from(chunk));
          await sql`delete from ledger where id >= 30`;
          return Buffer.concat(out).toString("utf8");
        }),
    },
    {
      name: "a portal read in pieces",
      run: async (peer) =>
        await withClient(peer, async (sql) => {
          const sizes: number[] = [];
          await sql`select id from many order by id limit 250`.cursor(100, (rows) => {
            sizes.push(rows.length);
          });
          return sizes;
        }),
    },
    {
      name: "cancel of a running query; the connection lives on",
      run: async (peer) =>
        await withClient(peer, async (sql) => {
          // A cancel before there is a connection is lost, and asked for once.
          await sql`select 1`;
          const query = sql`select count(*) from many a, many b, many c`.execute();
          const failed = failing(query);
          await delay(300);
          query.cancel();
          return { failed: await failed, alive: [...(await sql`select 1 as one`)] };
        }),
    },
  ],
};

async function withClient<Value>(
  peer: Peer,
  use: (sql: postgres.Sql) => Promise<Value>,
): Promise<Value> {
  const sql = postgres({
    host: peer.host,
    port: peer.port,
    username: peer.user,
    password: peer.password,
    database: peer.database,
    max: 1,
    onnotice: () => undefined,
    ssl: { ca: readFileSync(peer.caFile, "utf8"), servername: "localhost" },
  });
  try {
    return await use(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
