// A sign-in with a SAML provider: the gateway is the service provider, the browser goes there, and what
// comes back to the loopback listener is a one-time code that is worth nothing without our verifier
// (RFC 7636), which only the token endpoint sees.

import { createHash, randomBytes } from "node:crypto";
import { pathOf } from "@custody/contract/endpoints.ts";
import { browserCommand, openBrowser } from "./browser.ts";
import { CliError } from "./faults.ts";
import { openLoopback } from "./loopback.ts";
import { harmless, type Io } from "./output.ts";

/** A subject token of the type `samlSignIn`. `gateway` is its origin. */
export async function samlSignIn(gateway: URL, provider: string, io: Io): Promise<string> {
  await using loopback = await openLoopback();
  const verifier = randomBytes(32).toString("base64url");
  const state = randomBytes(32).toString("base64url");
  const url = new URL(pathOf("samlLogin", { provider }), gateway);
  url.search = new URLSearchParams({
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    port: new URL(loopback.redirectUri).port,
    state,
  }).toString();
  const command = browserCommand(io.environment);
  if (command !== undefined) openBrowser(command, url, io.environment);
  const how =
    command === undefined ? "Open in a browser on this machine" : "Opening in the browser";
  io.stderr(`${how}:\n  ${harmless(url.href)}\n`);
  const { searchParams } = await loopback.redirected(state);
  const code = searchParams.get("code");
  if (code !== null) return `${code}.${verifier}`;
  const why = harmless(searchParams.get("error_description") ?? "the provider did not say why");
  throw new CliError("unauthenticated", why, { hint: "try again, or ask who runs the gateway" });
}
