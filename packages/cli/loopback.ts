// The end of a sign-in in the browser: a listener on 127.0.0.1 and a port of its own that takes one
// redirect (RFC 8252 section 7.3). Whatever does not carry our state is answered and waited past, so that
// another page of the browser cannot end the sign-in.

import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { CliError } from "./faults.ts";

export interface Loopback extends AsyncDisposable {
  readonly redirectUri: string;
  /** The redirect with this state, as it came. Throws CliError when nobody signs in. */
  redirected(state: string): Promise<URL>;
}

const PATH = "/callback";
const WAIT_MS = 10 * 60_000;

export async function openLoopback(): Promise<Loopback> {
  const arrived = Promise.withResolvers<URL>();
  let expected: string | undefined;
  const server = createServer((request, response) => {
    const url = URL.parse(request.url ?? "", redirectUri());
    const isOurs =
      request.method === "GET" &&
      // A name that was made to point here is not how the provider was told to come back.
      request.headers.host === `127.0.0.1:${port()}` &&
      url?.pathname === PATH &&
      expected !== undefined &&
      url.searchParams.get("state") === expected;
    if (!isOurs || url === null) return answer(response, 404, "Nothing is waited for here.");
    const failed = url.searchParams.has("error");
    answer(response, 200, failed ? "You were not signed in." : "You may close this page.", () =>
      arrived.resolve(url),
    );
  });
  const port = () => (server.address() as AddressInfo).port;
  const redirectUri = () => `http://127.0.0.1:${port()}${PATH}`;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    redirectUri: redirectUri(),
    async redirected(state) {
      expected = state;
      const timer = setTimeout(
        () => arrived.reject(new CliError("unauthenticated", "nobody signed in within 10 minutes")),
        WAIT_MS,
      );
      try {
        return await arrived.promise;
      } finally {
        clearTimeout(timer);
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Nothing of the request is repeated in the page. */
function answer(
  response: ServerResponse,
  status: number,
  text: string,
  sent: () => void = () => undefined,
): void {
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    connection: "close",
  });
  response.end(
    `<!doctype html><html lang="en"><title>Custody</title><h1>Custody</h1><p>${text}</p></html>`,
    sent,
  );
}
