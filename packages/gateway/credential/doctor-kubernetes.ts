// What is wrong between the gateway and a cluster: its certificate, the gateway's own credential, and the rights of
// that identity, too few or too many. Read only: reviews of oneself (authorization.k8s.io, authentication.k8s.io),
// /version, and one list asked for as nobody, of which only the status is looked at. `custody doctor` prints it.

import { X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { KubernetesAccount } from "../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../target/target.ts";
import {
  type ApiServer,
  type ApiServerDeps,
  openApiServer,
  ownIdentity,
  readPem,
} from "./api-server.ts";
import type { Weakness } from "./doctor.ts";
import {
  EVERYTHING,
  type ExcessRight,
  excessRights,
  neededRights,
  type Right,
} from "./kubernetes-rights.ts";

export interface KubernetesDoctorDeps extends ApiServerDeps {
  readonly clock: Clock;
}

/** What cannot be told from here, and how to see it. */
export const UNSEEN: readonly string[] = [
  "whether the API server writes an audit log: look there for impersonatedUser.extra custody-chain, and hold it against ours with custody audit reconcile",
  "whether agents reach the API server past the gateway: try from where they run; no network there should lead to it",
];

const AUTHORIZATION = "/apis/authorization.k8s.io/v1";
const SOON_MS = 30 * 86_400_000;
const TOKEN_SOON_MS = 86_400_000;
/** Minors of Kubernetes 1 that Custody was tried with, and whose kinds it decodes in binary form. */
const OLDEST = 20;
const NEWEST = 34;
const AT_ONCE = 4;

/** Of one account. Throws GatewayError when the API server cannot be asked. */
export async function examineKubernetes(
  deps: KubernetesDoctorDeps,
  target: KubernetesTarget,
  account: KubernetesAccount,
): Promise<readonly Weakness[]> {
  const certificates = await examineCertificate(deps, target);
  const credential = await examineCredential(deps, account);
  const found = [...certificates, ...credential];
  // A connection that is not to be trusted is not shown a credential.
  if (found.some(({ severity }) => severity === "missing")) return found;
  await using server = await openApiServer(deps, target, account.credential);
  found.push(...(await examineIdentity(server)));
  if (found.some(({ check }) => check === "refused")) return found;
  found.push(...(await examineVersion(server)));
  found.push(...(await examineRights(server, account)));
  await using stranger = await openApiServer(deps, target, undefined);
  return [...found, ...(await examineStrangers(stranger))];
}

async function examineCertificate(
  { clock, timeoutMs }: KubernetesDoctorDeps,
  { caFile, server }: KubernetesTarget,
): Promise<readonly Weakness[]> {
  const ca = caFile === undefined ? undefined : await readPem(caFile);
  const { certificate, problem } = await seenCertificate(server, ca, timeoutMs);
  if (problem !== undefined)
    return [
      {
        ...{ severity: "missing", check: "certificate" },
        what: `the certificate of ${server} is not taken: ${problem}`,
        remedy:
          caFile === undefined
            ? "name its authority (caFile)"
            : `${caFile} is to hold the authority of that certificate, and server a name in it`,
      },
    ];
  const authorities = ca === undefined ? [] : pemCertificates(ca);
  return [
    ...ending(clock, certificate, SOON_MS, `the certificate of ${server}`, "renew it there"),
    ...authorities.flatMap((one) =>
      ending(
        clock,
        one,
        SOON_MS,
        `an authority in ${caFile}`,
        "put its successor beside it in time",
      ),
    ),
  ];
}

/** Whatever its certificate is: the handshake is looked at and nothing is sent. */
function seenCertificate(
  server: string,
  ca: string | undefined,
  timeoutMs: number,
): Promise<{ certificate: X509Certificate | undefined; problem: string | undefined }> {
  const { hostname, port } = new URL(server);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...{ host, port: port === "" ? 443 : Number(port), minVersion: "TLSv1.2" },
      ...(ca === undefined ? {} : { ca }),
      ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
      rejectUnauthorized: false,
    });
    const fail = (cause: Error) => {
      socket.destroy();
      reject(new GatewayError("target_unavailable", `${server} cannot be reached`, { cause }));
    };
    socket.setTimeout(timeoutMs, () => fail(new Error("timed out")));
    socket.once("error", fail);
    socket.once("secureConnect", () => {
      const certificate = socket.getPeerX509Certificate();
      const { authorizationError, authorized } = socket;
      socket.destroy();
      const problem = authorized ? undefined : String(authorizationError ?? "it is not verified");
      resolve({ certificate, problem });
    });
  });
}

function pemCertificates(pem: string): readonly X509Certificate[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  return found.map((one) => new X509Certificate(one));
}

