// An issuer whose every word the test chooses: discovery, keys, authorization and token responses over
// HTTPS with a throw-away authority. Issuers by path, so that one server stands for several platforms.

import { generateKeyPairSync, type KeyObject, randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type JWTPayload, SignJWT } from "jose";
import { createTestAuthority } from "../support/certificates.ts";
import { readText } from "../support/http-browser.ts";

export interface Lies {
  /** In the authorization response. */
  readonly state?: string;
  readonly iss?: string;
  /** Of the ID token. */
  readonly claims?: JWTPayload;
  /** Signed with a key that is not published. */
  readonly foreignKey?: boolean;
  /** The discovery document names another issuer. */
  readonly discovery?: string;
}

export interface LyingIssuer extends AsyncDisposable {
  readonly base: string;
  readonly ca: string;
  /** Of RS256, published by every issuer of this server. */
  readonly publicKey: KeyObject;
  readonly kid: string;
  issuer(name: string): string;
  /** A token with these claims beside sensible ones; `undefined` takes one away. */
  token(name: string, claims: Record<string, unknown>, header?: object): Promise<string>;
  /** What the next sign-ins are answered with. */
  lie(lies: Lies): void;
}

export async function startLyingIssuer(): Promise<LyingIssuer> {
  const authority = createTestAuthority("Throw-away CA of a lying issuer");
  const own = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const foreign = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const kid = randomUUID();
  const nonces = new Map<string, string>();
  let lies: Lies = {};
  const server = createServer(authority.issue(["127.0.0.1"]));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const base = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer = (name: string) => `${base}/${name}`;
  const token: LyingIssuer["token"] = (name, claims, header = {}) => {
    const nowS = Math.floor(Date.now() / 1000);
    const payload: Record<string, unknown> = {
      iss: issuer(name),
      aud: "custody",
      sub: "4711",
      iat: nowS,
      exp: nowS + 300,
      jti: randomUUID(),
      ...claims,
    };
    for (const [claim, value] of Object.entries(payload))
      if (value === undefined) delete payload[claim];
    const key = lies.foreignKey === true ? foreign.privateKey : own.privateKey;
    return new SignJWT(payload)
      .setProtectedHeader({ alg: "RS256", kid, typ: "JWT", ...header })
      .sign(key);
  };
  const jwk = { ...own.publicKey.export({ format: "jwk" }), kid };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", base);
    const [, name = "", what = ""] = url.pathname.split("/");
    const json = (body: object) =>
      response.setHeader("content-type", "application/json").end(JSON.stringify(body));
    if (what === ".well-known") json(discovery(issuer(name), lies));
    else if (what === "keys") json({ keys: [{ ...jwk, alg: "RS256", use: "sig" }] });
    else if (name === "bundle") json({ keys: [{ ...jwk, use: "jwt-svid" }], spiffe_sequence: 1 });
    else if (what === "auth") redirect(url, issuer(name), lies, nonces, response);
    else if (what === "token") {
      const code = new URLSearchParams(await readText(request)).get("code") ?? "";
      const claims = { nonce: nonces.get(code), name: "engineer", ...lies.claims };
      const id_token = await token(name, claims);
      json({ access_token: "x", token_type: "Bearer", expires_in: 60, id_token });
    } else response.writeHead(404).end();
  }
  server.on("request", (request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  return {
    base,
    ca: authority.cert,
    publicKey: own.publicKey,
    kid,
    issuer,
    token,
    lie(next) {
      lies = next;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function discovery(issuer: string, lies: Lies): object {
  return {
    issuer: lies.discovery ?? issuer,
    authorization_endpoint: `${issuer}/auth`,
    token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/keys`,
    response_types_supported: ["code"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
    authorization_response_iss_parameter_supported: true,
  };
}

function redirect(
  url: URL,
  issuer: string,
  lies: Lies,
  nonces: Map<string, string>,
  response: ServerResponse,
): void {
  const code = randomUUID();
  nonces.set(code, url.searchParams.get("nonce") ?? "");
  const back = new URL(url.searchParams.get("redirect_uri") ?? "");
  back.searchParams.set("code", code);
  back.searchParams.set("state", lies.state ?? url.searchParams.get("state") ?? "");
  back.searchParams.set("iss", lies.iss ?? issuer);
  response.writeHead(302, { location: back.href }).end();
}
