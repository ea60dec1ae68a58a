// Prisma's client, generated from what Prisma itself saw of this database, over its adapter for node-postgres. Runs
// the case its argument names against DATABASE_URL and prints what came out, a line a fact; without one, their names.
// What must be otherwise through the gateway is asserted here, by CUSTODY_PEER.

import assert from "node:assert/strict";

const THROUGH = process.env.CUSTODY_PEER === "gateway";
/** More than a case takes: nothing here is to fail for a machine that is busy. */
const PATIENT = { maxWait: 60_000, timeout: 60_000 };

const CASES = {
  "find, filter, order, page, count, aggregate, group": async (db) => {
    const plain = { id: true, name: true, price: true, made: true, tags: true, doc: true };
    print(await db.items.findUnique({ where: { id: 3 }, select: plain }));
    print(await db.items.findUnique({ where: { name: "item 4" }, omit: { raw: true } }));
    const cheap = { price: { lt: 9 }, name: { contains: "ITEM", mode: "insensitive" } };
    print(
      await db.items.findMany({
        where: { ...cheap, OR: [{ tags: { has: "b2" } }, { doc: { path: ["n"], gt: 3 } }] },
        orderBy: [{ price: "desc" }],
        select: plain,
      }),
    );
    print(
      await db.items.findMany({
        skip: 5,
        take: 3,
        cursor: { id: 10 },
        orderBy: { id: "asc" },
        select: { id: true },
      }),
    );
    print(await db.items.count({ where: cheap }), await db.many.count());
    print(
      await db.items.aggregate({
        _sum: { price: true },
        _avg: { price: true },
        _max: { made: true },
      }),
    );
    print(
      await db.ledger.groupBy({ by: ["amount"], _count: true, having: { amount: { gt: -1 } } }),
    );
  },

  "create, update, upsert, many at once": async (db) => {
    await undone(db, async (tx) => {
      print(await tx.ledger.create({ data: { id: 7300, amount: 1 } }));
      print(
        await tx.ledger.createManyAndReturn({
          data: [1, 2, 3].map((n) => ({ id: 7300 + n, amount: n })),
        }),
      );
      print(await tx.ledger.createMany({ data: [{ id: 7300, amount: 9 }], skipDuplicates: true }));
      print(await tx.ledger.update({ where: { id: 7300 }, data: { amount: { increment: 5 } } }));
      print(
        await tx.ledger.updateMany({
          where: { id: { gte: 7301 } },
          data: { amount: { multiply: 2 } },
        }),
      );
      for (const id of [7300, 7310])
        print(
          await tx.ledger.upsert({
            where: { id },
            create: { id, amount: 1 },
            update: { amount: 100 },
          }),
        );
      print(await tx.ledger.findMany({ where: { id: { gte: 7300 } }, orderBy: { id: "asc" } }));
    });
    print(await db.ledger.count({ where: { id: { gte: 7300 } } }));
    print(await failing(db.items.create({ data: { id: 1, name: "again" }, select: { id: true } })));
    print(await failing(db.child.create({ data: { id: 1, item: 99_999 } })));
    print(await failing(db.ledger.update({ where: { id: -1 }, data: { amount: 1 } })));
  },

  "relations, read and written": async (db) => {
    await undone(db, async (tx) => {
      const children = { create: [{ id: 1 }, { id: 2 }] };
      const made = { id: 900, name: "parent", price: "1.50", child: children };
      print(await tx.items.create({ data: made, select: { name: true, child: true } }));
      print(await tx.child.update({ where: { id: 2 }, data: { items: { connect: { id: 3 } } } }));
      print(
        await tx.child.findMany({
          include: { items: { omit: { raw: true } } },
          orderBy: { id: "asc" },
        }),
      );
      const some = { child: { some: { id: { lt: 2 } } } };
      print(
        await tx.items.findMany({
          where: some,
          select: { id: true, _count: { select: { child: true } } },
        }),
      );
      print(await tx.items.count({ where: { child: { none: {} } } }));
      print(await tx.child.findUnique({ where: { id: 1 } }).items({ select: { name: true } }));
    });
  },

  "interactive transactions: kept, rolled back, of each level of isolation": async (db) => {
    for (const isolationLevel of ["ReadCommitted", "RepeatableRead", "Serializable"]) {
      const level = await db
        .$transaction(
          async (tx) => {
            await tx.ledger.create({ data: { id: 7400, amount: 1 } });
            const inside = await tx.ledger.count({ where: { id: 7400 } });
            assert.equal(
              await db.ledger.count({ where: { id: 7400 } }),
              0,
              "another connection sees it",
            );
            const [row] =
              await tx.$queryRaw`select current_setting('transaction_isolation') as level`;
            await tx.$executeRaw`rollback to savepoint nowhere`.catch((error) => print(error.code));
            return `${row.level} ${inside}`;
          },
          { isolationLevel },
        )
        .catch((error) => reduced(error));
      print(level, await db.ledger.count({ where: { id: 7400 } }));
    }
    await db.$transaction(async (tx) => {
      await tx.ledger.upsert({
        where: { id: 7401 },
        create: { id: 7401, amount: 5 },
        update: { amount: 5 },
      });
    });
    print(await db.ledger.findMany({ where: { id: 7401 } }));
  },

  "batches in one transaction": async (db) => {
    print(
      await db.$transaction([
        db.items.count(),
        db.$queryRaw`select 1 as one`,
        db.ledger.count({ where: { id: 7500 } }),
      ]),
    );
    const rejected = db.$transaction([
      db.ledger.create({ data: { id: 7500, amount: 1 } }),
      db.ledger.create({ data: { id: 7500, amount: 2 } }),
    ]);
    print(await failing(rejected), await db.ledger.count({ where: { id: 7500 } }));
    print(
      await db.$transaction([db.ledger.count({ where: { id: 7500 } })], {
        isolationLevel: "Serializable",
      }),
    );
  },

  "raw queries, tagged and as text": async (db, { Prisma }) => {
    const [low, names] = [3, ["item 1", "item 2"]];
    print(
      await db.$queryRaw`select id, name, price, made, tags, doc from items where id < ${low} order by id`,
    );
    print(
      await db.$queryRaw(
        Prisma.sql`select id from items where name in (${Prisma.join(names)}) ${Prisma.empty} order by id`,
      ),
    );
    print(
      await db.$queryRawUnsafe("select id, $2::text as said from items where id = $1", 5, "it's"),
    );
    print(
      await db.$queryRawUnsafe(
        "select 'a;b' as text, 12345678901234::bigint::text as large, null as nothing, true as yes",
      ),
    );
    await undone(db, async (tx) => {
      print(await tx.$executeRaw`insert into ledger values (${7600}, ${1}), (${7601}, ${2})`);
      print(await tx.$executeRawUnsafe("update ledger set amount = $1 where id >= $2", 8, 7600));
    });
    print(
      await failing(db.$queryRaw`select * from nowhere`),
      await failing(db.$queryRaw`select 1 / ${0}::int`),
    );
    print(await failing(db.$queryRaw`selec 1`));
  },

  "statements prepared by name": async (_, { open }) => {
    const names = new Map();
    const statementNameGenerator = ({ sql }) => {
      if (!names.has(sql)) names.set(sql, `prisma_${names.size}`);
      return names.get(sql);
    };
    const db = open({ statementNameGenerator });
    for (let id = 1; id <= 20; id++)
      print(await db.items.findUnique({ where: { id }, select: { name: true } }));
    await undone(db, async (tx) => {
      for (let id = 7700; id < 7705; id++) await tx.ledger.create({ data: { id, amount: id } });
      print(await tx.ledger.count({ where: { id: { gte: 7700 } } }));
    });
    print(names.size > 2);
    await db.$disconnect();
  },

  "a classified column is read as its mask, in whatever way": async (db) => {
    const masked = (value) => (THROUGH ? "[masked pii.email]" : value);
    const first = await db.person.findUniqueOrThrow({ where: { id: 1 } });
    assert.deepEqual(first, { id: 1, name: "Ada", email: masked("ada@example.com"), item: 1 });
    const many = await db.items.findMany({
      where: { id: { lte: 2 } },
      include: { person: true },
      orderBy: { id: "asc" },
    });
    assert.deepEqual(
      many.map(({ person }) => person.map(({ email }) => email)),
      [[masked("ada@example.com")], [masked("bob@example.com")]],
    );
    assert.equal(many[0].raw === null, THROUGH);
    const [raw] = await db.$queryRaw`select email from person where id = ${2}`;
    assert.equal(raw.email, masked("bob@example.com"));
    await undone(db, async (tx) => {
      const made = await tx.person.create({
        data: { id: 9, name: "Cid", email: "cid@example.com" },
      });
      assert.equal(made.email, masked("cid@example.com"));
      const renamed = await tx.person.update({ where: { id: 9 }, data: { name: "Cyd" } });
      assert.deepEqual([renamed.name, renamed.email], ["Cyd", masked("cid@example.com")]);
    });
    print("as it should be");
  },

  "what is denied is an error with the gateway's words, and the connection lives on": async (
    db,
  ) => {
    const made = THROUGH ? /Custody denied create on / : /permission denied for schema/;
    for (const [denied, words] of [
      // The policies permit it; the account was granted nothing of the table.
      [() => db.$queryRaw`select * from forbidden`, /permission denied for table forbidden/],
      [() => db.$executeRawUnsafe("create table more (id int)"), made],
      [() => db.$transaction((tx) => tx.$executeRawUnsafe("create table more (id int)")), made],
      [() => db.$transaction([db.$executeRawUnsafe("create table more (id int)")]), made],
    ]) {
      await assert.rejects(denied(), ({ message }) => words.test(message));
      print(await db.ledger.count({ where: { id: 1 } }));
    }
    const searches = [
      () => db.person.findFirst({ where: { email: "ada@example.com" } }),
      () => db.person.findMany({ where: { email: { startsWith: "a" } } }),
      () => db.person.findMany({ orderBy: { email: "asc" } }),
      () => db.person.groupBy({ by: ["email"] }),
      () => db.person.aggregate({ _min: { email: true } }),
    ];
    for (const search of searches) {
      const outcome = await search().then(
        () => "found",
        ({ message }) => message,
      );
      assert.match(outcome, THROUGH ? /Custody denied use of public\.person\.email/ : /^found$/);
    }
    print(await db.person.count());
  },

  "a delete waits for who approves, and says so when nobody does": async (db) => {
    await db.ledger.upsert({ where: { id: 7800 }, create: { id: 7800, amount: 1 }, update: {} });
    const deleted = db.ledger.delete({ where: { id: 7800 } });
    if (THROUGH) await assert.rejects(deleted, /Custody .*not executed/s);
    else await deleted;
    print(await db.items.count());
  },
};

