// One attempt: what is said to the gateway, and what must become of it. Data; attack.ts plays it.

import type { Attacker } from "./stage.ts";

export type Outcome =
  /** The last step is answered by an error and no row; the session lives on. */
  | "denied"
  /** Rows come, and what is classified in them is masked. */
  | "masked"
  /** An error of the target's, without its text. */
  | "scrubbed"
  /** The gateway ends the session, or does not begin it. */
  | "closed"
  /** It runs, and tells nothing. */
  | "harmless";

/** How old the gateway's knowledge of the catalogue may be at a decision, and a little more. */
export const CATALOGUE_AGE_MS = 1_100;

export type Step =
  /** A simple Query. */
  | string
  /** Parse, Bind, Describe, Execute, Sync. */
  | Extended
  /** SQL of the database's superuser, beside the gateway. */
  | { readonly outside: string }
  | { readonly pauseMs: number }
  /** SQL beside the gateway while changes are streamed: until those after it have come, or the session ended. */
  | { readonly written: string | readonly string[] }
  /** Bytes as they are, and how many ReadyForQuery they bring. */
  | { readonly frames: readonly Buffer[]; readonly readies: number }
  /** A command that is held for approval: cancelled, then approved all the same. */
  | { readonly approvedLater: string }
  /** Runs unless it is held; then it is cancelled. */
  | { readonly unlessHeld: string }
  /** The following steps are another session's. */
  | { readonly session: "another" };

export interface Extended {
  readonly extended: string;
  readonly values?: readonly (string | null)[];
  readonly binary?: boolean;
  readonly describe?: false;
  readonly maxRows?: number;
}

export interface Attempt {
  readonly id: string;
  readonly tries: string;
  /** The row of THREATS.md. */
  readonly threat: string;
  readonly steps: readonly Step[];
  readonly must: Outcome;
  /** What the error of the last step says: it is the gateway's and not PostgreSQL's. */
  readonly says?: RegExp;
  /** Default `wide`. */
  readonly as?: Attacker;
  readonly startup?: Readonly<Record<string, string>>;
  /** SQL beside the gateway that gives one row with one value: what must be true afterwards. */
  readonly holds?: string;
  /**
   * It is a race that the gateway may win in another way, by looking at the catalogue just then: so often it
   * is tried again, as long as nothing leaked.
   */
  readonly retries?: number;
  /** Puts back what the attempt changed, as the superuser. */
  readonly undo?: string;
}

/** Many statements with one threat and one outcome: `[id, statement]`. */
export function each(
  threat: string,
  must: Outcome,
  statements: Readonly<Record<string, string | readonly Step[]>>,
): Attempt[] {
  return Object.entries(statements).map(([id, steps]) => ({
    id,
    tries: typeof steps === "string" ? steps : id.replaceAll("-", " "),
    threat,
    must,
    steps: typeof steps === "string" ? [steps] : steps,
  }));
}
