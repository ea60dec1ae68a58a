// The relying party: OpenID Connect as a public native client (RFC 8252), by openid-client. It checks
// state, nonce, the issuer of the response (RFC 9207), PKCE (RFC 7636) and the ID token, its signature
// included; what comes out is shown to the gateway, which believes none of that and checks again.

import type { ProviderView } from "@custody/contract/providers.ts";
import * as openid from "openid-client";
import { encodeQR } from "qr";
import { Agent, fetch as undiciFetch } from "undici";

import { browserCommand, openBrowser } from "./browser.ts";
import { CliError } from "./faults.ts";
import { openLoopback } from "./loopback.ts";
import { harmless, type Io } from "./output.ts";

export interface ProviderTokens {
  readonly idToken: string;
  readonly refreshToken: string | null;
}

export interface ProviderClient extends AsyncDisposable {
  /** Does the provider itself have the device flow? */
  readonly hasDeviceFlow: boolean;
  inBrowser(io: Io): Promise<ProviderTokens>;
  onDevice(io: Io): Promise<ProviderTokens>;
  /** undefined: the provider no longer agrees. */
  refresh(refreshToken: string): Promise<ProviderTokens | undefined>;
  /** RFC 7009; false where the provider has no revocation. */
  revoke(refreshToken: string): Promise<boolean>;
  /** OpenID Connect RP-Initiated Logout 1.0; undefined where the provider has none. */
  endSessionUrl(idToken: string): URL | undefined;
}

const TIMEOUT_S = 30;

export async function openProviderClient(provider: ProviderView): Promise<ProviderClient> {
  const agent = new Agent({ connect: provider.ca === null ? {} : { ca: provider.ca } });
  const viaAgent: openid.CustomFetch = async (url, options) => {
    const { body, headers, method, redirect, signal } = options;
    const answer = await undiciFetch(url, {
      dispatcher: agent,
      headers,
      method,
      redirect,
      ...(signal == null ? {} : { signal }),
      ...(body == null
        ? {}
        : { body: body instanceof URLSearchParams ? body.toString() : String(body) }),
    });
    // The library reads a Response of this realm.
    return new Response(answer.status === 204 ? null : await answer.text(), {
      status: answer.status,
      headers: [...answer.headers],
    });
  };
  try {
    const config = await openid.discovery(
      new URL(provider.issuer),
      provider.clientId,
      undefined,
      openid.None(),
      {
        [openid.customFetch]: viaAgent,
        timeout: TIMEOUT_S,
        execute: [
          openid.enableNonRepudiationChecks,
          ...(provider.insecureHttp ? [openid.allowInsecureRequests] : []),
        ],
      },
    );
    return clientOf(provider, config, agent);
  } catch (error) {
    await agent.destroy();
    throw refusal(provider, error);
  }
}

function clientOf(
  provider: ProviderView,
  config: openid.Configuration,
  agent: Agent,
): ProviderClient {
  const metadata = config.serverMetadata();
  const guarded = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    try {
      return await work();
    } catch (error) {
      throw refusal(provider, error);
    }
  };
  return {
    hasDeviceFlow: metadata.device_authorization_endpoint !== undefined,
    inBrowser: (io) => guarded(() => inBrowser(provider, config, io)),
    onDevice: (io) => guarded(() => onDevice(provider, config, io)),
    refresh: (refreshToken) => guarded(() => refresh(config, refreshToken)),
    async revoke(refreshToken) {
      if (metadata.revocation_endpoint === undefined) return false;
      await guarded(() =>
        openid.tokenRevocation(config, refreshToken, { token_type_hint: "refresh_token" }),
      );
      return true;
    },
    endSessionUrl: (idToken) =>
      metadata.end_session_endpoint === undefined
        ? undefined
        : openid.buildEndSessionUrl(config, { id_token_hint: idToken }),
    [Symbol.asyncDispose]: () => agent.destroy(),
  };
}

