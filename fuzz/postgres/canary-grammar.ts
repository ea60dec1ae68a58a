// Random statements over the schema of conformance/attack, made from a small grammar: mostly valid, and
// mostly such as the gateway lets through, since only what runs can leak. Deterministic from a seed.
// A query knows the columns it gives out, so that an outer one can use them.

import { type Random, seededRandom } from "./random.ts";

interface Column {
  readonly name: string;
  /** As far as the generator knows: computing with it is denied, so it is seldom done. */
  readonly classified: boolean;
}

interface Source {
  readonly sql: string;
  readonly columns: readonly Column[];
}

const table = (sql: string, plain: string, classified: string): Source => ({
  sql,
  columns: [
    ...plain.split(" ").map((name) => ({ name, classified: false })),
    ...classified.split(" ").map((name) => ({ name, classified: true })),
  ],
});

const TABLES: readonly Source[] = [
  table("customers", "id name note", "email phone ssn profile tags code salary"),
  table("public.customers", "id name note", "email ssn"),
  table("only customers", "id name", "email code"),
  table('"Customers"', "id", "email"),
  table("measured", "id", "mail mail_length mail_again"),
  table("visits", "id", "visitor"),
  table("visits_low", "id", "visitor"),
  table("people", "id", "secret"),
  table("staff", "id room", "secret"),
  table("holders", "id", "contact"),
  table("pairs", "id", "token"),
  table("addresses", "id name", "address loud"),
  table("nested_addresses", "id", "address"),
  table("barrier", "id name", "email"),
  table("mailing", "id", "email"),
  table("named_like", "id", "name"),
  table("lapsed", "id", "mail"),
  table("uses", "id", "device"),
  table("kids", "id", "token"),
  table("coupled", "id name", "later"),
  { sql: "orders", columns: ["id", "status", "due", "total"].map(unclassified) },
  { sql: "scratch", columns: ["id", "word"].map(unclassified) },
  { sql: "swapped", columns: ["id", "label"].map(unclassified) },
];

function unclassified(name: string): Column {
  return { name, classified: false };
}

/** Each call gives the next statement. */
export function createStatements(seed: number): () => string {
  const grammar = new Grammar(seededRandom(seed));
  return () => grammar.statement();
}