function ending(
  clock: Clock,
  certificate: X509Certificate | undefined,
  soonMs: number,
  what: string,
  remedy: string,
): readonly Weakness[] {
  if (certificate === undefined) return [];
  const until = certificate.validToDate;
  const leftMs = until.getTime() - clock.nowMs();
  if (leftMs > soonMs) return [];
  const day = until.toISOString().slice(0, 10);
  return leftMs <= 0
    ? [{ severity: "missing", check: "expired", what: `${what} expired on ${day}`, remedy }]
    : [{ severity: "loose", check: "expires", what: `${what} expires on ${day}`, remedy }];
}

async function examineCredential(
  { clock, resolveSecret }: KubernetesDoctorDeps,
  { credential }: KubernetesAccount,
): Promise<readonly Weakness[]> {
  const { certificate, token } = await ownIdentity(resolveSecret, credential);
  if (certificate !== undefined) {
    const [own] = pemCertificates(certificate.certificate);
    return ending(
      clock,
      own,
      SOON_MS,
      "the gateway's client certificate",
      "have another one signed",
    );
  }
  const untilMs = expiryOf(token?.reveal() ?? "");
  const remedy = "have another made: kubectl create token";
  if (untilMs === undefined)
    return [
      {
        ...{ severity: "loose", check: "no-expiry" },
        what: "the gateway's token does not say when it expires",
        remedy: `a token that does is worth less to who finds it; ${remedy}`,
      },
    ];
  const leftMs = untilMs - clock.nowMs();
  const at = new Date(untilMs).toISOString();
  if (leftMs <= 0)
    return [
      {
        severity: "missing",
        check: "expired",
        what: `the gateway's token expired at ${at}`,
        remedy,
      },
    ];
  // One in a file is read anew for each session, so that who renews it need not tell.
  const isFile = credential.kind !== "certificate" && credential.token.from === "file";
  if (leftMs > TOKEN_SOON_MS || isFile) return [];
  const soon = `the gateway's token expires at ${at}`;
  return [
    {
      ...{ severity: "loose", check: "expires", what: soon },
      remedy: "keep it in a file (file:) that is written anew in time",
    },
  ];
}

/** `exp` of a JWT (RFC 7519 section 4.1.4), in milliseconds. */
function expiryOf(token: string): number | undefined {
  try {
    const claims: unknown = JSON.parse(
      Buffer.from(token.split(".")[1] ?? "", "base64url").toString(),
    );
    const expiry = memberOf(claims, "exp");
    return typeof expiry === "number" ? expiry * 1000 : undefined;
  } catch {
    return undefined;
  }
}

async function examineIdentity(server: ApiServer): Promise<readonly Weakness[]> {
  const review = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
  const { status, value } = await server.ask(
    "POST",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    review,
  );
  if (status === 401)
    return [
      {
        ...{ severity: "missing", check: "refused" },
        what: "the API server does not take the gateway's credential (401)",
        remedy: "have another made: kubectl create token, or a certificate signed by its authority",
      },
    ];
  // Before 1.28 there is none.
  const user = memberOf(memberOf(value, "status"), "userInfo");
  const groups = memberOf(user, "groups");
  if (!Array.isArray(groups) || !groups.includes("system:masters")) return [];
  return [
    {
      ...{ severity: "open", check: "system-masters" },
      what: `the gateway is ${String(memberOf(user, "username"))} in system:masters, whom nothing limits`,
      remedy: "give it an identity of its own: custody kubernetes rbac",
    },
  ];
}

async function examineVersion(server: ApiServer): Promise<readonly Weakness[]> {
  const { status, value } = await server.ask("GET", "/version");
  const [major, minor] = ["major", "minor"].map((name) =>
    Number.parseInt(String(memberOf(value, name)), 10),
  );
  const loose = (what: string, remedy: string): readonly Weakness[] => [
    { severity: "loose", check: "version", what, remedy },
  ];
  if (status !== 200 || major === undefined || minor === undefined || Number.isNaN(major + minor))
    return loose("the API server does not say which version it is", "look at /version");
  if (major === 1 && minor >= OLDEST && minor <= NEWEST) return [];
  return loose(
    `Kubernetes ${major}.${minor} is not among those Custody was tried with (1.${OLDEST} to 1.${NEWEST})`,
    minor > NEWEST
      ? "bodies in binary form of kinds and fields that are new are answered 415: look for a newer Custody"
      : "try what your clients do; upgrade the cluster",
  );
}

