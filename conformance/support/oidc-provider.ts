// A real OpenID Connect provider for tests and the demo: npm's oidc-provider on loopback over HTTPS
// with a throw-away authority. People sign in through a form; `idToken` posts the same form by code, so
// that every token comes out of the whole authorization-code flow with PKCE (RFC 7636).

import {
  createHash,
  generateKeyPairSync,
  type JsonWebKey,
  randomBytes,
  randomUUID,
  timingSafeEqual,
} from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import Provider, { type Configuration, type JWK } from "oidc-provider";
import { Agent, fetch } from "undici";
import { createTestAuthority } from "./certificates.ts";
import { createHttpBrowser, type HttpBrowser, readText } from "./http-browser.ts";
import { createOidcStore } from "./oidc-store.ts";

export interface OidcAccount {
  /** What a person types and reads: `engineer`. Never the subject. */
  readonly name: string;
  readonly groups: readonly string[];
  readonly email?: string;
}

export interface OidcOptions {
  readonly accounts: readonly OidcAccount[];
  /** How long an ID token lasts; default 3600 s. */
  readonly idTokenSeconds?: number;
}

/** What the provider does instead of answering; undefined: it works. */
export type OidcFailure = "unavailable" | "hang" | "garbage";

export interface TestOidcProvider extends AsyncDisposable {
  /** `https://127.0.0.1:<port>` */
  readonly issuer: string;
  /** The audience of its ID tokens. */
  readonly clientId: string;
  /** What verifies its certificate, PEM. */
  readonly ca: string;
  /** The subject identifier of an account: random, stable for this provider's life. */
  subject(account: string): string;
  /** The password of every account, for the form in a browser. */
  readonly password: string;
  /** Signs the account in as a browser would and returns the ID token. */
  idToken(account: string): Promise<string>;
  /** Enters a device's code, as a person with a browser would (RFC 8628 section 3.3). */
  approveDevice(account: string, verificationUri: string): Promise<void>;
  /** Ends the session that the last `idToken` of this account made; tells clients (back-channel). */
  endSession(account: string): Promise<void>;
  /** From now on tokens name these groups. */
  setGroups(account: string, groups: readonly string[]): void;
  /** Where its client is told of sessions that end, and what verifies that HTTPS. */
  backchannelTo(uri: string, ca: string): void;
  /** Refresh tokens it gave are good no longer. */
  revokeRefreshTokens(): void;
  /** New signing key; tokens of the old one verify only while `keepOld` publishes it. Default true. */
  rotateKeys(options?: { keepOld?: boolean }): void;
  /** From now on every request fails so, until called with undefined. */
  fail(how: OidcFailure | undefined): void;
  /** Requests answered so far by path, so that caching can be tested. */
  readonly requests: ReadonlyMap<string, number>;
}

const HOST = "127.0.0.1";
const CLIENT_ID = "custody";
const REDIRECT_URI = "http://127.0.0.1/signed-in";
/** Native clients come back to any port (RFC 8252 section 7.3); this one is the command line's. */
const CLI_REDIRECT_URI = "http://127.0.0.1/callback";
const SCOPES = "openid profile email groups";
const OFFLINE_SCOPES = `${SCOPES} offline_access`;

