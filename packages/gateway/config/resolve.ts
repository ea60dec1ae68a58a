// From the checked document to Config: paths made absolute, defaults that depend on other values,
// and everything one value alone could not tell.

import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";

import type { SecretReference } from "../credential/reference.ts";
import type { Classification, Target } from "../target/target.ts";
import type {
  Config,
  KubernetesProvider,
  ListenAddress,
  Provider,
  SamlProvider,
} from "./config.ts";
import type { Finding } from "./finding.ts";
import { toLimits } from "./limits.ts";
import { type Context, pemFile, resolveReference } from "./resolve-context.ts";
import { resolveExport } from "./resolve-export.ts";
import { resolveGrammars } from "./resolve-grammars.ts";
import { resolveKubernetes } from "./resolve-kubernetes.ts";
import { resolveLog } from "./resolve-log.ts";
import { resolvePostgres } from "./resolve-postgres.ts";
import {
  resolveKubernetesProvider,
  resolveProvider,
  resolveSamlProvider,
} from "./resolve-provider.ts";
import { resolveSsh } from "./resolve-ssh.ts";
import type { ConfigDocument } from "./schema.ts";

type TargetDocument = ConfigDocument["targets"][string];

/** `config` is whole only when there are no findings. */
export function resolveConfig(
  file: string,
  document: ConfigDocument,
): { readonly config: Config; readonly findings: readonly Finding[] } {
  const context: Context = { directory: dirname(file), findings: [] };
  const at = (path: string) => resolve(context.directory, path);
  const providers = new Map<string, Provider>();
  const pem = (path: Finding["path"], written: string) => pemFile(context, path, written);
  const inProvider = {
    ...{ findings: context.findings, at, pemFile: pem },
    reference: (written: SecretReference) => resolveReference(context, written),
  };
  const samlProviders = new Map<string, SamlProvider>();
  const clusterProviders = new Map<string, KubernetesProvider>();
  for (const [name, { oidc, saml, kubernetes }] of Object.entries(document.providers)) {
    if (oidc !== undefined) providers.set(name, resolveProvider(inProvider, name, oidc));
    if (saml !== undefined) samlProviders.set(name, resolveSamlProvider(inProvider, name, saml));
    if (kubernetes !== undefined)
      clusterProviders.set(name, resolveKubernetesProvider(inProvider, name, kubernetes));
  }
  checkIssuers(context, providers, clusterProviders);
  const targets = new Map<string, Target>();
  for (const [name, target] of Object.entries(document.targets)) {
    const resolved = resolveTarget(context, name, target);
    if (resolved !== undefined) targets.set(name, resolved);
  }
  const policiesDirectory = at(document.policies);
  if (!isDirectory(policiesDirectory))
    context.findings.push({
      path: ["policies"],
      message: `there is no folder ${policiesDirectory}; \`custody init\` writes a starter`,
    });
  checkListeners(context, document.listen);
  const config: Config = {
    file,
    dataDirectory: at(document.data),
    policiesDirectory,
    grammars: resolveGrammars(context, document.grammars),
    workers: document.workers,
    listen: {
      postgres: document.listen.postgres,
      ssh: document.listen.ssh,
      kubernetes: document.listen.kubernetes,
      https: document.listen.https,
      admin: document.listen.admin,
    },
    hostnames: document.hostnames,
    postgres: resolvePostgresDoor(context, document.postgres, providers),
    tls:
      document.tls === undefined
        ? undefined
        : {
            cert: pemFile(context, ["tls", "cert"], document.tls.cert),
            key: pemFile(context, ["tls", "key"], document.tls.key),
          },
    providers,
    samlProviders,
    clusterProviders,
    people: resolvePeople(context, document.people, providers, samlProviders),
    targets,
    masks: new Map(Object.entries(document.masks)),
    limits: toLimits(definedOnly(document.limits)),
    log: resolveLog(context, document.log),
    exports: Object.entries(document.export).map(([name, one]) =>
      resolveExport(context, name, one),
    ),
  };
  return { config, findings: context.findings };
}

