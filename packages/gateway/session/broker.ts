// What a session asks of credentials: one for it alone, that dies with it. Each protocol has a broker of
// its own; a session gets its credential from the one its target speaks.

import type { Chain } from "../delegation/chain.ts";
import type { Protocol, Target } from "../target/target.ts";
import type { UpstreamCredential } from "./control.ts";

export interface LeaseRequest<T extends Target = Target> {
  readonly sessionId: string;
  readonly target: T;
  readonly account: string;
  readonly chain: Chain;
  readonly expiresAtMs: number;
}

export interface Lease {
  readonly credential: UpstreamCredential;
  /** One that opens the way for this command alone. Absent: the target knows no such. */
  forCommand?(line: string): Promise<UpstreamCredential>;
  /** The server process that runs the session, so that its end can stop it. */
  attach(processId: number): void;
  /** Idempotent. */
  release(): Promise<void>;
}

export interface CredentialBroker<T extends Target = Target> {
  /** Throws GatewayError: target_unavailable, dependency_unavailable. */
  lease(request: LeaseRequest<T>): Promise<Lease>;
  /** Stops what runs on the targets for these sessions, as one batch for each target. */
  endBackends(sessionIds: readonly string[]): Promise<void>;
}

export type Brokers = {
  readonly [P in Protocol as Extract<Target, { protocol: P }> extends never
    ? never
    : P]: CredentialBroker<Extract<Target, { protocol: P }>>;
};

/** One broker for all: a lease comes from the target's own, an end is told to each. */
export function brokerOf(brokers: Brokers): CredentialBroker {
  return {
    lease(request) {
      const { target } = request;
      switch (target.protocol) {
        case "postgres":
          return brokers.postgres.lease({ ...request, target });
        case "ssh":
          return brokers.ssh.lease({ ...request, target });
        case "kubernetes":
          return brokers.kubernetes.lease({ ...request, target });
      }
    },
    async endBackends(sessionIds) {
      await Promise.all(Object.values(brokers).map((broker) => broker.endBackends(sessionIds)));
    },
  };
}
