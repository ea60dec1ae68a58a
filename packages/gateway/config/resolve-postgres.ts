// A PostgreSQL target from the checked document.

import type {
  AccountCredential,
  PostgresTarget,
  StandingLogin,
  TargetTls,
} from "../target/target.ts";
import { type Context, pemFile, resolveReference } from "./resolve-context.ts";
import type { PostgresDocument } from "./schema-postgres.ts";

export function resolvePostgres(
  context: Context,
  name: string,
  postgres: PostgresDocument,
  shared: Pick<PostgresTarget, "classify" | "tags">,
): PostgresTarget {
  const path = ["targets", name, "postgres"];
  const accounts = Object.entries(postgres.accounts).map(([account, { credential }]) => ({
    name: account,
    credential: resolveCredential(context, credential),
  }));
  let catalogue: StandingLogin | undefined;
  if (postgres.catalogue) catalogue = resolveLogin(context, postgres.catalogue);
  for (const { credential } of accounts)
    if (credential.kind === "session-role") catalogue ??= credential.admin;
  if (catalogue === undefined)
    context.findings.push({
      path: [...path, "catalogue"],
      message: "is missing: without a session-role account the gateway needs a login of its own",
    });
  const isTransparent = postgres.mode === "transparent-for-tests-only";
  if (isTransparent && (shared.classify.length > 0 || postgres.detect !== undefined))
    context.findings.push({
      path: [...path, "mode"],
      message: "a target with classified columns cannot be transparent: nothing would be masked",
    });
  const detect = Object.entries(postgres.detect ?? {}).map(([name, kind]) => ({
    class: name,
    kind,
  }));
  return {
    ...(detect.length > 0 ? { detect } : {}),
    ...(isTransparent ? { transparent: true as const } : {}),
    protocol: "postgres",
    name,
    host: postgres.host,
    port: postgres.port,
    tls: resolveTls(context, path, postgres.tls),
    databases: postgres.databases,
    searchPath: postgres.searchPath,
    accounts,
    catalogue: catalogue ?? { user: "", password: { from: "env", name: "_" }, database: "" },
    ...shared,
  };
}

function resolveTls(
  context: Context,
  path: readonly string[],
  tls: PostgresDocument["tls"],
): TargetTls {
  if (tls === "insecure-plaintext") return { mode: "insecure-plaintext" };
  if (tls === "verify-full") return { mode: "verify-full", caFile: undefined };
  return { mode: "verify-full", caFile: pemFile(context, [...path, "tls", "caFile"], tls.caFile) };
}

function resolveCredential(
  context: Context,
  credential: PostgresDocument["accounts"][string]["credential"],
): AccountCredential {
  const session = credential["session-role"];
  if (session)
    return {
      kind: "session-role",
      profile: session.profile,
      admin: resolveLogin(context, session.admin),
    };
  const fixed = credential["fixed-role"];
  return {
    kind: "fixed-role",
    user: fixed?.user ?? "",
    password: resolveReference(context, fixed?.password ?? { from: "env", name: "_" }),
  };
}

function resolveLogin(context: Context, login: StandingLogin): StandingLogin {
  return { ...login, password: resolveReference(context, login.password) };
}