/** Starts the provider on a free port. */
export async function startOidcProvider(options: OidcOptions): Promise<TestOidcProvider> {
  const authority = createTestAuthority("Throw-away CA of a test identity provider");
  const server = createServer(authority.issue(["localhost", HOST]));
  server.listen(0, HOST);
  await once(server, "listening");
  const issuer = `https://${HOST}:${(server.address() as AddressInfo).port}`;
  const password = randomBytes(12).toString("base64url");
  const people = new Map(options.accounts.map((account) => [account.name, account]));
  const subjects = new Map(options.accounts.map((account) => [account.name, randomUUID()]));
  const requests = new Map<string, number>();
  const store = createOidcStore();
  let keys = [signingKey()];
  const browsers = new Map<string, HttpBrowser>();
  let failure: OidcFailure | undefined;
  let backchannel: Backchannel | undefined;

  const build = () => {
    const provider = new Provider(issuer, {
      ...providerConfiguration(people, subjects, keys, options.idTokenSeconds ?? 3600, backchannel),
      adapter: store,
    });
    const standard = provider.callback();
    return (req: IncomingMessage, res: ServerResponse) =>
      isInteraction(req) ? interact(provider, req, res, password, subjects) : standard(req, res);
  };
  let handle = build();

  server.on("request", (req: IncomingMessage, res: ServerResponse) => {
    const path = new URL(req.url ?? "/", issuer).pathname;
    requests.set(path, (requests.get(path) ?? 0) + 1);
    if (failure !== undefined) return answerFailure(failure, res);
    Promise.resolve(handle(req, res)).catch(() => res.destroy());
  });

  return {
    issuer,
    clientId: CLIENT_ID,
    ca: authority.cert,
    password,
    requests,
    subject: (account) => known(subjects, account),
    async idToken(account) {
      known(subjects, account);
      const browser = createHttpBrowser(authority.cert);
      browsers.set(account, browser);
      return await signIn({ issuer, browser, account, password });
    },
    approveDevice: (account, verificationUri) =>
      approveDevice(createHttpBrowser(authority.cert), account, password, verificationUri),
    async endSession(account) {
      const browser = browsers.get(account);
      if (browser === undefined) throw new Error(`${account} has no session`);
      const page = await browser.visit(new URL("/session/end", issuer));
      await browser.visit(page.action, { form: { ...page.hidden, logout: "yes" } });
    },
    setGroups(account, groups) {
      people.set(account, { ...people.get(account), name: account, groups });
    },
    backchannelTo(uri, ca) {
      backchannel = { uri, agent: new Agent({ connect: { ca } }) };
      handle = build();
    },
    revokeRefreshTokens: () => store.forget("RefreshToken"),
    rotateKeys({ keepOld = true } = {}) {
      keys = keepOld ? [signingKey(), ...keys] : [signingKey()];
      handle = build();
    },
    fail(how) {
      failure = how;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function known(subjects: ReadonlyMap<string, string>, account: string): string {
  const subject = subjects.get(account);
  if (subject === undefined) throw new Error(`the provider has no account ${account}`);
  return subject;
}

function signingKey(): JWK {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk: JsonWebKey = privateKey.export({ format: "jwk" });
  return { ...jwk, kty: "EC", kid: randomUUID(), use: "sig", alg: "ES256" } as JWK;
}

function providerConfiguration(
  people: ReadonlyMap<string, OidcAccount>,
  subjects: ReadonlyMap<string, string>,
  keys: readonly JWK[],
  idTokenSeconds: number,
  backchannel: Backchannel | undefined,
): Configuration {
  const names = new Map([...subjects].map(([name, subject]) => [subject, name]));
  return {
    jwks: { keys: [...keys] },
    cookies: { keys: [randomBytes(16).toString("hex")] },
    clients: [
      {
        client_id: CLIENT_ID,
        client_name: "Custody",
        application_type: "native",
        redirect_uris: [REDIRECT_URI, CLI_REDIRECT_URI],
        response_types: ["code"],
        grant_types: [
          "authorization_code",
          "refresh_token",
          "urn:ietf:params:oauth:grant-type:device_code",
        ],
        ...(backchannel === undefined
          ? {}
          : {
              backchannel_logout_uri: backchannel.uri,
              backchannel_logout_session_required: true,
            }),
        token_endpoint_auth_method: "none",
        id_token_signed_response_alg: "ES256",
      },
    ],
    pkce: { required: () => true },
    scopes: OFFLINE_SCOPES.split(" "),
    claims: {
      openid: ["sub"],
      profile: ["name", "preferred_username"],
      email: ["email", "email_verified"],
      groups: ["groups"],
    },
    // The claims of a scope belong into the ID token itself: the gateway is shown nothing else.
    conformIdTokenClaims: false,
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: true },
    },
    ...(backchannel === undefined ? {} : { fetch: fetchVia(backchannel.agent) }),
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    ttl: {
      IdToken: idTokenSeconds,
      AccessToken: idTokenSeconds,
      AuthorizationCode: 60,
      DeviceCode: 300,
      RefreshToken: 86_400,
      Grant: 3600,
      Interaction: 600,
      Session: 3600,
    },
    async findAccount(_ctx, subject) {
      const person = people.get(names.get(subject) ?? "");
      if (person === undefined) return undefined;
      return {
        accountId: subject,
        claims: async () => ({
          sub: subject,
          name: person.name,
          preferred_username: person.name,
          email: person.email ?? `${person.name}@example.com`,
          email_verified: true,
          groups: [...person.groups],
        }),
      };
    },
    // This provider's one client is trusted; nobody is asked to consent.
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: CLIENT_ID,
        accountId: ctx.oidc.session?.accountId ?? "",
      });
      grant.addOIDCScope(OFFLINE_SCOPES);
      await grant.save();
      return grant;
    },
  };
}

