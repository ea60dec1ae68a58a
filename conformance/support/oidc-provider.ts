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
import { createServer, request } from "node:https";
import type { AddressInfo } from "node:net";
import Provider, { type Configuration, type JWK } from "oidc-provider";
import { createTestAuthority } from "./certificates.ts";
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
const SCOPES = "openid profile email groups";
const MAX_BODY_BYTES = 65_536;
const MAX_REDIRECTS = 10;

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
  let failure: OidcFailure | undefined;

  const build = () => {
    const provider = new Provider(issuer, {
      ...providerConfiguration(people, subjects, keys, options.idTokenSeconds ?? 3600),
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
      return await signIn({ issuer, ca: authority.cert, account, password });
    },
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
        redirect_uris: [REDIRECT_URI],
        response_types: ["code"],
        grant_types: ["authorization_code"],
        token_endpoint_auth_method: "none",
        id_token_signed_response_alg: "ES256",
      },
    ],
    pkce: { required: () => true },
    scopes: SCOPES.split(" "),
    claims: {
      openid: ["sub"],
      profile: ["name", "preferred_username"],
      email: ["email", "email_verified"],
      groups: ["groups"],
    },
    // The claims of a scope belong into the ID token itself: the gateway is shown nothing else.
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    ttl: {
      IdToken: idTokenSeconds,
      AccessToken: idTokenSeconds,
      AuthorizationCode: 60,
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
      grant.addOIDCScope(SCOPES);
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
  const form = new URLSearchParams(await readBody(req));
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

async function readBody(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error("the body is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function answerFailure(failure: OidcFailure, res: ServerResponse): void {
  if (failure === "hang") return;
  if (failure === "unavailable") res.writeHead(503).end("down for a test");
  else res.writeHead(200, { "content-type": "application/json" }).end('{"keys": <garbage');
}

interface SignIn {
  readonly issuer: string;
  readonly ca: string;
  readonly account: string;
  readonly password: string;
}

/** The browser's part: follows redirects with cookies, posts the form, redeems the code. */
async function signIn({ issuer, ca, account, password }: SignIn): Promise<string> {
  const cookies = new Map<string, string>();
  const verifier = randomBytes(32).toString("base64url");
  const nonce = randomBytes(16).toString("base64url");
  const start = new URL("/auth", issuer);
  start.search = new URLSearchParams({
    client_id: CLIENT_ID,
    response_type: "code",
    redirect_uri: REDIRECT_URI,
    scope: SCOPES,
    nonce,
    state: randomBytes(16).toString("base64url"),
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  }).toString();
  let answer = await send(start, ca, cookies);
  for (let step = 0; step < MAX_REDIRECTS; step++) {
    const location = answer.location;
    if (location?.href.startsWith(REDIRECT_URI)) {
      const code = location.searchParams.get("code");
      if (code === null) throw new Error(`sign-in failed: ${location.search}`);
      return await redeem(issuer, ca, code, verifier);
    }
    if (location === undefined) throw new Error(`sign-in failed: ${answer.status} ${answer.body}`);
    const isForm = location.pathname.startsWith("/interaction/");
    const form = isForm ? new URLSearchParams({ account, password }) : undefined;
    answer = await send(location, ca, cookies, form);
  }
  throw new Error("sign-in failed: too many redirects");
}

async function redeem(issuer: string, ca: string, code: string, verifier: string): Promise<string> {
  const form = new URLSearchParams({
    grant_type: "authorization_code",
    client_id: CLIENT_ID,
    redirect_uri: REDIRECT_URI,
    code,
    code_verifier: verifier,
  });
  const answer = await send(new URL("/token", issuer), ca, new Map(), form);
  const token: unknown = JSON.parse(answer.body).id_token;
  if (typeof token !== "string") throw new Error(`no ID token: ${answer.status} ${answer.body}`);
  return token;
}

interface Answer {
  readonly status: number;
  readonly location: URL | undefined;
  readonly body: string;
}

async function send(
  url: URL,
  ca: string,
  cookies: Map<string, string>,
  form?: URLSearchParams,
): Promise<Answer> {
  const outgoing = request(url, {
    ca,
    agent: false,
    method: form === undefined ? "GET" : "POST",
    headers: {
      cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; "),
      ...(form === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" }),
    },
  });
  outgoing.end(form?.toString());
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  for (const line of incoming.headers["set-cookie"] ?? []) {
    const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
    cookies.set(name, value);
  }
  const { location } = incoming.headers;
  return {
    status: incoming.statusCode ?? 0,
    location: location === undefined ? undefined : new URL(location, url),
    body: await readBody(incoming),
  };
}
