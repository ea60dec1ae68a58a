// Signing in at a door, for a person who has no credential yet: a code to enter on another device, and the
// delegation that comes of it, which lives as long as the connection it was made for.
//
// Who owns the state: one a gateway, on the control side. Each sign-in is ended by whoever began it.

import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { newId, type RandomBytes } from "../base/ids.ts";
import type { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import type { Chain } from "../delegation/chain.ts";
import type { Exchange } from "../delegation/exchange.ts";
import { beginDeviceFlow, type DeviceFlow } from "../identity/device-flow.ts";
import type { BegunSignIn } from "./control.ts";

export interface DoorSignIns {
  /** `provider` undefined: the only one. Throws GatewayError as beginDeviceFlow does, and "limit". */
  begin(provider: string | undefined): Promise<BegunSignIn>;
  /** Settles with a credential once the person has agreed. Throws GatewayError. */
  finish(id: string): Promise<Secret>;
  /** Nobody waits for it any more, or uses what came of it. */
  end(id: string): void;
}

export interface DoorSignInsDeps {
  readonly providers: () => Iterable<Provider>;
  readonly exchange: Exchange;
  readonly revoke: (chain: Chain) => void;
  readonly clock: Clock;
  readonly random: RandomBytes;
}

interface Begun {
  readonly flow: DeviceFlow;
  readonly leaving: AbortController;
  /** What came of it. */
  chain: Chain | undefined;
}

const MAX_WAITING = 64;
const ID_LENGTH = 12;

export function createDoorSignIns(deps: DoorSignInsDeps): DoorSignIns {
  const begun = new Map<string, Begun>();
  /** Their providers are being asked for a code. */
  let asking = 0;
  return {
    async begin(name) {
      const waiting = [...begun.values()].filter(({ chain }) => chain === undefined).length;
      if (waiting + asking >= MAX_WAITING)
        throw new GatewayError("limit", "too many people are signing in", {
          hint: "try again in a moment, or bring a token: custody token",
        });
      const able = [...deps.providers()].filter(({ signIn }) => signIn?.device === true);
      const provider =
        able.find((one) => one.name === name) ?? (able.length === 1 ? able[0] : undefined);
      if (able.length === 0)
        throw new GatewayError("unauthenticated", "nobody signs in with a code here", {
          hint: "bring a handle or token: custody token",
        });
      if (provider === undefined) return { kind: "choose", names: able.map((one) => one.name) };
      asking += 1;
      const flow = await beginDeviceFlow(provider, deps.clock).finally(() => {
        asking -= 1;
      });
      const id = newId("p", ID_LENGTH, deps.random);
      begun.set(id, { flow, leaving: new AbortController(), chain: undefined });
      const { verificationUri, userCode, expiresAtMs } = flow;
      return { kind: "code", id, verificationUri, userCode, expiresAtMs };
    },
    async finish(id) {
      const one = begun.get(id);
      if (one === undefined) throw gone();
      const token = await one.flow.finish(one.leaving.signal);
      const result = await deps.exchange({
        subject: { token, type: "id_token" },
        ...{ actor: undefined, shape: "handle", authorizationDetails: undefined },
        ...{ ttlMs: undefined, audiences: [] },
      });
      if (!result.ok) throw new GatewayError("unauthenticated", result.message);
      const { chain } = result.minted;
      // Whoever asked may have left while the provider was asked.
      if (!begun.has(id)) {
        deps.revoke(chain);
        throw gone();
      }
      one.chain = chain;
      return result.credential;
    },
    end(id) {
      const one = begun.get(id);
      if (one === undefined) return;
      begun.delete(id);
      one.leaving.abort(gone());
      if (one.chain !== undefined) deps.revoke(one.chain);
    },
  };
}

function gone(): GatewayError {
  return new GatewayError("unauthenticated", "this sign-in was given up");
}