function isInteraction(req: IncomingMessage): boolean {
  return /^\/interaction\/[\w-]+$/.test(req.url ?? "");
}

/** GET shows the form, POST signs in and sends the browser on. */
async function interact(
  provider: Provider,
  req: IncomingMessage,
  res: ServerResponse,
  password: string,
  subjects: ReadonlyMap<string, string>,
): Promise<void> {
  if (req.method !== "POST") return showForm(res, 200, "");
  const form = new URLSearchParams(await readText(req));
  const accountId = subjects.get(form.get("account") ?? "");
  if (accountId === undefined || !equal(form.get("password") ?? "", password))
    return showForm(res, 401, "No such account and password.");
  // A native client asks for consent each time, whatever grant exists (RFC 8252 section 8.6).
  await provider.interactionFinished(req, res, { login: { accountId }, consent: {} });
}

function showForm(res: ServerResponse, status: number, message: string): void {
  res.writeHead(status, { "content-type": "text/html; charset=utf-8" });
  res.end(`<!doctype html><html lang="en"><title>Sign in</title><h1>Sign in</h1><p>${message}</p>
<form method="post"><label>Account <input name="account" autofocus></label>
<label>Password <input name="password" type="password"></label><button>Sign in</button></form></html>`);
}

function equal(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

function answerFailure(failure: OidcFailure, res: ServerResponse): void {
  if (failure === "hang") return;
  if (failure === "unavailable") res.writeHead(503).end("down for a test");
  else res.writeHead(200, { "content-type": "application/json" }).end('{"keys": <garbage');
}

interface Backchannel {
  readonly uri: string;
  readonly agent: Agent;
}

/** The provider's own requests, with what verifies the other side. */
function fetchVia(agent: Agent): NonNullable<Configuration["fetch"]> {
  return async (url, { body, headers, method, signal } = {}) => {
    const answer = await fetch(String(url), {
      dispatcher: agent,
      ...(method === undefined ? {} : { method }),
      ...(headers === undefined ? {} : { headers: [...new Headers(headers)] }),
      ...(body == null ? {} : { body: String(body) }),
      ...(signal == null ? {} : { signal }),
    });
    return new Response(await answer.text(), { status: answer.status });
  };
}

interface SignIn {
  readonly issuer: string;
  readonly browser: HttpBrowser;
  readonly account: string;
  readonly password: string;
}

async function signIn({ issuer, browser, account, password }: SignIn): Promise<string> {
  const verifier = randomBytes(32).toString("base64url");
  const start = new URL("/auth", issuer);
  start.search = new URLSearchParams({
    client_id: CLIENT_ID,
    response_type: "code",
    redirect_uri: REDIRECT_URI,
    scope: SCOPES,
    nonce: randomBytes(16).toString("base64url"),
    state: randomBytes(16).toString("base64url"),
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  }).toString();
  const form = await browser.visit(start);
  if (!form.url.pathname.startsWith("/interaction/"))
    throw new Error(`sign-in failed: ${form.status} ${form.body}`);
  const done = await browser.visit(form.url, {
    form: { account, password },
    stopAt: REDIRECT_URI,
  });
  const code = done.url.searchParams.get("code");
  if (code === null) throw new Error(`sign-in failed: ${done.status} ${done.url.search}`);
  const answer = await browser.visit(new URL("/token", issuer), {
    form: {
      grant_type: "authorization_code",
      client_id: CLIENT_ID,
      redirect_uri: REDIRECT_URI,
      code,
      code_verifier: verifier,
    },
  });
  const token: unknown = JSON.parse(answer.body).id_token;
  if (typeof token !== "string") throw new Error(`no ID token: ${answer.status} ${answer.body}`);
  return token;
}

async function approveDevice(
  browser: HttpBrowser,
  account: string,
  password: string,
  verificationUri: string,
): Promise<void> {
  const entered = await browser.visit(new URL(verificationUri));
  const confirmed = await browser.visit(entered.action, { form: entered.hidden });
  const signInForm = await browser.visit(confirmed.action, {
    form: { ...confirmed.hidden, confirm: "yes" },
  });
  const done = await browser.visit(signInForm.url, { form: { account, password } });
  if (done.status !== 200) throw new Error(`no device was approved: ${done.status} ${done.body}`);
}
