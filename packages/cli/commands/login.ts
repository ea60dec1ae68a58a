// Signing in and out, and the contexts that keep who one is where.

import { readFileSync } from "node:fs";

import { TOKEN_TYPE } from "@custody/contract/oauth.ts";
import type { ProviderView } from "@custody/contract/providers.ts";
import { type Command, Option } from "commander";

import { browserCommand, openBrowser } from "../browser.ts";
import { createClient } from "../client.ts";
import type { StoredContext } from "../contexts.ts";
import { CliError } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, harmless, type Io, oneLine, relative, table } from "../output.ts";
import { signInWith } from "../sign-in.ts";
import { fetchCa } from "../trust.ts";

interface LoginOptions {
  readonly caFingerprint?: string;
  readonly caFile?: string;
  readonly provider?: string;
  readonly device?: boolean;
  readonly tokenFile?: string;
  readonly tokenType: "id_token" | "access_token" | "jwt";
  readonly ttl?: string;
  readonly offlineChildren?: boolean;
  readonly code?: string;
}

interface LogoutOptions {
  readonly keep?: boolean;
  readonly everywhere?: boolean;
}

export function addLoginCommands(program: Command, io: Io): void {
  program.commandsGroup("Signing in:");
  program
    .command("login")
    .description("sign in at a gateway with one of its identity providers, and keep a context")
    .argument("[url]", "the gateway's https address; left out: the context's, once more")
    .option("--ca-fingerprint <sha256>", "trust the gateway's CA with this fingerprint")
    .option("--ca-file <file>", "trust the CA in this PEM file")
    .option("--provider <name>", "the identity provider, where the gateway has several")
    .option("--device", "sign in with a code on another device, even if there is a browser here")
    .option(
      "--token-file <file>",
      "a token somebody else got from the provider; - reads standard input",
    )
    .addOption(
      new Option("--token-type <type>", "what kind of token is in the file")
        .choices(["id_token", "access_token", "jwt"])
        .default("id_token"),
    )
    .option("--code <code>", "what a SAML provider's own sign-in page ended with")
    .option("--ttl <duration>", "how long the sign-in lasts, at most what the gateway allows")
    .option(
      "--offline-children",
      "with CUSTODY_KEY: holders of keys below may sign delegations without asking the gateway",
    )
    .addHelpText("after", LOGIN_HELP)
    .action(async (url: string | undefined, options: LoginOptions, command: Command) =>
      login(invocationOf(command, io), url, options),
    );
  program
    .command("logout")
    .description("revoke the sign-in, everything delegated from it included, and forget it")
    .option("--keep", "only forget it here; the delegations live on until they expire")
    .option("--everywhere", "end the session at the identity provider too, in the browser")
    .action(async (options: LogoutOptions, command: Command) =>
      logout(invocationOf(command, io), options),
    );
  program
    .command("context")
    .description("list the contexts, or make one the current one")
    .argument("[name]", "the context to use from now on")
    .action((name: string | undefined, _options: unknown, command: Command) =>
      contexts(invocationOf(command, io), name),
    );
}

const LOGIN_HELP = `
Opens the browser; where there is none, shows a code to enter on any other device. The sign-in is
refreshed by itself while the provider agrees. The context is named by --context, else after the host,
and after the provider too when the host's context is another provider's. Secrets are kept in the
system's keyring, or in a file that only you can read where there is none (CUSTODY_KEYRING=off: always).
Without --ca-fingerprint or --ca-file the system's CAs are trusted.

Examples:
  custody login https://gw.example.com:7443 --ca-fingerprint AB:CD:…
  custody login gw.example.com:7443 --provider corp --device
  get-token | custody login https://gw:7443 --ca-file ca.pem --token-file - --context work`;