function resolvePostgresDoor(
  context: Context,
  { signIn, oauthProvider }: ConfigDocument["postgres"],
  providers: ReadonlyMap<string, Provider>,
): Config["postgres"] {
  const path = ["postgres", "oauthProvider"];
  const provider = providers.get(oauthProvider ?? "");
  if (oauthProvider !== undefined && provider?.kind !== "users")
    context.findings.push({
      path,
      message: `${oauthProvider} is no OpenID Connect provider of people`,
    });
  else if (provider !== undefined && provider.token !== "access_token")
    context.findings.push({
      path,
      message: `${oauthProvider} takes ID tokens, and clients of PostgreSQL show access tokens: set its \`token\``,
    });
  return { signIn, oauthProvider };
}

/** A token goes to the provider its issuer names: a cluster that is asked shares its own with none. */
function checkIssuers(
  context: Context,
  providers: ReadonlyMap<string, Provider>,
  clusters: ReadonlyMap<string, KubernetesProvider>,
): void {
  const owner = new Map([...providers.values()].map(({ issuer, name }) => [issuer, name]));
  for (const { issuer, name } of clusters.values()) {
    const other = owner.get(issuer);
    if (other !== undefined)
      context.findings.push({
        path: ["providers", name, "kubernetes", "issuer"],
        message: `${issuer} is already the issuer of ${other}`,
      });
    owner.set(issuer, name);
  }
}

function resolveTarget(
  context: Context,
  name: string,
  document: TargetDocument,
): Target | undefined {
  const { kubernetes, postgres, ssh, tags } = document;
  const classify = resolveClassify(context, name, document.classify);
  if (postgres !== undefined) return resolvePostgres(context, name, postgres, { classify, tags });
  if (classify.length > 0)
    context.findings.push({
      path: ["targets", name, "classify"],
      message: "columns are classified where there are any: on a PostgreSQL target",
    });
  if (ssh !== undefined) return resolveSsh(context, name, ssh, tags);
  if (kubernetes !== undefined) return resolveKubernetes(context, name, kubernetes, tags);
  return undefined;
}

function resolveClassify(
  context: Context,
  target: string,
  entries: TargetDocument["classify"],
): readonly Classification[] {
  const seen = new Set<string>();
  return entries.map((entry, index) => {
    if (seen.has(entry.column))
      context.findings.push({
        path: ["targets", target, "classify", index, "column"],
        message: `${entry.column} is classified twice; a column has one class`,
      });
    seen.add(entry.column);
    const parts = entry.column.split(".");
    const [schema, table, column] = parts.slice(-3);
    return {
      database: parts.length === 4 ? parts[0] : undefined,
      schema: schema ?? "",
      table: table ?? "",
      column: column ?? "",
      class: entry.class,
    };
  });
}

function resolvePeople(
  context: Context,
  people: ConfigDocument["people"],
  providers: ReadonlyMap<string, Provider>,
  samlProviders: ReadonlyMap<string, SamlProvider>,
): ReadonlyMap<string, readonly string[]> {
  const owner = new Map<string, string>();
  for (const [person, ids] of Object.entries(people))
    for (const [index, id] of ids.entries()) {
      const path = ["people", person, index];
      const provider = id.slice(0, Math.max(0, id.indexOf("/")));
      const isOfUsers = samlProviders.has(provider) || providers.get(provider)?.kind === "users";
      if (!isOfUsers || id.length === provider.length + 1)
        context.findings.push({
          path,
          message:
            "expected <provider>/<name the provider vouches for> with a provider of users from " +
            `this file (${[...providers.keys(), ...samlProviders.keys()].join(", ") || "there are none"})`,
        });
      const other = owner.get(id);
      if (other !== undefined)
        context.findings.push({
          path,
          message: `${id} is already ${other}; an account is of one person`,
        });
      owner.set(id, person);
    }
  return new Map(Object.entries(people));
}

function checkListeners(context: Context, listen: ConfigDocument["listen"]): void {
  const seen = new Map<string, string>();
  for (const [name, address] of Object.entries(listen) as [string, ListenAddress | undefined][]) {
    if (address === undefined || address.port === 0) continue;
    const key = `${address.host}:${address.port}`;
    const other = seen.get(key);
    if (other !== undefined)
      context.findings.push({
        path: ["listen", name],
        message: `${key} is taken by listen.${other}; each needs an address of its own`,
      });
    seen.set(key, name);
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function definedOnly(
  limits: ConfigDocument["limits"],
): Partial<Record<keyof ConfigDocument["limits"], number>> {
  const given: Partial<Record<keyof ConfigDocument["limits"], number>> = {};
  for (const [name, value] of Object.entries(limits))
    if (value !== undefined) given[name as keyof ConfigDocument["limits"]] = value;
  return given;
}