function print(...values) {
  const large = (_, value) => (typeof value === "bigint" ? `${value}n` : value);
  console.log(JSON.stringify(values, large));
}

/** Its changes are seen in it and taken back: rows go only with somebody's approval. */
async function undone(db, work) {
  const end = new Error("taken back");
  const run = db.$transaction(async (tx) => {
    await work(tx);
    throw end;
  });
  await assert.rejects(run, (error) => {
    if (error !== end) throw error;
    return true;
  });
}

async function failing(work) {
  return work.then(() => "it did not fail", reduced);
}

function reduced(error) {
  const { name, code, meta } = error;
  const { kind, originalCode } = meta?.driverAdapterError?.cause ?? {};
  return { name, code, kind, originalCode };
}

async function start(name) {
  // What it is made of is there only where it is run.
  const [{ PrismaPg }, { Prisma, PrismaClient }] = await Promise.all([
    import("@prisma/adapter-pg"),
    import("./client/index.js"),
  ]);
  const pool = { connectionString: process.env.DATABASE_URL, max: 2 };
  const open = (settings) =>
    new PrismaClient({
      adapter: new PrismaPg(pool, settings),
      log: [],
      transactionOptions: PATIENT,
    });
  const db = open();
  await CASES[name](db, { open, Prisma });
  await db.$disconnect();
}

if (process.argv[2] === undefined) console.log(Object.keys(CASES).join("\n"));
else await start(process.argv[2]);
