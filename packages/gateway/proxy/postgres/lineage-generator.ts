// For tests: random SELECTs over the shop of classify-fixture.ts, of which most are valid. Deterministic
// from a seed. A query tracks the columns it gives out, so that an outer one can name them.

interface Source {
  readonly sql: string;
  readonly columns: readonly string[];
}

const TABLES: readonly Source[] = [
  { sql: "customers", columns: ["id", "name", "email", "phone", "note", "email_length"] },
  { sql: "public.customers", columns: ["id", "name", "email", "phone", "note", "email_length"] },
  { sql: "orders", columns: ["id", "customer_id", "total", "status"] },
  { sql: "contacts", columns: ["contact", "address", "small"] },
  { sql: "nested", columns: ["contact", "address"] },
  { sql: "vips", columns: ["id", "name"] },
  { sql: "both_mails", columns: ["email"] },
  { sql: "snapshot_mails", columns: ["id", "email"] },
  { sql: "events", columns: ["id", "at", "actor"] },
  { sql: "ONLY events_low", columns: ["id", "at", "actor"] },
  { sql: "derived", columns: ["id", "secret", "extra"] },
  { sql: "internal.people", columns: ["id", "email", "name"] },
  { sql: "generate_series(1, 3)", columns: ["generate_series"] },
];

export function createGenerator(seed: number): () => string {
  let state = seed >>> 0;
  let aliases = 0;
  // Numerical Recipes' linear congruential generator: enough to pick branches.
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const pick = <T>(values: readonly T[]): T => values[random(values.length)] as T;
  const often = (percent: number) => random(100) < percent;
  const fresh = (prefix: string) => `${prefix}${aliases++}`;

  function source(depth: number): Source & { readonly alias: string } {
    const alias = fresh("t");
    if (depth > 0 && often(35)) {
      const inner = query(depth - 1);
      return { alias, sql: `(${inner.sql}) AS ${alias}`, columns: inner.columns };
    }
    const table = pick(TABLES);
    if (table.sql.startsWith("generate_series"))
      return { alias, sql: `${table.sql} AS ${alias}`, columns: [alias] };
    if (often(15)) {
      const renamed = table.columns.map(() => fresh("c"));
      return { alias, sql: `${table.sql} AS ${alias}(${renamed.join(", ")})`, columns: renamed };
    }
    return { alias, sql: `${table.sql} AS ${alias}`, columns: table.columns };
  }

  function expression(name: string): string {
    const shapes = [
      `lower(${name}::text)`,
      `${name} IS NULL`,
      `coalesce(${name}, ${name})`,
      `CASE WHEN ${name} IS NOT NULL THEN 1 ELSE 0 END`,
      `(SELECT ${name})`,
      `ARRAY[${name}]`,
      `json_build_object('k', ${name})`,
    ];
    return pick(shapes);
  }

  /** The select list and the names it gives out. */
  function targets(sources: readonly (Source & { readonly alias: string })[]) {
    const parts: string[] = [];
    const columns: string[] = [];
    const count = 1 + random(4);
    for (let index = 0; index < count; index++) {
      const from = pick(sources);
      if (often(12)) {
        parts.push(`${from.alias}.*`);
        columns.push(...from.columns);
        continue;
      }
      const column = pick(from.columns);
      const reference = `${from.alias}.${column}`;
      const name = fresh("x");
      columns.push(name);
      const value = often(10) ? expression(reference) : reference;
      parts.push(`${often(10) ? `(${value})` : value} AS ${name}`);
    }
    return { sql: parts.join(", "), columns };
  }

  function select(depth: number): Source {
    const sources = [source(depth)];
    let from = sources[0]?.sql ?? "";
    while (often(35) && sources.length < 3) {
      const next = source(depth);
      const join = pick(["CROSS JOIN", ", ", "LEFT JOIN LATERAL", "JOIN"]);
      const condition = join === "CROSS JOIN" || join === ", " ? "" : " ON true";
      from = `${from} ${join} ${next.sql}${condition}`;
      sources.push(next);
    }
    const list = targets(sources);
    const where = often(25) ? ` WHERE ${predicate(sources)}` : "";
    const order = often(12) ? ` ORDER BY ${random(list.columns.length) + 1}` : "";
    const distinct = often(6) ? "DISTINCT " : "";
    const limit = often(25) ? " LIMIT 20" : " LIMIT 50";
    return {
      sql: `SELECT ${distinct}${list.sql} FROM ${from}${where}${order}${limit}`,
      columns: list.columns,
    };
  }

  function predicate(sources: readonly (Source & { readonly alias: string })[]): string {
    const from = pick(sources);
    const reference = `${from.alias}.${pick(from.columns)}`;
    return pick([
      "true",
      `${reference} IS NOT NULL`,
      `${reference}::text = 'x'`,
      `EXISTS (SELECT ${reference})`,
      "1 IN (SELECT 1)",
    ]);
  }

  function query(depth: number): Source {
    const choice = random(100);
    if (depth > 0 && choice < 12) {
      const left = one(depth - 1);
      const right = one(depth - 1);
      const operator = pick(["UNION ALL", "UNION ALL", "UNION", "EXCEPT", "INTERSECT ALL"]);
      const column = left.columns[0] ?? "x";
      return { sql: `(${left.sql}) ${operator} (${right.sql})`, columns: [column] };
    }
    if (depth > 0 && choice < 27) {
      const name = fresh("w");
      const inner = query(depth - 1);
      const kind = pick(["", "MATERIALIZED ", "NOT MATERIALIZED "]);
      const outer = targets([{ ...inner, alias: name }]);
      return {
        sql: `WITH ${name} AS ${kind}(${inner.sql}) SELECT ${outer.sql} FROM ${name} LIMIT 30`,
        columns: outer.columns,
      };
    }
    return select(depth);
  }

  /** One column of type text, for set operations. */
  function one(depth: number): Source {
    const text = new Set(["name", "email", "phone", "note", "status", "address", "small", "actor"]);
    const table = pick(TABLES.filter((candidate) => candidate.columns.some((c) => text.has(c))));
    const column = pick(table.columns.filter((candidate) => text.has(candidate)));
    if (depth > 0 && often(30)) {
      const inner = one(depth - 1);
      return { sql: `SELECT * FROM (${inner.sql}) AS ${fresh("s")}`, columns: inner.columns };
    }
    return { sql: `SELECT ${column} FROM ${table.sql}`, columns: [column] };
  }

  return () => query(3).sql;
}
