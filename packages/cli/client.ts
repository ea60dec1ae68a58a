// The control API over HTTPS, by the table of endpoints it shares with the gateway. The connection
// trusts the context's CA and nothing else; answers are checked before anybody reads them.

import {
  type BodyOf,
  type EndpointName,
  type Endpoints,
  endpoints,
  pathOf,
  type QueryOf,
  type ResponseOf,
} from "@custody/contract/endpoints.ts";
import { oauthErrorSchema } from "@custody/contract/oauth.ts";
import { apiErrorSchema } from "@custody/contract/shapes.ts";
import { Agent, request } from "undici";
import { z } from "zod";

import { CliError, exitForGatewayCode } from "./faults.ts";
import { type HolderKey, proofFor } from "./holder-key.ts";

const TIMEOUT_MS = 30_000;
/** One line of a stream; a recording's longest is a response of 1 MiB and its base64. */
const MAX_LINE_CHARACTERS = 64 * 1024 * 1024;

type Json = { [Name in EndpointName]: Endpoints[Name]["answer"] extends "json" ? Name : never };
export type JsonEndpoint = Json[EndpointName];
type Lines = { [Name in EndpointName]: Endpoints[Name]["answer"] extends "ndjson" ? Name : never };
export type LinesEndpoint = Lines[EndpointName];

export interface Call<Name extends EndpointName> {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: QueryOf<Name>;
  readonly body?: BodyOf<Name>;
}

export interface ClientOptions {
  readonly url: string;
  /** PEM; null: the system's CAs. */
  readonly ca: string | null;
  readonly token: string | undefined;
  /** The key that the token is bound to: each request proves it (RFC 9449). */
  readonly key?: HolderKey | undefined;
  /** The key that what is asked for at the token endpoint is to be bound to. */
  readonly bindTo?: HolderKey | undefined;
}

export interface Client {
  readonly url: string;
  call<Name extends JsonEndpoint>(name: Name, call?: Call<Name>): Promise<ResponseOf<Name>>;
  /** One checked value a line, as they come. Ends with CliError when the gateway could not finish. */
  lines<Name extends LinesEndpoint>(
    name: Name,
    call?: Call<Name>,
  ): AsyncGenerator<ResponseOf<Name>>;
  /** Once everything asked for is answered. */
  close(): Promise<void>;
  /** At once; streams end with an error. */
  abandon(): Promise<void>;
}

export function createClient(options: ClientOptions): Client {
  const agent = new Agent({
    connect: { ...(options.ca !== null && { ca: options.ca }), timeout: TIMEOUT_MS },
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });
  let issuer: Promise<string> | undefined;
  const issuerOf = () => {
    issuer ??= send("metadata", {})
      .then((response) => response.body.json())
      .then((body) => understood("metadata", body).issuer);
    return issuer;
  };
  const send = (name: EndpointName, call: Call<EndpointName>) =>
    dispatch(agent, options, name, call, issuerOf);
  return {
    url: options.url,
    call: async (name, call = {}) => {
      const response = await send(name, call as Call<EndpointName>);
      const body: unknown = await response.body.json().catch(() => undefined);
      return understood(name, body);
    },
    lines: async function* (name, call = {}) {
      const response = await send(name, call as Call<EndpointName>);
      for await (const line of splitLines(response.body)) {
        const value: unknown = parseLine(line);
        throwStreamError(value);
        yield understood(name, value);
      }
    },
    close: async () => {
      if (!agent.destroyed) await agent.close();
    },
    abandon: () => agent.destroy(),
  };
}

async function dispatch(
  agent: Agent,
  options: ClientOptions,
  name: EndpointName,
  call: Call<EndpointName>,
  issuer: () => Promise<string>,
) {
  const endpoint = endpoints[name];
  const url = new URL(pathOf(name, call.params), options.url);
  for (const [key, value] of Object.entries(call.query ?? {}))
    if (value !== undefined) url.searchParams.set(key, String(value));
  const headers: Record<string, string> = { accept: "application/json, application/x-ndjson" };
  if (endpoint.auth === "bearer") {
    if (options.token === undefined)
      throw new CliError("unauthenticated", `nobody is signed in at ${url.host}`, {
        hint: `custody login ${options.url}, or CUSTODY_TOKEN in the environment`,
      });
    headers.authorization = `Bearer ${options.token}`;
  }
  await prove(options, name, url, headers, issuer);
  const body = encode(endpoint.encoding, call.body, headers);
  const response = await request(url, {
    dispatcher: agent,
    method: endpoint.method,
    headers,
    ...(body !== undefined && { body }),
  }).catch((error: unknown) => {
    throw unreachable(url, error);
  });
  if (response.statusCode >= 200 && response.statusCode < 300) return response;
  throw refusal(url, response.statusCode, await response.body.text().catch(() => ""));
}

