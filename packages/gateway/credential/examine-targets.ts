// `custody doctor`: every account of the targets asked about, in each database its clients may use. Targets
// whose databases are not listed are looked at in the database of the login that reads the catalogue.

import type { Config } from "../config/config.ts";
import type { PostgresTarget, Target } from "../target/target.ts";
import { examinePostgres, type Weakness } from "./doctor.ts";
import { createSecretResolver } from "./secrets.ts";
import { openStandingConnections } from "./standing.ts";

export interface Examined {
  readonly target: string;
  readonly account: string;
  readonly database: string;
  readonly found: readonly Weakness[];
  /** Why it could not be looked at. */
  readonly failed: string | undefined;
}

export async function examineTargets(
  config: Config,
  targets: readonly Target[],
  database: string | undefined,
): Promise<readonly Examined[]> {
  const { limits, dataDirectory } = config;
  await using standing = openStandingConnections({
    resolveSecret: createSecretResolver({
      dataDirectory,
      environment: process.env,
      timeoutMs: limits.secretTimeoutMs,
    }),
    connectTimeoutMs: limits.targetConnectTimeoutMs,
    queryTimeoutMs: limits.targetConnectTimeoutMs,
  });
  const examined: Examined[] = [];
  for (const target of targets.filter(isPostgres))
    for (const name of databasesOf(target, database))
      for (const account of target.accounts) {
        const about = { target: target.name, account: account.name, database: name };
        try {
          const found = await examinePostgres(target, account, (sql, values) =>
            standing.query(target, target.catalogue, name, sql, values),
          );
          examined.push({ ...about, found, failed: undefined });
        } catch (error) {
          const failed = error instanceof Error ? error.message : String(error);
          examined.push({ ...about, found: [], failed });
        }
      }
  return examined;
}

function isPostgres(target: Target): target is PostgresTarget {
  return target.protocol === "postgres";
}

function databasesOf(target: PostgresTarget, wanted: string | undefined): readonly string[] {
  return wanted === undefined ? (target.databases ?? [target.catalogue.database]) : [wanted];
}
