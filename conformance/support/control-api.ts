// A control side with real identity providers behind its HTTPS listener, and a client of it, for tests.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE } from "@custody/contract/oauth.ts";
import type { Provider } from "@custody/gateway/config/config.ts";
import { Agent, fetch } from "undici";
import { startControlSide } from "./control-side.ts";
import { startOidcProvider, type TestOidcProvider } from "./oidc-provider.ts";

export const GRANT = {
  type: "custody",
  targets: ["orders"],
  accounts: ["ro"],
  actions: ["sql:*"],
  resources: ["shop/*"],
};
export const NARROW = { ...GRANT, actions: ["sql:read"], resources: ["shop/public/*"] };

export interface Answer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly text: string;
  /** Read through `at`. */
  readonly body: unknown;
}

/** One value of an answer, by path: `error.code`, `requests.0.id`. */
export function at(answer: Answer, path: string): unknown {
  return path.split(".").reduce((value: unknown, key) => Object(value)[key], answer.body);
}

export const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

export async function startControlApi() {
  const folder = await mkdtemp(join(tmpdir(), "custody-api-"));
  const corp = await startOidcProvider({
    accounts: [
      { name: "engineer", groups: ["engineers"] },
      { name: "dba1", groups: ["dba"] },
      { name: "admin", groups: ["admins"] },
    ],
  });
  const ci = await startOidcProvider({ accounts: [{ name: "shop-pipeline", groups: [] }] });
  const late = await startOidcProvider({ accounts: [{ name: "engineer", groups: [] }] });
  const side = await startControlSide({
    people: { erin: ["corp/engineer"], dana: ["corp/dba1"] },
    administrators: "corp/admins",
    providers: await Promise.all([
      providerOf(folder, corp, "corp", "users"),
      providerOf(folder, ci, "ci", "workloads"),
      providerOf(folder, late, "late", "users"),
    ]),
  });
  const agent = new Agent({ connect: { ca: side.ca } });
  const client = clientOf(side.url, agent);
  return {
    ...client,
    side,
    agent,
    corp,
    ci,
    /** A provider that nobody has signed in with yet. */
    late,
    /** Signs an account of `corp` in; returns the token of the root. */
    async signIn(account: string, shape: string = TOKEN_TYPE.jwt): Promise<string> {
      const answer = await client.exchange({
        subject_token: await corp.idToken(account),
        subject_token_type: TOKEN_TYPE.idToken,
        requested_token_type: shape,
      });
      assert.equal(answer.status, 200, answer.text);
      return String(at(answer, "access_token"));
    },
    async [Symbol.asyncDispose]() {
      await agent.destroy();
      await side[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
      await Promise.all([corp, ci, late].map((provider) => provider[Symbol.asyncDispose]()));
    },
  };
}

function clientOf(url: string, agent: Agent) {
  async function call(method: string, path: string, init: object = {}): Promise<Answer> {
    const response = await fetch(`${url}${path}`, { method, dispatcher: agent, ...init });
    const text = await response.text();
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    return { status: response.status, headers: response.headers, text, body };
  }
  const get = (path: string, token: string) => call("GET", path, bearer(token));
  const post = (path: string, token: string, body: object = {}) =>
    call("POST", path, {
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  const form = (path: string, fields: Record<string, string> | [string, string][], headers = {}) =>
    call("POST", path, {
      headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
      body: new URLSearchParams(fields).toString(),
    });
  const exchange = (fields: Record<string, string>) =>
    form("/token", { grant_type: GRANT_TYPE_TOKEN_EXCHANGE, ...fields });
  /** A child whose actor shows nothing but a name. */
  const named = (parent: string, name: string, grant: object, extra: Record<string, string> = {}) =>
    exchange({
      subject_token: parent,
      subject_token_type: parent.startsWith("cst_") ? TOKEN_TYPE.handle : TOKEN_TYPE.jwt,
      actor_token: name,
      actor_token_type: TOKEN_TYPE.agentName,
      authorization_details: JSON.stringify([grant]),
      ...extra,
    });
  async function delegate(parent: string, name: string, grant: object = GRANT): Promise<string> {
    const answer = await named(parent, name, grant, { requested_token_type: TOKEN_TYPE.handle });
    assert.equal(answer.status, 200, answer.text);
    return String(at(answer, "access_token"));
  }
  return { call, get, post, form, exchange, named, delegate };
}

async function providerOf(
  folder: string,
  real: TestOidcProvider,
  name: string,
  kind: Provider["kind"],
): Promise<Provider> {
  const caFile = join(folder, `${name}.pem`);
  await writeFile(caFile, real.ca);
  return {
    name,
    kind,
    caFile,
    issuer: real.issuer,
    audience: real.clientId,
    clientId: undefined,
    username: "preferred_username",
    groups: "groups",
    algorithms: ["RS256", "ES256", "EdDSA"],
    token: "id_token",
    claims: {},
    insecureHttp: false,
  };
}