async function inBrowser(
  provider: ProviderView,
  config: openid.Configuration,
  io: Io,
): Promise<ProviderTokens> {
  await using loopback = await openLoopback();
  const pkceCodeVerifier = openid.randomPKCECodeVerifier();
  const state = openid.randomState();
  const nonce = openid.randomNonce();
  const url = openid.buildAuthorizationUrl(config, {
    redirect_uri: loopback.redirectUri,
    scope: provider.scopes.join(" "),
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    state,
    nonce,
    // OpenID Connect Core section 11: without it there is no offline access.
    ...(provider.scopes.includes("offline_access") ? { prompt: "consent" } : {}),
  });
  const command = browserCommand(io.environment);
  if (command !== undefined) openBrowser(command, url, io.environment);
  const how =
    command === undefined ? "Open in a browser on this machine" : "Opening in the browser";
  io.stderr(`${how}:\n  ${harmless(url.href)}\n`);
  const redirect = await loopback.redirected(state);
  const answer = await openid.authorizationCodeGrant(config, redirect, {
    pkceCodeVerifier,
    expectedState: state,
    expectedNonce: nonce,
    idTokenExpected: true,
  });
  return tokensOf(answer);
}

async function onDevice(
  provider: ProviderView,
  config: openid.Configuration,
  io: Io,
): Promise<ProviderTokens> {
  const device = await openid.initiateDeviceAuthorization(config, {
    scope: provider.scopes.join(" "),
  });
  const { verification_uri, verification_uri_complete, user_code } = device;
  const code = encodeQR(
    verification_uri_complete ?? verification_uri,
    io.colour ? "term" : "ascii",
  );
  io.stderr(
    `\n${code}\nOn any device, open\n  ${harmless(verification_uri)}\nand enter the code\n  ${harmless(user_code)}\n\nNever enter a code that somebody sent you.\n`,
  );
  return tokensOf(await openid.pollDeviceAuthorizationGrant(config, device));
}

async function refresh(
  config: openid.Configuration,
  refreshToken: string,
): Promise<ProviderTokens | undefined> {
  try {
    const answer = await openid.refreshTokenGrant(config, refreshToken);
    // Where tokens do not rotate, the answer has no new one.
    return answer.id_token === undefined
      ? undefined
      : { idToken: answer.id_token, refreshToken: answer.refresh_token ?? refreshToken };
  } catch (error) {
    if (error instanceof openid.ResponseBodyError && error.error === "invalid_grant")
      return undefined;
    throw error;
  }
}

function tokensOf(answer: openid.TokenEndpointResponse): ProviderTokens {
  if (answer.id_token === undefined)
    throw new CliError("refused", "the provider gave no ID token", {
      hint: "its scopes must contain openid",
    });
  return { idToken: answer.id_token, refreshToken: answer.refresh_token ?? null };
}

function refusal({ name, issuer }: ProviderView, error: unknown): CliError {
  if (error instanceof CliError) return error;
  const by = `identity provider ${name}`;
  if (
    error instanceof openid.ResponseBodyError ||
    error instanceof openid.AuthorizationResponseError
  ) {
    const said = harmless(error.error_description ?? error.error).slice(0, 300);
    return new CliError("unauthenticated", `${by} did not sign you in: ${said}`, {
      code: error.error,
      cause: error,
    });
  }
  const { code } = Object(error);
  if (typeof code === "string" && code.startsWith("OAUTH_"))
    return new CliError("unauthenticated", `what ${by} answered does not fit: ${reasonOf(error)}`, {
      code,
      cause: error,
    });
  return new CliError("unreachable", `${by} at ${issuer} cannot be reached`, { cause: error });
}

/** The innermost of the library's words, and the claim it is about. */
function reasonOf(error: unknown): string {
  let reason = "no reason given";
  let claim: string | undefined;
  let cause = error;
  for (let depth = 0; depth < 4 && cause !== undefined; depth++) {
    if (cause instanceof Error) reason = cause.message;
    if (typeof Object(cause).claim === "string") claim = Object(cause).claim;
    cause = Object(cause).cause;
  }
  return harmless(claim === undefined ? reason : `${reason} (${claim})`).slice(0, 300);
}
