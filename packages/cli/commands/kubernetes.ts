// Clients of Kubernetes: a kubeconfig whose credential comes from here each time it is needed, and what a
// cluster's administrator has to apply.

import { readFileSync } from "node:fs";

import type { Command } from "commander";

import { certifiedKey } from "../certified-key.ts";
import { CliError } from "../faults.ts";
import { type Gateway, type Invocation, invocationOf } from "../invocation.ts";
import { passwordOf } from "../key-delegation.ts";
import type { Io } from "../output.ts";
import { load } from "./gateway.ts";
import { hostOf } from "./targets.ts";

const EXEC_API = "client.authentication.k8s.io/v1";
/** A presentation lasts an hour; a client asks again in time. */
const PRESENTED_MS = 50 * 60_000;

export function addKubernetesCommands(program: Command, io: Io): void {
  program
    .command("kubeconfig")
    .description("print a kubeconfig for a cluster, for kubectl, helm and every client library")
    .argument("<target>", "prod, or edit~prod for the account edit")
    .option("--namespace <name>", "the namespace clients begin in")
    .option("--command <program>", "how clients start this program", "custody")
    .option("--certificate", "clients show a certificate instead of a token")
    .option(
      "--why <text>",
      "the reason approvers see; CUSTODY_JUSTIFICATION of a client goes before it",
    )
    .addHelpText(
      "after",
      `
There is no credential in it: clients ask \`custody kubernetes credential\` for one each time.

Examples:
  custody kubeconfig prod > ~/.kube/custody-prod
  KUBECONFIG=~/.kube/custody-prod kubectl get pods`,
    )
    .action(async (target: string, options: KubeconfigOptions, command: Command) =>
      kubeconfig(invocationOf(command, io), target, options),
    );
  const kubernetes = program
    .command("kubernetes")
    .description("credentials and rights of clusters");
  kubernetes
    .command("credential")
    .description("the exec credential plugin of clients of Kubernetes: prints an ExecCredential")
    .option("--certificate", "a certificate for a key made for it, instead of a token")
    .option("--why <text>", "the reason approvers see, where CUSTODY_JUSTIFICATION has none")
    .action(async (options: { certificate?: true; why?: string }, command: Command) =>
      credential(invocationOf(command, io), options),
    );
  kubernetes
    .command("rbac")
    .description(
      "print what a cluster's administrator has to apply, for review; nothing is changed",
    )
    .argument("<target>", "its name in the configuration")
    .argument("[account]", "default: each of its accounts")
    .option("--config <file>", "the configuration", "custody.yaml")
    .action(
      async (
        name: string,
        account: string | undefined,
        options: { config: string },
        command: Command,
      ) => rbac(invocationOf(command, io), options.config, name, account),
    );
}

interface KubeconfigOptions {
  readonly namespace?: string;
  readonly command: string;
  readonly certificate?: true;
  readonly why?: string;
}

async function kubeconfig(
  invocation: Invocation,
  target: string,
  options: KubeconfigOptions,
): Promise<void> {
  const gateway = invocation.gateway();
  const list = await invocation.withClient((client) => client.call("targets"));
  const { kubernetes } = list.listeners;
  if (kubernetes === undefined)
    throw new CliError("refused", "this gateway has no listener for Kubernetes");
  const name = target.slice(target.indexOf("~") + 1);
  const found = list.targets.find((one) => one.name === name);
  if (found === undefined || found.protocol !== "kubernetes")
    throw new CliError("refused", `there is no cluster ${name} for you`, {
      hint: "custody targets lists them",
    });
  const config = kubeconfigOf({
    gateway,
    listener: kubernetes,
    targets: [target],
    program: [options.command],
    credentialArguments: [
      ...(options.certificate === true ? ["--certificate"] : []),
      ...(options.why === undefined ? [] : ["--why", options.why]),
    ],
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  });
  // JSON is YAML; a kubeconfig is read as either.
  invocation.print(config, () => `${JSON.stringify(config, null, 2)}\n`);
}

export interface KubeconfigParts {
  readonly gateway: Gateway;
  readonly listener: { readonly host: string; readonly port: number };
  /** `[account~]target`, each a context of that name; the first is the one clients begin with. */
  readonly targets: readonly string[];
  readonly namespace?: string;
  /** What clients start for a credential: this program. */
  readonly program: readonly [string, ...string[]];
  readonly credentialArguments?: readonly string[];
}

