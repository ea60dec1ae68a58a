// What a browser does in a sign-in, without one: follows redirects with cookies, posts forms. For tests
// that drive an identity provider by code.

import { once } from "node:events";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

export interface Page {
  /** Where it ended up; with `stopAt`, where it would have gone. */
  readonly url: URL;
  readonly status: number;
  readonly body: string;
  /** Values of hidden inputs, by name. */
  readonly hidden: Readonly<Record<string, string>>;
  /** Where its first form is posted to. */
  readonly action: URL;
}

export interface VisitOptions {
  readonly form?: Readonly<Record<string, string>>;
  /** An address that starts like this is not visited any more. */
  readonly stopAt?: string;
}

export interface HttpBrowser {
  visit(url: URL, options?: VisitOptions): Promise<Page>;
}

const MAX_REDIRECTS = 10;
const MAX_BODY_BYTES = 1 << 20;

/** `ca`: PEM of what its HTTPS servers are verified with. */
export function createHttpBrowser(ca: string): HttpBrowser {
  const jars = new Map<string, Map<string, string>>();
  return {
    async visit(url, { form, stopAt } = {}) {
      let at = url;
      let posted = form;
      for (let step = 0; step <= MAX_REDIRECTS; step++) {
        const jar = jars.get(at.host) ?? new Map<string, string>();
        jars.set(at.host, jar);
        const { status, location, body } = await send(at, ca, jar, posted);
        if (location === undefined) return pageOf(at, status, body);
        at = new URL(location, at);
        posted = undefined;
        if (stopAt !== undefined && at.href.startsWith(stopAt)) return pageOf(at, status, "");
      }
      throw new Error("too many redirects");
    },
  };
}

function pageOf(url: URL, status: number, body: string): Page {
  const hidden: Record<string, string> = {};
  for (const [input] of body.matchAll(/<input[^>]*>/g)) {
    const name = /name="([^"]*)"/.exec(input)?.[1];
    const value = /value="([^"]*)"/.exec(input)?.[1];
    if (name !== undefined && value !== undefined) hidden[name] = value;
  }
  const action = /<form[^>]*action="([^"]*)"/.exec(body)?.[1];
  return { url, status, body, hidden, action: new URL(action ?? url.href, url) };
}

async function send(
  url: URL,
  ca: string,
  jar: Map<string, string>,
  form: VisitOptions["form"],
): Promise<{ status: number; location: string | undefined; body: string }> {
  const request = url.protocol === "https:" ? requestHttps : requestHttp;
  const outgoing = request(url, {
    ca,
    agent: false,
    method: form === undefined ? "GET" : "POST",
    headers: {
      cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; "),
      ...(form === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" }),
    },
  });
  outgoing.end(form === undefined ? undefined : new URLSearchParams(form).toString());
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  for (const line of incoming.headers["set-cookie"] ?? []) {
    const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
    jar.set(name, value);
  }
  return {
    status: incoming.statusCode ?? 0,
    location: incoming.headers.location,
    body: await readText(incoming),
  };
}

/** The body of a message, bounded. */
export async function readText(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error("the body is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
