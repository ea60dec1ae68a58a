// One identity provider of the document, with what its preset chooses and everything that one value
// alone could not tell.

import type { SecretReference } from "../credential/reference.ts";
import type { KubernetesProvider, Provider, SamlProvider } from "./config.ts";
import type { Finding } from "./finding.ts";
import { PRESET_RULES } from "./presets.ts";
import type { ConfigDocument } from "./schema.ts";

type ProviderDocument = ConfigDocument["providers"][string];
type OidcDocument = NonNullable<ProviderDocument["oidc"]>;
type KubernetesDocument = NonNullable<ProviderDocument["kubernetes"]>;
type SamlDocument = NonNullable<ProviderDocument["saml"]>;

export interface ProviderContext {
  readonly findings: Finding[];
  /** The absolute path of a file of the configuration. */
  readonly at: (path: string) => string;
  /** The same of a PEM file, which has to be there. */
  readonly pemFile: (path: Finding["path"], written: string) => string;
  /** The same of a secret. */
  readonly reference: (reference: SecretReference) => SecretReference;
}

export function resolveProvider(
  context: ProviderContext,
  name: string,
  oidc: OidcDocument,
): Provider {
  const path = ["providers", name, "oidc"];
  const preset = oidc.preset === undefined ? undefined : PRESET_RULES[oidc.preset];
  const kind = preset === undefined ? oidc.kind : "workloads";
  const issuer = issuerOf(oidc, preset?.issuer);
  for (const [key, message] of problems(oidc, issuer))
    context.findings.push({ path: [...path, key], message });
  const { caFile, insecureHttp } = oidc;
  return {
    name,
    issuer: issuer ?? "",
    audience: oidc.audience,
    clientId: oidc.clientId,
    kind: kind ?? "workloads",
    preset: oidc.preset,
    username: oidc.username ?? preset?.username ?? (kind === "users" ? "email" : "sub"),
    subject: preset?.subject ?? "sub",
    groups: oidc.groups,
    algorithms: oidc.algorithms,
    token: oidc.token,
    claims: listed(oidc.claims),
    caFile: caFile === undefined ? undefined : context.pemFile([...path, "caFile"], caFile),
    insecureHttp,
    keys: keysOf(context, oidc),
    signIn:
      kind === "users" && oidc.token === "id_token"
        ? { scopes: oidc.scopes, device: oidc.deviceFlow }
        : undefined,
    groupsMaxAgeMs: oidc.groupsMaxAge,
    oneTime: oidc.oneTime ?? preset?.oneTime ?? false,
  };
}

export function resolveSamlProvider(
  context: ProviderContext,
  name: string,
  saml: SamlDocument,
): SamlProvider {
  const { entityId, ssoUrl, username, groups, signed, encrypted, idpInitiated, url } = saml;
  const certificateFiles = saml.certificates.map((file, index) =>
    context.pemFile(["providers", name, "saml", "certificates", index], file),
  );
  const groupsMaxAgeMs = saml.groupsMaxAge;
  const named = { name, entityId, ssoUrl, certificateFiles, username, groups, groupsMaxAgeMs };
  return { ...named, signed, encrypted, idpInitiated, url };
}

export function resolveKubernetesProvider(
  context: ProviderContext,
  name: string,
  kubernetes: KubernetesDocument,
): KubernetesProvider {
  const { server, issuer, audience, serviceAccounts } = kubernetes;
  const caFile = context.pemFile(["providers", name, "kubernetes", "caFile"], kubernetes.caFile);
  const token = context.reference(kubernetes.token);
  return { name, server, caFile, token, issuer, audience, serviceAccounts };
}

/** A JWT-SVID needs no issuer: its keys are its trust domain's, whose name is told from an issuer's. */
function issuerOf(oidc: OidcDocument, known: string | undefined): string | undefined {
  if (oidc.preset === "spiffe")
    return oidc.trustDomain === undefined ? undefined : `spiffe://${oidc.trustDomain}`;
  return oidc.issuer ?? known;
}

function problems(
  oidc: OidcDocument,
  issuer: string | undefined,
): readonly (readonly [string, string])[] {
  const found: (readonly [string, string])[] = [];
  const isSpiffe = oidc.preset === "spiffe";
  const isKeyless = oidc.keysUrl === undefined && oidc.keysFile === undefined;
  if (issuer === undefined)
    found.push(
      isSpiffe
        ? ["trustDomain", "is missing: example.org, without spiffe://"]
        : ["issuer", "is missing: the https:// URL its tokens name"],
    );
  else if (!isSpiffe && new URL(issuer).protocol !== "https:" && !oidc.insecureHttp)
    found.push([
      "issuer",
      "is not https://; tokens are only as good as the way their keys came. " +
        "For a provider on this machine, set insecureHttp: true",
    ]);
  if (isSpiffe && oidc.issuer !== undefined)
    found.push(["issuer", "is not used with the preset spiffe; write trustDomain"]);
  if (!isSpiffe && oidc.trustDomain !== undefined)
    found.push(["trustDomain", "is for the preset spiffe only"]);
  if (isSpiffe && isKeyless)
    found.push(["keysUrl", "or keysFile is missing: the bundle of the trust domain"]);
  if (oidc.keysUrl !== undefined && oidc.keysFile !== undefined)
    found.push(["keysFile", "and keysUrl exclude each other"]);
  if (oidc.preset === undefined && oidc.kind === undefined)
    found.push(["kind", "is missing: users or workloads"]);
  if (oidc.preset !== undefined && oidc.kind === "users")
    found.push(["kind", `the preset ${oidc.preset} is for workloads`]);
  const unpinned = pinProblem(oidc);
  if (unpinned !== undefined) found.push(["claims", unpinned]);
  return found;
}

function pinProblem(oidc: OidcDocument): string | undefined {
  const pinned = Object.keys(oidc.claims);
  if (oidc.preset !== undefined) {
    const missing = PRESET_RULES[oidc.preset].required.filter((claim) => !pinned.includes(claim));
    return missing.length === 0
      ? undefined
      : `must pin ${missing.join(" and ")}, since the issuer of ${oidc.preset} vouches for everybody's workloads`;
  }
  if (oidc.kind !== "workloads" || pinned.length > 0) return undefined;
  return (
    "is missing: a workload provider must pin claims (repository_id, namespace, …), " +
    "since its issuer vouches for everybody's workloads"
  );
}

function keysOf(context: ProviderContext, oidc: OidcDocument): Provider["keys"] {
  if (oidc.keysUrl !== undefined) return { url: oidc.keysUrl };
  return oidc.keysFile === undefined ? undefined : { file: context.at(oidc.keysFile) };
}

function listed(claims: OidcDocument["claims"]): Provider["claims"] {
  const lists: Record<string, readonly (string | number | boolean)[]> = {};
  for (const [claim, value] of Object.entries(claims))
    lists[claim] = Array.isArray(value) ? value : [value];
  return lists;
}
