// How the gateway asks identity providers something: over HTTPS by the authorities of the configuration,
// bounded in time and size, JSON objects only, nobody's redirects followed.

import { Agent, fetch } from "undici";

export interface ProviderPlace {
  readonly issuer: string;
  /** PEM; undefined: the system's certificate authorities. */
  readonly ca: string | undefined;
  readonly insecureHttp: boolean;
}

type Json = Readonly<Record<string, unknown>>;

const TIMEOUT_MS = 5_000;
const MAX_DOCUMENT_BYTES = 512 * 1024;

export function providerAgent({ ca }: Pick<ProviderPlace, "ca">): Agent {
  return new Agent({
    connect: ca === undefined ? {} : { ca },
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });
}

/** OpenID Connect Discovery 1.0. Throws TypeError and what fetch throws. */
export async function discover(place: ProviderPlace, agent: Agent): Promise<Json> {
  const address = `${place.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const discovery = await fetchJson(place, agent, address);
  // Discovery section 4.3: the document must name the issuer it was asked for.
  if (discovery.issuer !== place.issuer)
    throw new TypeError(`the discovery document names the issuer ${String(discovery.issuer)}`);
  return discovery;
}

/** Throws TypeError and what fetch throws. */
export async function fetchJson(
  place: ProviderPlace,
  agent: Agent,
  address: string,
): Promise<Json> {
  const { status, body } = await ask(place, agent, address, undefined);
  if (status !== 200) throw new TypeError(`${address} answered ${status}`);
  return body;
}

/** The answer whatever its status: OAuth's errors are JSON too. Throws TypeError and what fetch throws. */
export function postForm(
  place: ProviderPlace,
  agent: Agent,
  address: string,
  form: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly body: Json }> {
  return ask(place, agent, address, new URLSearchParams(form).toString());
}

async function ask(
  { insecureHttp }: ProviderPlace,
  agent: Agent,
  address: string,
  form: string | undefined,
): Promise<{ readonly status: number; readonly body: Json }> {
  const url = new URL(address);
  if (url.protocol !== "https:" && !(insecureHttp && url.protocol === "http:"))
    throw new TypeError(`${url.origin} is not HTTPS`);
  const accept = { accept: "application/json" };
  const response = await fetch(url, {
    dispatcher: agent,
    redirect: "error",
    signal: AbortSignal.timeout(TIMEOUT_MS),
    ...(form === undefined
      ? { headers: accept }
      : {
          method: "POST",
          headers: { ...accept, "content-type": "application/x-www-form-urlencoded" },
          body: form,
        }),
  });
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_DOCUMENT_BYTES) throw new TypeError(`${url.href} is too large`);
    chunks.push(chunk);
  }
  // A refusal's page may be anything; only who looks at it minds.
  if (form === undefined && response.status !== 200) return { status: response.status, body: {} };
  const parsed: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed))
    throw new TypeError(`${url.href} is not a JSON object`);
  return { status: response.status, body: { ...parsed } };
}
