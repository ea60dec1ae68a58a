// Where clients come in: the listeners' settings out of the configuration, and their addresses.

import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { endpoints } from "@custody/contract/endpoints.ts";
import { GatewayError } from "../base/errors.ts";
import type { Config } from "../config/config.ts";
import type { PostgresLimits } from "../proxy/postgres/listener.ts";
import type { SignInDeps } from "../proxy/postgres/sign-in.ts";
import type { PostgresTarget } from "../target/target.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** As it stands in a URL. */
export function httpsUrl({ host, port }: Address): string {
  return `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** The authority of a target's certificate, PEM; undefined: the system's. */
export async function targetCa({ tls }: PostgresTarget): Promise<string | undefined> {
  return tls.mode === "verify-full" && tls.caFile !== undefined
    ? await readFile(tls.caFile, "utf8")
    : undefined;
}

/** `processes` share the connections evenly: each takes its part of what is allowed, rounded up. */
export function postgresLimits({ limits }: Config, processes: number): PostgresLimits {
  return {
    maxConnections: Math.ceil(limits.connections / processes),
    startupTimeoutMs: limits.startupTimeoutMs,
    targetConnectTimeoutMs: limits.targetConnectTimeoutMs,
    sessionIdleMs: limits.sessionIdleMs,
    shutdownGraceMs: limits.shutdownGraceMs,
    maxFrameBytes: limits.messageBytes,
    maxOutstanding: limits.pipelineMessages,
    maxNames: limits.pipelineMessages,
    matchesPerHour: limits.matchesPerHour,
    maxBacklogBytes: limits.bufferBytes,
    holdWaitMs: limits.holdWaitMs,
    holdWaitInTransactionMs: limits.holdWaitInTransactionMs,
    holdReminderMs: limits.holdRepeatMs,
  };
}

/** What the PostgreSQL door asks for, and where it sends who has no token. `issuer`: this gateway's URL. */
export function postgresSignIn(
  { postgres, providers }: Config,
  issuer: string,
): Pick<SignInDeps, "ways" | "oauth"> {
  const provider = providers.get(postgres.oauthProvider ?? "");
  const oauth =
    provider === undefined
      ? { discoveryUrl: `${issuer}${endpoints.metadata.path}`, scope: "" }
      : {
          discoveryUrl: `${provider.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`,
          scope: provider.signIn?.scopes.join(" ") ?? "openid",
        };
  return { ways: new Set(postgres.signIn), oauth };
}

/** Port 0 becomes a number before listening, since tokens name the gateway by its URL. */
export async function reserve(at: Address): Promise<Address> {
  if (at.port !== 0) return at;
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new GatewayError("configuration", `cannot listen on ${at.host}`, { cause })),
    );
    server.listen(0, at.host, resolve);
  });
  const bound = server.address();
  await new Promise((resolve) => server.close(resolve));
  return { host: at.host, port: typeof bound === "object" && bound !== null ? bound.port : 0 };
}
