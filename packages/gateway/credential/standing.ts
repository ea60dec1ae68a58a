// The gateway's own connections to a PostgreSQL target: to make session roles, to end backends, to read
// the catalogue. Outside the relayed path, so node-postgres serves them (ADR 0002). One connection for
// each (target, login, database), opened when first used, one statement at a time, opened again after a
// failure; and one beside it for what must not wait behind the others: the end of sessions.

import { readFile } from "node:fs/promises";
import pg from "pg";
import { GatewayError } from "../base/errors.ts";
import type { PostgresTarget, StandingLogin } from "../target/target.ts";
import type { ResolveSecret } from "./secrets.ts";

export type Rows = Record<string, unknown>[];

export interface StandingConnections extends AsyncDisposable {
  /** Throws GatewayError "target_unavailable"; the server's own words are in `cause` only. */
  query(
    target: PostgresTarget,
    login: StandingLogin,
    database: string,
    sql: string,
    values?: readonly unknown[],
    /** In place of the usual one. */
    timeoutMs?: number,
  ): Promise<Rows>;
  /** The same on a connection of its own, in this very turn when it is open and idle. */
  urgent(
    target: PostgresTarget,
    login: StandingLogin,
    database: string,
    sql: string,
    values: readonly unknown[],
  ): Promise<Rows>;
  /** Opens the connection of `urgent` ahead of its use; what fails now is tried again then. */
  prepareUrgent(target: PostgresTarget, login: StandingLogin, database: string): void;
}

export interface StandingDeps {
  readonly resolveSecret: ResolveSecret;
  readonly connectTimeoutMs: number;
  readonly queryTimeoutMs: number;
}

export function openStandingConnections(deps: StandingDeps): StandingConnections {
  const lanes = new Map<string, Lane>();
  const laneOf = (
    purpose: "common" | "urgent",
    target: PostgresTarget,
    login: StandingLogin,
    database: string,
  ): Lane => {
    const { name, host, port } = target;
    const key = JSON.stringify([purpose, name, host, port, login.user, database]);
    const known = lanes.get(key);
    if (known !== undefined) return known;
    const lane = new Lane(() => connect(target, login, database, deps));
    lanes.set(key, lane);
    return lane;
  };
  return {
    query: (target, login, database, sql, values = [], timeoutMs) =>
      laneOf("common", target, login, database).run(target.name, sql, values, timeoutMs),
    urgent: (target, login, database, sql, values) =>
      laneOf("urgent", target, login, database).run(target.name, sql, values),
    prepareUrgent: (target, login, database) =>
      laneOf("urgent", target, login, database).prepare(target.name),
    async [Symbol.asyncDispose]() {
      await Promise.all([...lanes.values()].map((lane) => lane.close()));
    },
  };
}

/** One connection; its statements wait for each other. */
class Lane {
  readonly #connect: () => Promise<pg.Client>;
  #client: pg.Client | undefined;
  #last: Promise<unknown> = Promise.resolve();
  /** Statements asked for and not answered. */
  #depth = 0;

  constructor(connectClient: () => Promise<pg.Client>) {
    this.#connect = connectClient;
  }

  run(
    targetName: string,
    sql: string,
    values: readonly unknown[],
    timeoutMs?: number,
  ): Promise<Rows> {
    const once = () => this.#once(targetName, sql, values, timeoutMs);
    const result = this.#depth === 0 ? once() : this.#last.then(once);
    this.#depth += 1;
    this.#last = result.catch(() => undefined).finally(() => (this.#depth -= 1));
    return result;
  }

  /** Nobody waits for it, and who comes meanwhile waits for it. */
  prepare(targetName: string): void {
    if (this.#client !== undefined || this.#depth > 0) return;
    this.run(targetName, "SELECT 1", []).catch(() => undefined);
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#client?.end().catch(() => undefined);
    this.#client = undefined;
  }

  async #once(
    targetName: string,
    sql: string,
    values: readonly unknown[],
    timeoutMs: number | undefined,
  ): Promise<Rows> {
    try {
      this.#client ??= await this.#opened();
      const query =
        timeoutMs === undefined ? { text: sql } : { text: sql, query_timeout: timeoutMs };
      const result: pg.QueryResult | pg.QueryResult[] = await this.#client.query({
        ...query,
        values: [...values],
      });
      return Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows;
    } catch (cause) {
      // An SQL error leaves the connection usable; anything else, and being ended, does not.
      if (!(cause instanceof pg.DatabaseError) || isEnding(cause)) this.#drop();
      throw new GatewayError(
        "target_unavailable",
        `target ${targetName}: the gateway's own connection failed`,
        { hint: "tell whoever runs the gateway; its log has the target's words", cause },
      );
    }
  }

  async #opened(): Promise<pg.Client> {
    const client = await this.#connect();
    client.on("error", () => this.#drop());
    client.on("end", () => {
      if (this.#client === client) this.#client = undefined;
    });
    return client;
  }

  #drop(): void {
    const client = this.#client;
    this.#client = undefined;
    client?.end().catch(() => undefined);
  }
}

/** Classes 08 (connection exception) and 57P (operator intervention): the server closes it. */
function isEnding({ code = "" }: pg.DatabaseError): boolean {
  return code.startsWith("08") || code.startsWith("57P");
}

async function connect(
  target: PostgresTarget,
  login: StandingLogin,
  database: string,
  deps: StandingDeps,
): Promise<pg.Client> {
  const password = await deps.resolveSecret(login.password);
  const ssl = target.tls.mode === "verify-full" ? await tlsOf(target.tls.caFile) : false;
  const client = new pg.Client({
    host: target.host,
    port: target.port,
    user: login.user,
    password: password.reveal(),
    database,
    ssl,
    application_name: "custody gateway",
    connectionTimeoutMillis: deps.connectTimeoutMs,
    query_timeout: deps.queryTimeoutMs,
    keepAlive: true,
    // The catalogue's one large statement costs nothing to run and is worth compiling by the planner's guess:
    // ten times its time.
    options: "-c search_path=pg_catalog -c client_min_messages=error -c jit=off",
  });
  await client.connect();
  return client;
}

async function tlsOf(caFile: string | undefined) {
  const ca = caFile === undefined ? undefined : await readFile(caFile, "utf8");
  return { rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) };
}
