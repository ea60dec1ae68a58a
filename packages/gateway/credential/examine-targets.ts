// `custody doctor`: every account of the targets asked about. Of PostgreSQL in each database its clients may use;
// targets whose databases are not listed are looked at in the database of the login that reads the catalogue.

import { systemClock } from "../base/clock.ts";
import type { Config } from "../config/config.ts";
import type { KubernetesTarget, PostgresTarget, Target } from "../target/target.ts";
import { examinePostgres, type Weakness } from "./doctor.ts";
import { examineKubernetes, UNSEEN } from "./doctor-kubernetes.ts";
import { createSecretResolver } from "./secrets.ts";
import { openStandingConnections } from "./standing.ts";

export interface Examined {
  readonly target: string;
  readonly account: string;
  /** Of PostgreSQL. */
  readonly database?: string;
  readonly found: readonly Weakness[];
  /** Why it could not be looked at. */
  readonly failed: string | undefined;
  /** What cannot be told from here, and how to see it. */
  readonly unseen?: readonly string[];
}

export async function examineTargets(
  config: Config,
  targets: readonly Target[],
  database: string | undefined,
): Promise<readonly Examined[]> {
  const { limits, dataDirectory } = config;
  const resolveSecret = createSecretResolver({
    dataDirectory,
    environment: process.env,
    timeoutMs: limits.secretTimeoutMs,
  });
  await using standing = openStandingConnections({
    resolveSecret,
    connectTimeoutMs: limits.targetConnectTimeoutMs,
    queryTimeoutMs: limits.targetConnectTimeoutMs,
  });
  const examined: Examined[] = [];
  for (const target of targets.filter(isPostgres))
    for (const name of databasesOf(target, database))
      for (const account of target.accounts) {
        const about = { target: target.name, account: account.name, database: name };
        examined.push(
          await tried(about, () =>
            examinePostgres(target, account, (sql, values) =>
              standing.query(target, target.catalogue, name, sql, values),
            ),
          ),
        );
      }
  const timeoutMs = limits.targetConnectTimeoutMs;
  const deps = { clock: systemClock, resolveSecret, timeoutMs };
  for (const target of targets.filter(isKubernetes))
    for (const account of target.accounts) {
      const about = { target: target.name, account: account.name, unseen: UNSEEN };
      examined.push(await tried(about, () => examineKubernetes(deps, target, account)));
    }
  return examined;
}

async function tried(
  about: Omit<Examined, "found" | "failed">,
  examine: () => Promise<readonly Weakness[]>,
): Promise<Examined> {
  try {
    return { ...about, found: await examine(), failed: undefined };
  } catch (error) {
    const failed = error instanceof Error ? error.message : String(error);
    return { ...about, found: [], failed };
  }
}

function isKubernetes(target: Target): target is KubernetesTarget {
  return target.protocol === "kubernetes";
}

function isPostgres(target: Target): target is PostgresTarget {
  return target.protocol === "postgres";
}

function databasesOf(target: PostgresTarget, wanted: string | undefined): readonly string[] {
  return wanted === undefined ? (target.databases ?? [target.catalogue.database]) : [wanted];
}
