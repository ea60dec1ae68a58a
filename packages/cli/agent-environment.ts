// The environment of a program that runs as an agent: what it inherits without the secrets in it, and
// what its clients read to find the gateway. By names and by the look of values; who knows better
// keeps a variable by its name. The agent's own credential is the only one it is given.

import { CliError } from "./faults.ts";

export interface Inherited {
  readonly variables: NodeJS.ProcessEnv;
  /** Names, never values. */
  readonly leftOut: readonly string[];
}

/** Where clients connect, as whom, with which files. */
export interface AgentConnection {
  readonly url: string;
  readonly token: string;
  /** Of the key that the token is bound to; undefined: it is bound to none. */
  readonly keyFile: string | undefined;
  /** Path of a PEM file; undefined: the system's CAs. */
  readonly caFile: string | undefined;
  readonly justification: string | undefined;
  readonly postgres:
    | {
        readonly host: string;
        readonly port: number;
        readonly user: string;
        readonly database: string | undefined;
        readonly passwordFile: string;
        /** Path of a PEM file; undefined: the system's CAs. */
        readonly caFile: string | undefined;
      }
    | undefined;
}

/** Ours, and what of libpq's would lead elsewhere than to the gateway: never kept. */
const REPLACED = /^(CUSTODY_|PG(?!OPTIONS$|TZ$|DATESTYLE$|GEQO$|APPNAME$|CONNECT_TIMEOUT$))/;
/** Whole families that carry credentials or lead to them. */
const FAMILIES =
  /^(AWS|AZURE|ARM|GOOGLE|GCP|CLOUDSDK|VAULT|MYSQL|ACTIONS_ID_TOKEN_REQUEST|ACTIONS_RUNTIME)_/i;
const CREDENTIAL_PATHS = new Set([
  "DOCKER_AUTH_CONFIG",
  "DOCKER_CONFIG",
  "DOCKER_HOST",
  "GIT_ASKPASS",
  "KRB5CCNAME",
  "KUBECONFIG",
  "NETRC",
  "SSH_AGENT_PID",
  "SSH_ASKPASS",
  "SSH_AUTH_SOCK",
]);
const TELLING = /TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|API_?KEY/i;
const TELLING_WORD =
  /(^|_)(PASS|PWD|CREDS|AUTH|PAT|JWT|COOKIE|DSN|(ACCESS|PRIVATE|SIGNING|ENCRYPTION|MASTER)_?KEY)(_|$)/i;
const HARMLESS = new Set(["PWD", "OLDPWD"]);
/** A URL with a password in it, a private key, a JWT, and tokens that say by a prefix whose they are. */
const TELLING_VALUE =
  /^[a-z][a-z0-9+.-]*:\/\/[^/?#\s]*:[^/?#\s]*@|-----BEGIN [A-Z ]*PRIVATE KEY-----|^eyJ[\w-]+\.[\w-]+\.[\w-]+$|^(cst_|gh[opsur]_|github_pat_|glpat-|xox[abp]-|sk-|AKIA)/i;

/** Throws CliError for a variable that cannot be kept. */
export function inheritedEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  keep: readonly string[],
): Inherited {
  for (const name of keep)
    if (REPLACED.test(name))
      throw new CliError("usage", `--keep-env ${name}: the agent gets its own`);
  const kept = new Set(keep);
  const variables: NodeJS.ProcessEnv = {};
  const leftOut: string[] = [];
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined) continue;
    if (REPLACED.test(name) || (!kept.has(name) && mayBeSecret(name, value))) leftOut.push(name);
    else variables[name] = value;
  }
  return { variables, leftOut: leftOut.sort() };
}

/** What the agent's clients and `custody` itself read. */
export function agentVariables(
  connection: AgentConnection,
  inheritedOptions: string | undefined,
): Record<string, string> {
  const { url, token, keyFile, caFile, justification, postgres } = connection;
  const options = [inheritedOptions ?? "", justificationOption(justification)]
    .filter((one) => one !== "")
    .join(" ");
  return {
    CUSTODY_URL: url,
    CUSTODY_TOKEN: token,
    ...(keyFile !== undefined && { CUSTODY_KEY: keyFile }),
    ...(caFile !== undefined && { CUSTODY_CA: caFile }),
    ...(justification !== undefined && { CUSTODY_JUSTIFICATION: justification }),
    ...(postgres !== undefined && {
      PGHOST: postgres.host,
      PGPORT: String(postgres.port),
      PGUSER: postgres.user,
      PGPASSFILE: postgres.passwordFile,
      PGSSLMODE: "verify-full",
      PGSSLROOTCERT: postgres.caFile ?? "system",
      ...(postgres.database !== undefined && { PGDATABASE: postgres.database }),
      ...(options !== "" && { PGOPTIONS: options }),
    }),
  };
}

/** One line of libpq's password file, for every target behind this address: colons are escaped. */
export function passwordLine(host: string, port: number, token: string): string {
  const field = (text: string) => text.replaceAll(/[\\:]/g, "\\$&");
  return `${field(host)}:${port}:*:*:${field(token)}\n`;
}

function mayBeSecret(name: string, value: string): boolean {
  if (HARMLESS.has(name)) return false;
  return (
    FAMILIES.test(name) ||
    CREDENTIAL_PATHS.has(name) ||
    TELLING.test(name) ||
    TELLING_WORD.test(name) ||
    TELLING_VALUE.test(value)
  );
}

/** libpq's `options`: white space separates, a backslash takes the next character as it is. */
function justificationOption(text: string | undefined): string {
  if (text === undefined) return "";
  return `-c custody.justification=${text.replaceAll(/[\s\\]/g, "\\$&")}`;
}