async function login(
  invocation: Invocation,
  given: string | undefined,
  options: LoginOptions,
): Promise<void> {
  const { contexts: store, io } = invocation;
  const url = given === undefined ? currentUrl(invocation) : parseGatewayUrl(given);
  const host = invocation.chosenContext ?? contextName(url.hostname);
  const ca = await trustedCa(invocation, url, host, options);
  const offlineChildren = options.offlineChildren === true;
  const ttl = options.ttl === undefined ? {} : { ttlSeconds: parseTtl(options.ttl) };
  let name = host;
  let signedIn: Awaited<ReturnType<typeof signInWith>>;
  let providerName: string | undefined;
  if (options.tokenFile !== undefined) {
    const token = (await readToken(invocation, options.tokenFile)).trim();
    const subject = { token, type: SUBJECT_TYPES[options.tokenType], ...ttl };
    signedIn = await signInWith(store, io, { name, url: url.origin, ca, offlineChildren }, subject);
  } else {
    const provider = await chooseProvider(invocation, url, ca, host, options.provider);
    providerName = provider.name;
    name = invocation.chosenContext ?? nameBeside(store.peek(host), host, provider.name);
    const place = { name, url: url.origin, ca, offlineChildren };
    if (provider.flows.includes("saml")) {
      if (options.device === true) throw noDeviceFlow(provider);
      const { samlSignIn } = await import("../saml-sign-in.ts");
      // A code that was shown has no verifier of ours.
      const token =
        options.code === undefined
          ? await samlSignIn(url, provider.name, io)
          : `${options.code.trim()}.`;
      signedIn = await signInWith(store, io, place, { token, type: TOKEN_TYPE.samlSignIn, ...ttl });
    } else {
      if (options.code !== undefined)
        throw new CliError("usage", `--code is for SAML providers, which ${provider.name} is not`);
      const tokens = await authenticate(io, provider, options.device === true);
      const subject = { token: tokens.idToken, type: TOKEN_TYPE.idToken, ...ttl };
      signedIn = await signInWith(store, io, place, subject, { provider, tokens });
    }
  }
  store.choose(name);
  const { delegationId, expiresAt, kept } = signedIn;
  const value = { context: name, url: url.origin, delegationId, expiresAt, kept };
  invocation.print(
    { ...value, ...(providerName !== undefined && { provider: providerName }) },
    () =>
      facts(io, [
        ["signed in at", url.origin],
        ...(providerName === undefined ? [] : [["with", providerName] as const]),
        ["context", name],
        ["delegation", delegationId],
        ["expires", relative(expiresAt, io.nowMs())],
        ["kept in", kept],
      ]),
  );
}

const SUBJECT_TYPES = {
  id_token: TOKEN_TYPE.idToken,
  access_token: TOKEN_TYPE.accessToken,
  jwt: TOKEN_TYPE.jwt,
} as const;

function currentUrl({ contexts: store, chosenContext }: Invocation): URL {
  const name = chosenContext ?? store.currentName();
  const context = name === undefined ? undefined : store.peek(name);
  if (context === undefined)
    throw new CliError("usage", "which gateway?", { hint: "custody login https://HOST:7443" });
  return new URL(context.url);
}

function contextName(hostname: string): string {
  return hostname.replaceAll(/[^a-z0-9.-]/g, "-").replace(/^-+/, "");
}

async function trustedCa(
  { contexts: store }: Invocation,
  url: URL,
  name: string,
  options: LoginOptions,
): Promise<string | null> {
  if (options.caFile !== undefined) return readText(options.caFile);
  if (options.caFingerprint !== undefined) return await fetchCa(url, options.caFingerprint);
  const known = store.peek(name);
  return known?.url === url.origin ? known.ca : null;
}

/** Signed in with two providers at one gateway: a context each. */
function nameBeside(context: StoredContext | undefined, host: string, provider: string): string {
  const other = context?.delegationId != null ? context.signIn?.provider.name : undefined;
  return other === undefined || other === provider ? host : contextName(`${host}-${provider}`);
}

async function chooseProvider(
  { contexts: store }: Invocation,
  url: URL,
  ca: string | null,
  host: string,
  wanted: string | undefined,
): Promise<ProviderView> {
  const client = createClient({ url: url.origin, ca, token: undefined });
  const { providers } = await client.call("providers").finally(() => client.close());
  const name = wanted ?? store.peek(host)?.signIn?.provider.name;
  const named = providers.find((one) => one.name === name);
  const [first] = providers;
  const names = providers.map((one) => one.name).join(", ");
  if (first === undefined)
    throw new CliError("refused", "this gateway has no provider that people sign in with", {
      hint: "bring a token of one of its providers: custody login --token-file FILE",
    });
  if (wanted !== undefined && named === undefined)
    throw new CliError("usage", `this gateway has no provider "${wanted}"`, {
      hint: `there are: ${names}`,
    });
  if (named !== undefined) return named;
  if (providers.length === 1) return first;
  throw new CliError("usage", "this gateway has several identity providers", {
    hint: `choose one: custody login --provider ${names.replaceAll(", ", " | ")}`,
  });
}

async function authenticate(io: Io, provider: ProviderView, wantsDevice: boolean) {
  // The library is read only where somebody signs in.
  const { openProviderClient } = await import("../provider-client.ts");
  await using client = await openProviderClient(provider);
  const mayDevice = provider.flows.includes("device") && client.hasDeviceFlow;
  if (wantsDevice && !mayDevice) throw noDeviceFlow(provider);
  const isDevice = wantsDevice || (browserCommand(io.environment) === undefined && mayDevice);
  return isDevice ? await client.onDevice(io) : await client.inBrowser(io);
}