class Grammar {
  readonly #random: Random;
  #names = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  statement(): string {
    const random = this.#random;
    const choice = random.below(100);
    if (choice < 84) return this.#query(3).sql;
    if (choice < 90) return this.#write();
    if (choice < 93) return `copy (${this.#query(2).sql}) to stdout`;
    if (choice < 96) return `explain ${this.#query(2).sql}`;
    if (choice < 98) return `select 1; ${this.#query(2).sql}`;
    return `select count(*) from (${this.#query(2).sql}) as counted`;
  }

  /** Nothing is changed: no row is, or each to what it was. */
  #write(): string {
    const random = this.#random;
    const target = random.pick(TABLES.slice(0, 11).filter(({ sql }) => !sql.startsWith("only")));
    const list = this.#list([{ ...target, alias: "t" }], false).sql;
    const explain = random.chance(0.15) ? "explain analyze " : "";
    return `${explain}${this.#changing(target, list)}`;
  }

  #changing(target: Source, list: string): string {
    return this.#random.pick([
      // Fail, and would say so with the whole row.
      `update ${target.sql} as t set id = null where id = 1 returning ${list}`,
      `update customers as t set remark = repeat('x', 60) where id = 1`,
      `update parents set id = 99 where id = 1`,
      `update ${target.sql} as t set id = id where id = 1 returning ${list}`,
      `delete from ${target.sql} as t where id < 0 returning ${list}`,
      `with w as (update ${target.sql} as t set id = id returning ${list}) select * from w`,
      `merge into ${target.sql} as t using (select 1 as one) s on t.id = s.one when matched then update set id = t.id returning ${list}`,
      `update scratch set word = word from ${target.sql} as t where false or t.id = 1 returning ${list}`,
    ]);
  }

  #query(depth: number): Source {
    const random = this.#random;
    const choice = random.below(100);
    if (depth > 0 && choice < 12) return this.#union(depth);
    if (depth > 0 && choice < 26) return this.#common(depth);
    return this.#select(depth);
  }

  #union(depth: number): Source {
    const random = this.#random;
    const left = this.#one(depth - 1);
    const right = this.#one(depth - 1);
    const operator = random.chance(0.85)
      ? "union all"
      : random.pick(["union", "except", "intersect"]);
    const [column = unclassified("x")] = left.columns;
    const classified = left.columns.concat(right.columns).some((one) => one.classified);
    return {
      sql: `(${left.sql}) ${operator} (${right.sql})`,
      columns: [{ ...column, classified }],
    };
  }

  /** One column of text. */
  #one(depth: number): Source {
    const random = this.#random;
    const from = random.pick(TABLES);
    const text = from.columns.filter(({ name }) => TEXTS.has(name));
    if (text.length === 0) return this.#one(depth);
    const column = random.pick(text);
    if (depth > 0 && random.chance(0.3)) {
      const inner = this.#one(depth - 1);
      return { sql: `select * from (${inner.sql}) as ${this.#fresh("s")}`, columns: inner.columns };
    }
    return { sql: `select ${column.name} from ${from.sql}`, columns: [column] };
  }

  #common(depth: number): Source {
    const random = this.#random;
    const name = random.chance(0.2) ? random.pick(["orders", "customers"]) : this.#fresh("w");
    const inner = this.#query(depth - 1);
    const kind = random.pick(["", "materialized ", "not materialized ", "", ""]);
    const outer = this.#list([{ ...inner, alias: name }], true);
    const order = random.chance(0.2) ? ` order by ${random.below(2) + 1}` : "";
    return {
      sql: `with ${name} as ${kind}(${inner.sql}) select ${outer.sql} from ${name}${order}`,
      columns: outer.columns,
    };
  }

  #select(depth: number): Source {
    const random = this.#random;
    const sources = [this.#source(depth)];
    let from = sources[0]?.from ?? "";
    while (sources.length < 3 && random.chance(0.3)) {
      const next = this.#source(depth);
      const join = random.pick([
        "cross join",
        "left join",
        "join",
        ",",
        "join lateral",
        "full join",
      ]);
      const on = join === "," || join === "cross join" ? "" : " on true";
      from = `${from}${join === "," ? "," : ` ${join}`} ${next.from}${on}`;
      sources.push(next);
    }
    const list = this.#list(sources, true);
    const where = random.chance(0.3) ? ` where ${this.#predicate(sources)}` : "";
    const group = random.chance(0.03) ? ` group by ${random.below(2) + 1}` : "";
    const order = random.chance(0.12) ? ` order by ${random.below(list.columns.length) + 1}` : "";
    const distinct = random.chance(0.04) ? "distinct " : "";
    return {
      sql: `select ${distinct}${list.sql} from ${from}${where}${group}${order} limit 20`,
      columns: list.columns,
    };
  }

  #source(depth: number): Source & { readonly alias: string; readonly from: string } {
    const random = this.#random;
    const alias = this.#fresh("t");
    if (depth > 0 && random.chance(0.35)) {
      const inner = this.#query(depth - 1);
      return { ...inner, alias, from: `(${inner.sql}) as ${alias}` };
    }
    const from = random.pick(TABLES);
    return { ...from, alias, from: `${from.sql} as ${alias}` };
  }

  #list(sources: readonly (Source & { readonly alias: string })[], named: boolean): Source {
    const random = this.#random;
    const parts: string[] = [];
    const columns: Column[] = [];
    for (let left = 1 + random.below(4); left > 0; left--) {
      const from = random.pick(sources);
      if (random.chance(0.08)) {
        parts.push(`${from.alias}.*`);
        columns.push(...from.columns);
        continue;
      }
      // A function of the row, written as a column.
      if (from.sql === "orders" && random.chance(0.1)) {
        const name = this.#fresh("x");
        parts.push(named ? `(${from.alias}).mail_of as ${name}` : `(${from.alias}).mail_of`);
        columns.push({ name: named ? name : "mail_of", classified: true });
        continue;
      }
      const column = random.pick(from.columns);
      const reference = `${from.alias}.${column.name}`;
      const computes = random.chance(column.classified ? 0.06 : 0.3);
      const value = computes ? this.#expression(reference, from.alias) : reference;
      const name = this.#fresh("x");
      parts.push(named ? `${value} as ${name}` : value);
      columns.push({ name: named ? name : column.name, classified: column.classified });
    }
    return { sql: parts.join(", "), columns };
  }

  #expression(reference: string, alias: string): string {
    const random = this.#random;
    return random.pick([
      `lower(${reference}::text)`,
      `${reference} is null`,
      `coalesce(${reference}, ${reference})`,
      `case when ${reference} is not null then ${reference} end`,
      `(select ${reference})`,
      `array[${reference}]`,
      `to_json(${reference})`,
      `(${alias}).id`,
      `row_to_json(${alias})`,
      `${reference}::text || ''`,
      `count(${reference}) over ()`,
      `first_value(${reference}) over (order by ${alias}.id)`,
      `encode(convert_to(${reference}::text, 'UTF8'), 'hex')`,
      `exists (select ${reference})`,
      "('x'::text).upper",
      // Functions in SQL, whose bodies are followed.
      `greets(${reference}::text)`,
      `greets(name => ${reference}::text)`,
      `guesses(${reference}::text)`,
      random.pick(["first_mail()", "atomic_mail()", "calls_first()", "with_default()"]),
      random.pick(["with_default('x')", "counts_scratch()", `(select g from greets('x') g)`]),
    ]);
  }

  #predicate(sources: readonly (Source & { readonly alias: string })[]): string {
    const random = this.#random;
    const from = random.pick(sources);
    const plain = from.columns.filter((column) => !column.classified);
    const column =
      plain.length > 0 && random.chance(0.9) ? random.pick(plain) : random.pick(from.columns);
    const reference = `${from.alias}.${column.name}`;
    return random.pick([
      "true",
      `${reference} is not null`,
      `${reference}::text <> 'x'`,
      `exists (select from orders where ${reference} is not null)`,
      `not (${reference} is null)`,
    ]);
  }

  #fresh(prefix: string): string {
    this.#names++;
    return `${prefix}${this.#names}`;
  }
}

const TEXTS = new Set(
  "name note email phone mail mail_again visitor secret room token address loud status due word label".split(
    " ",
  ),
);
