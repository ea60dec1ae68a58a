// What a gateway takes from outside of itself.

import type { Clock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";

export interface Outside {
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What happened, for the operator; never content, never a secret. */
  readonly log: (message: string, error?: unknown) => void;
  /** Something went wrong that nobody waited for. */
  readonly onFault: (thrown: unknown) => void;
  /** Nothing may go on: the journal or the log cannot be written. */
  readonly onFailure: (error: GatewayError) => void;
}