function noDeviceFlow({ name }: ProviderView): CliError {
  return new CliError("refused", `${name} has no sign-in with a code`, {
    hint: "leave --device out, on a machine with a browser",
  });
}

async function logout(invocation: Invocation, options: LogoutOptions): Promise<void> {
  const name = invocation.chosenContext ?? invocation.contexts.currentName();
  const context = name === undefined ? undefined : invocation.contexts.read(name);
  if (name === undefined || context === undefined || context.token === null)
    throw new CliError("unauthenticated", "nobody is signed in here");
  const { token } = context;
  if (options.keep !== true) {
    const client = createClient({ url: context.url, ca: context.ca, token });
    try {
      await client.call("revokeToken", { body: { token } });
    } finally {
      await client.close();
    }
  }
  // Forgotten here first: what the provider answers does not bring it back.
  invocation.contexts.write(name, { ...context, token: null, delegationId: null, signIn: null });
  const atProvider =
    options.keep === true ? false : await leaveProvider(invocation.io, context, options);
  invocation.print({ context: name, revoked: options.keep !== true, atProvider }, () =>
    options.keep === true
      ? `forgotten in context ${name}; not revoked\n`
      : `signed out in context ${name}; everything delegated from it has ended\n`,
  );
}

/** Did the provider revoke what it gave us? A provider that is down does not keep anybody signed in here. */
async function leaveProvider(
  io: Io,
  { signIn }: StoredContext,
  options: LogoutOptions,
): Promise<boolean> {
  if (signIn === null || (signIn.refreshToken === null && options.everywhere !== true))
    return false;
  try {
    const { openProviderClient } = await import("../provider-client.ts");
    await using client = await openProviderClient(signIn.provider);
    const revoked = signIn.refreshToken !== null && (await client.revoke(signIn.refreshToken));
    const end =
      options.everywhere === true && signIn.idToken !== null
        ? client.endSessionUrl(signIn.idToken)
        : undefined;
    const command = browserCommand(io.environment);
    if (end !== undefined && command !== undefined) openBrowser(command, end, io.environment);
    if (end !== undefined)
      io.stderr(`To end the session at the provider:\n  ${harmless(end.href)}\n`);
    return revoked;
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    io.stderr(`custody: ${signIn.provider.name} could not be told: ${oneLine(error.message)}\n`);
    return false;
  }
}

function contexts(invocation: Invocation, name: string | undefined): void {
  const { contexts: store, io } = invocation;
  if (name !== undefined) {
    if (store.peek(name) === undefined)
      throw new CliError("usage", `there is no context "${name}"`, {
        hint: `there are: ${store.names().join(", ") || "none; custody login makes one"}`,
      });
    store.choose(name);
  }
  const current = store.currentName();
  const rows = store.names().flatMap((one) => {
    const context = store.peek(one);
    if (!context) return [];
    const { url, delegationId, signIn } = context;
    const provider = signIn?.provider.name ?? null;
    const signedIn = delegationId !== null;
    return [{ name: one, current: one === current, url, provider, delegationId, signedIn }];
  });
  invocation.print({ contexts: rows }, () =>
    rows.length === 0
      ? "no contexts; custody login makes one\n"
      : table(
          io,
          [
            { title: "", value: (row) => (row.current ? "*" : "") },
            { title: "CONTEXT", value: (row) => row.name },
            { title: "GATEWAY", value: (row) => row.url, flexible: true },
            { title: "PROVIDER", value: (row) => row.provider ?? "" },
            { title: "DELEGATION", value: (row) => row.delegationId ?? "signed out" },
          ],
          rows,
        ),
  );
}

function parseGatewayUrl(given: string): URL {
  const url = URL.parse(given.includes("://") ? given : `https://${given}`);
  if (url?.protocol !== "https:" || url.username !== "" || url.password !== "")
    throw new CliError("usage", `"${given}" is not a gateway's address`, {
      hint: "it is like https://custody.example.com:7443",
    });
  return url;
}

/** Seconds of `90s`, `10m`, `1h30m`, `2d`. */
export function parseTtl(text: string): number {
  if (!/^(\d{1,7}[smhd])+$/.test(text))
    throw new CliError("usage", `"${text}" is not a duration`, { hint: "write 90s, 10m or 1h30m" });
  const seconds = { s: 1, m: 60, h: 3600, d: 86_400 };
  let total = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)([smhd])/g))
    total += Number(digits) * seconds[unit as keyof typeof seconds];
  if (total === 0) throw new CliError("usage", "a duration of nothing");
  return total;
}

export async function readToken(invocation: Invocation, file: string): Promise<string> {
  return file === "-" ? await invocation.io.readStdin() : readText(file);
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new CliError("usage", `${file} cannot be read`, { cause: error });
  }
}
