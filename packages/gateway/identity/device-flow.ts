// Signing in with a code on another device (RFC 8628), as the gateway does it for a client that has no way
// to: a terminal before an SSH door. The gateway is the provider's public client, as the command line is.

import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import { providerCa } from "./issuers.ts";
import { discover, postForm, providerAgent } from "./provider-http.ts";

export interface DeviceFlow {
  /** Where a person enters the code. */
  readonly verificationUri: string;
  readonly userCode: string;
  readonly expiresAtMs: number;
  /**
   * Settles with an ID token once the person has agreed. Throws GatewayError: unauthenticated (they did
   * not, in time), dependency_unavailable; what `signal` was aborted with.
   */
  finish(signal: AbortSignal): Promise<Secret>;
}

const GRANT = "urn:ietf:params:oauth:grant-type:device_code";
/** RFC 8628 section 3.2 and 3.5. */
const DEFAULT_INTERVAL_S = 5;
const SLOWER_S = 5;
const SHORTEST_INTERVAL_S = 1;
const LONGEST_INTERVAL_S = 60;
const LONGEST_MS = 10 * 60_000;
const MAX_SHOWN_LENGTH = 500;

/** Settles after so long; rejects when `signal` is aborted. */
export type Pause = (ms: number, signal: AbortSignal) => Promise<void>;

/** Throws GatewayError: dependency_unavailable; configuration where the provider has no such flow. */
export async function beginDeviceFlow(
  provider: Provider,
  clock: Clock,
  pause: Pause = (ms, signal) => delay(ms, undefined, { signal }),
): Promise<DeviceFlow> {
  const { issuer, insecureHttp } = provider;
  const place = { issuer, insecureHttp, ca: providerCa(provider) };
  const agent = providerAgent(place);
  const close = () => void agent.destroy().catch(() => undefined);
  const client = { client_id: provider.clientId ?? provider.audience };
  try {
    const found = await discover(place, agent);
    const [start, token] = [found.device_authorization_endpoint, found.token_endpoint];
    if (typeof start !== "string" || typeof token !== "string")
      throw new GatewayError(
        "configuration",
        `provider ${provider.name} has no sign-in with a code`,
      );
    const scope = provider.signIn?.scopes.filter((one) => one !== "offline_access").join(" ");
    const { body, status } = await postForm(place, agent, start, { ...client, scope: scope ?? "" });
    if (status !== 200) throw new TypeError(`the device endpoint answered ${status}`);
    const started = startedFlow(body, clock.nowMs());
    return {
      ...started.shown,
      async finish(signal) {
        try {
          const form = { ...client, grant_type: GRANT, device_code: started.deviceCode };
          const ask = () => postForm(place, agent, token, form);
          return await poll(provider, ask, { ...started, signal, clock, pause });
        } finally {
          close();
        }
      },
    };
  } catch (thrown) {
    close();
    if (thrown instanceof GatewayError) throw thrown;
    throw unavailable(provider, thrown);
  }
}

interface Started {
  readonly deviceCode: string;
  readonly intervalS: number;
  readonly shown: Pick<DeviceFlow, "verificationUri" | "userCode" | "expiresAtMs">;
}

function startedFlow(body: Readonly<Record<string, unknown>>, nowMs: number): Started {
  const { device_code, user_code, verification_uri, verification_uri_complete } = body;
  const uri = verification_uri_complete ?? verification_uri;
  for (const text of [device_code, user_code, uri])
    if (typeof text !== "string" || text === "" || text.length > MAX_SHOWN_LENGTH)
      throw new TypeError("the device endpoint's answer does not fit");
  const seconds = Number(body.expires_in);
  const lifeMs = seconds > 0 ? Math.min(seconds * 1000, LONGEST_MS) : LONGEST_MS;
  const intervalS = Number(body.interval ?? DEFAULT_INTERVAL_S);
  return {
    deviceCode: String(device_code),
    intervalS:
      intervalS > 0
        ? Math.min(Math.max(intervalS, SHORTEST_INTERVAL_S), LONGEST_INTERVAL_S)
        : DEFAULT_INTERVAL_S,
    shown: {
      verificationUri: String(uri),
      userCode: String(user_code),
      expiresAtMs: nowMs + lifeMs,
    },
  };
}

async function poll(
  provider: Provider,
  ask: () => ReturnType<typeof postForm>,
  started: Started & {
    readonly signal: AbortSignal;
    readonly clock: Clock;
    readonly pause: Pause;
  },
): Promise<Secret> {
  let { intervalS } = started;
  for (;;) {
    const leftMs = started.shown.expiresAtMs - started.clock.nowMs();
    if (leftMs <= 0) throw refused("nobody did, in time");
    // The last question is asked when the time is up, however long the provider wants us to wait.
    await started.pause(Math.min(intervalS * 1000, leftMs), started.signal);
    const { status, body } = await ask().catch((thrown: unknown) => {
      throw unavailable(provider, thrown);
    });
    if (status === 200) {
      if (typeof body.id_token !== "string" || body.id_token === "")
        throw unavailable(provider, new TypeError("there was no ID token"));
      return new Secret(body.id_token);
    }
    if (body.error === "slow_down") intervalS = Math.min(intervalS + SLOWER_S, LONGEST_INTERVAL_S);
    else if (body.error !== "authorization_pending")
      throw refused(
        body.error === "expired_token" ? "nobody did, in time" : "it was refused there",
      );
  }
}

function refused(why: string): GatewayError {
  return new GatewayError("unauthenticated", `you are not signed in: ${why}`, {
    hint: "connect again for another code",
  });
}

function unavailable({ name }: Provider, cause: unknown): GatewayError {
  return new GatewayError("dependency_unavailable", `identity provider ${name} does not answer`, {
    hint: "try again in a moment",
    cause,
  });
}