/** Without a credential: clients ask this program for one each time. */
export function kubeconfigOf(parts: KubeconfigParts) {
  const { gateway, listener, targets, namespace, program, credentialArguments = [] } = parts;
  const everywhere = listener.host === "0.0.0.0" || listener.host === "::";
  const host = everywhere ? hostOf(gateway) : listener.host;
  const origin = `https://${host.includes(":") ? `[${host}]` : host}:${listener.port}`;
  const authority =
    gateway.ca ?? (gateway.caFile === undefined ? undefined : readFileSync(gateway.caFile, "utf8"));
  const { contextName } = gateway;
  const [command, ...first] = program;
  const named = (target: string) => `custody-${target}`;
  const user = "custody";
  return {
    apiVersion: "v1",
    kind: "Config",
    "current-context": named(targets[0] ?? ""),
    clusters: targets.map((target) => ({
      name: named(target),
      cluster: {
        server: `${origin}/${target}`,
        ...(authority === undefined
          ? {}
          : { "certificate-authority-data": Buffer.from(authority).toString("base64") }),
      },
    })),
    users: [
      {
        name: user,
        user: {
          exec: {
            apiVersion: EXEC_API,
            command,
            args: [
              ...first,
              ...["kubernetes", "credential", ...credentialArguments],
              ...(contextName === undefined ? [] : ["--context", contextName]),
            ],
            interactiveMode: "Never",
            provideClusterInfo: false,
          },
        },
      },
    ],
    contexts: targets.map((target) => ({
      name: named(target),
      context: { cluster: named(target), user, ...(namespace === undefined ? {} : { namespace }) },
    })),
  };
}

async function credential(
  invocation: Invocation,
  options: { readonly certificate?: true; readonly why?: string },
): Promise<void> {
  const gateway = invocation.gateway();
  if (gateway.token === undefined)
    throw new CliError("unauthenticated", "nobody is signed in here", {
      hint: `custody login ${gateway.url}, or CUSTODY_TOKEN in the environment`,
    });
  // A client starts this anew each time it runs, with its own environment.
  const said = invocation.io.environment.CUSTODY_JUSTIFICATION || options.why;
  const why = said === undefined ? undefined : `why.${Buffer.from(said).toString("base64url")}`;
  const status =
    options.certificate === true
      ? { ...(await certified(invocation)), ...(why === undefined ? {} : { token: why }) }
      : await tokenShown(invocation, gateway.token, gateway.key !== undefined, why);
  invocation.io.stdout(
    `${JSON.stringify({ apiVersion: EXEC_API, kind: "ExecCredential", status })}\n`,
  );
}

async function tokenShown(
  invocation: Invocation,
  own: string,
  isPresented: boolean,
  why: string | undefined,
) {
  const password = await passwordOf(invocation, own);
  const token = why === undefined ? password : `${password}~${why}`;
  const nowMs = invocation.io.nowMs();
  const untilMs = Math.min(
    expiryOf(own),
    isPresented ? nowMs + PRESENTED_MS : Number.POSITIVE_INFINITY,
  );
  const expires = Number.isFinite(untilMs)
    ? { expirationTimestamp: new Date(untilMs).toISOString() }
    : {};
  return { token, ...expires };
}

/** The key is on no disk: it is made for the one client that asked, and ends with it. */
async function certified(invocation: Invocation) {
  const { certificate, expiresAt, key } = await certifiedKey(invocation);
  return { clientCertificateData: certificate, clientKeyData: key, expirationTimestamp: expiresAt };
}

/** Of a JWT; anything else says nothing about itself. */
function expiryOf(token: string): number {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as {
      exp?: unknown;
    };
    return typeof exp === "number" ? exp * 1000 : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

async function rbac(
  invocation: Invocation,
  file: string,
  name: string,
  account: string | undefined,
): Promise<void> {
  const { kubernetesSetup } = await import("@custody/gateway/credential/setup-kubernetes.ts");
  const target = (await load(file)).targets.get(name);
  if (target === undefined || target.protocol !== "kubernetes")
    throw new CliError("usage", `there is no cluster ${name} in ${file}`);
  const names = target.accounts.map((one) => one.name);
  if (account !== undefined && !names.includes(account))
    throw new CliError("usage", `target ${name} has no account ${account}`, {
      hint: `it has: ${names.join(", ")}`,
    });
  const setup = (account === undefined ? names : [account]).map((one) => ({
    account: one,
    yaml: kubernetesSetup(target, one),
  }));
  invocation.print({ target: name, setup }, () => setup.map(({ yaml }) => yaml).join("---\n"));
}
