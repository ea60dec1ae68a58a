// What a session asks of credentials: one for it alone, that dies with it (credential/ implements).

import type { Chain } from "../delegation/chain.ts";
import type { Target } from "../target/target.ts";
import type { UpstreamCredential } from "./control.ts";

export interface LeaseRequest {
  readonly sessionId: string;
  readonly target: Target;
  readonly account: string;
  readonly chain: Chain;
  readonly expiresAtMs: number;
}

export interface Lease {
  readonly credential: UpstreamCredential;
  /** The server process that runs the session, so that its end can stop it. */
  attach(processId: number): void;
  /** Idempotent. */
  release(): Promise<void>;
}

export interface CredentialBroker {
  /** Throws GatewayError: target_unavailable, dependency_unavailable. */
  lease(request: LeaseRequest): Promise<Lease>;
  /** Stops what runs on the targets for these sessions, as one batch for each target. */
  endBackends(sessionIds: readonly string[]): Promise<void>;
}