async function examineRights(
  server: ApiServer,
  account: KubernetesAccount,
): Promise<readonly Weakness[]> {
  const who = "the gateway's identity may";
  const weakness = ({ severity, check, what, remedy }: ExcessRight): Weakness => ({
    ...{ severity, check, remedy },
    what: `${who} ${what}`,
  });
  if (await may(server, EVERYTHING.right)) return [weakness(EVERYTHING)];
  const named = await namedRules(server, account);
  const found: Weakness[] = [];
  const needed = neededRights(account);
  for (const { what, isSome } of await chosen(needed, async ({ right, isSome }) => {
    if (await may(server, right)) return false;
    return !(isSome && named.rules.some((rule) => rule.isAbout(right)));
  })) {
    // Rules that are not listed may be there all the same.
    const isUnsure = isSome && named.isIncomplete;
    found.push({
      ...{ severity: isUnsure ? "loose" : "missing", check: "rights" },
      what: isUnsure
        ? `whether the gateway's identity may ${what} cannot be told here`
        : `the gateway's identity may not ${what}`,
      remedy: "apply what custody kubernetes rbac prints",
    });
  }
  const excess = await chosen(excessRights(account), ({ right }) => may(server, right));
  const isAll = (check: string) => excess.some((one) => one.check === check);
  found.push(...excess.map(weakness));
  const prefix = account.impersonate?.prefix;
  if (prefix !== undefined)
    found.push(
      ...foreignNames(named, "users", isAll("all-users"), (name) => name.startsWith(prefix)),
      ...foreignNames(
        named,
        "groups",
        isAll("all-groups") || isAll("system-masters"),
        (name) => name.startsWith(prefix) || account.impersonate?.groups.includes(name) === true,
      ),
    );
  return found;
}

/** Names that no session of this account is ever given. */
function foreignNames(
  { rules }: NamedRules,
  resource: string,
  isAll: boolean,
  isOurs: (name: string) => boolean,
): readonly Weakness[] {
  if (isAll) return [];
  const about = rules.filter((rule) => rule.isAbout({ verb: "impersonate", resource }));
  const foreign = [...new Set(about.flatMap(({ names }) => names))].filter((name) => !isOurs(name));
  if (foreign.length === 0) return [];
  const listed = foreign.slice(0, 5).join(", ");
  return [
    {
      ...{ severity: "open", check: "foreign-names" },
      what: `the gateway's identity may impersonate ${resource} that are not its own: ${listed}`,
      remedy: "name (resourceNames) only those with the account's prefix and its groups",
    },
  ];
}

interface NamedRules {
  readonly rules: readonly {
    isAbout(right: Right): boolean;
    /** Empty: all of them. */
    readonly names: readonly string[];
  }[];
  /** The API server cannot list what somebody other than RBAC permits. */
  readonly isIncomplete: boolean;
}

/** SelfSubjectRulesReview: it lists what may be asked about only by name. */
async function namedRules(
  server: ApiServer,
  { credential }: KubernetesAccount,
): Promise<NamedRules> {
  const namespace = credential.kind === "service-account" ? credential.namespace : "default";
  const { value } = await asked(server, "selfsubjectrulesreviews", "SelfSubjectRulesReview", {
    namespace,
  });
  const status = memberOf(value, "status");
  const listed = memberOf(status, "resourceRules");
  const rules = (Array.isArray(listed) ? listed : []).map((rule: unknown) => {
    const words = (name: string) => {
      const given = memberOf(rule, name);
      return Array.isArray(given) ? given.map(String) : [];
    };
    const has = (name: string, word: string) =>
      words(name).includes(word) || words(name).includes("*");
    return {
      names: words("resourceNames"),
      isAbout: ({ verb, group = "", resource }: Right) =>
        has("verbs", verb) && has("apiGroups", group) && has("resources", resource),
    };
  });
  return { rules, isIncomplete: memberOf(status, "incomplete") === true };
}

async function may(server: ApiServer, right: Right): Promise<boolean> {
  const { value } = await asked(server, "selfsubjectaccessreviews", "SelfSubjectAccessReview", {
    resourceAttributes: right,
  });
  return memberOf(memberOf(value, "status"), "allowed") === true;
}

async function asked(server: ApiServer, resource: string, kind: string, spec: object) {
  const answer = await server.ask("POST", `${AUTHORIZATION}/${resource}`, {
    ...{ apiVersion: "authorization.k8s.io/v1", kind, spec },
  });
  if (answer.status !== 201)
    throw new GatewayError(
      "target_unavailable",
      `the API server does not say what the gateway may do there (${kind}, status ${answer.status})`,
    );
  return answer;
}

/** A few at once, in their order. */
async function chosen<T>(all: readonly T[], is: (one: T) => Promise<boolean>): Promise<T[]> {
  const kept: T[] = [];
  for (let at = 0; at < all.length; at += AT_ONCE) {
    const some = all.slice(at, at + AT_ONCE);
    const answers = await Promise.all(some.map(is));
    kept.push(...some.filter((_, index) => answers[index] === true));
  }
  return kept;
}

async function examineStrangers(stranger: ApiServer): Promise<readonly Weakness[]> {
  const { status } = await stranger.ask("GET", "/api/v1/pods?limit=1");
  if (status !== 200) return [];
  return [
    {
      ...{ severity: "open", check: "anonymous" },
      what: "whoever reaches the API server lists pods there without any credential",
      remedy:
        "take away the bindings of system:anonymous and system:unauthenticated, or --anonymous-auth=false",
    },
  ];
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[name];
}