/** URLs in proofs are spelt as the gateway names itself, by whatever name it was reached. */
async function prove(
  { token, key, bindTo }: ClientOptions,
  name: EndpointName,
  url: URL,
  headers: Record<string, string>,
  issuer: () => Promise<string>,
): Promise<void> {
  const { auth, method } = endpoints[name];
  const about = async () => ({ method, url: new URL(url.pathname, await issuer()).href });
  if (name === "token" && bindTo !== undefined)
    headers.dpop = proofFor(bindTo, await about(), Date.now());
  if (auth !== "bearer" || key === undefined || token === undefined) return;
  headers.authorization = `DPoP ${token}`;
  headers.dpop = proofFor(key, { ...(await about()), credential: token }, Date.now());
}

function encode(
  encoding: "none" | "json" | "form" | "jwt",
  body: unknown,
  headers: Record<string, string>,
): string | undefined {
  if (encoding === "none") return undefined;
  if (encoding === "json") {
    headers["content-type"] = "application/json";
    return JSON.stringify(body ?? {});
  }
  if (encoding === "jwt") {
    headers["content-type"] = "application/secevent+jwt";
    return String(body);
  }
  headers["content-type"] = "application/x-www-form-urlencoded";
  const form = new URLSearchParams();
  for (const [key, value] of Object.entries(body ?? {}))
    if (value !== undefined) form.set(key, String(value));
  return form.toString();
}

function understood<Name extends EndpointName>(name: Name, value: unknown): ResponseOf<Name> {
  const parsed = endpoints[name].response.safeParse(value);
  if (parsed.success) return parsed.data as ResponseOf<Name>;
  throw new CliError("refused", `the gateway's answer to ${name} is not understood`, {
    hint: "the gateway and this command line may be of different versions",
    cause: parsed.error,
  });
}

function refusal(url: URL, status: number, text: string): CliError {
  const body = parseLine(text);
  const api = apiErrorSchema.safeParse(body);
  if (api.success) {
    const { code, message, hint, requestId } = api.data.error;
    return new CliError(exitForGatewayCode(code), message, {
      code,
      hint: hint ?? nextStep(code),
      requestId,
    });
  }
  const oauth = oauthErrorSchema.safeParse(body);
  if (oauth.success) {
    const { error, error_description } = oauth.data;
    const exit = OAUTH_EXITS[error] ?? "refused";
    return new CliError(exit, error_description ?? error, { code: error });
  }
  const exit = status === 401 ? "unauthenticated" : status >= 502 ? "unreachable" : "refused";
  return new CliError(exit, `${url.host} answered ${status} to ${url.pathname}`, {
    hint: "is this a Custody gateway, and the address of its https listener?",
  });
}

const OAUTH_EXITS: Readonly<Record<string, "unauthenticated" | "unreachable">> = {
  invalid_grant: "unauthenticated",
  invalid_client: "unauthenticated",
  temporarily_unavailable: "unreachable",
  server_error: "unreachable",
};

function nextStep(code: string): string | undefined {
  if (code !== "unauthenticated" && code !== "revoked") return undefined;
  return "a person: custody login again; an agent: ask who delegated to it to renew or delegate anew";
}

function unreachable(url: URL, error: unknown): CliError {
  const { code } = error as NodeJS.ErrnoException;
  const said = error instanceof Error ? error.message : "no reason given";
  if (code !== undefined && /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/.test(code))
    return new CliError("unreachable", `the certificate of ${url.host} is not trusted: ${said}`, {
      hint: `custody login ${url.origin} --ca-fingerprint … takes its CA anew, once you know why`,
      cause: error,
    });
  return new CliError("unreachable", `${url.host} cannot be reached: ${code ?? said}`, {
    hint: "is the gateway running, and the address right? custody context shows it",
    cause: error,
  });
}

const streamErrorSchema = z.strictObject({
  error: z.object({ code: z.string(), message: z.string() }),
});

function throwStreamError(value: unknown): void {
  const parsed = streamErrorSchema.safeParse(value);
  if (!parsed.success) return;
  const { code, message } = parsed.data.error;
  throw new CliError(exitForGatewayCode(code), message, { code });
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function* splitLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE_CHARACTERS)
      throw new CliError("refused", "the gateway sent a line that does not end");
    for (const line of lines) if (line !== "") yield line;
  }
  if (rest.trim() !== "") yield rest;
}
