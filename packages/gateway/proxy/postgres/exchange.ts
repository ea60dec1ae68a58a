// What the relay remembers of each message it sent upstream until the server has answered it, and of
// what names stand for in between.

import type { BindMessage } from "@custody/wire/postgres/frontend.ts";
import type { Obligations } from "../../access/operation.ts";
import type { NameTable } from "./names.ts";
import type { QueryPlan, StatementPlan } from "./plan.ts";
import type { RowCheck } from "./row-check.ts";

/** Made by a Parse message, or by SQL's PREPARE, which only EXECUTE runs. */
export type PreparedStatement =
  | {
      readonly by: "message";
      readonly plan: QueryPlan;
      readonly parameterTypes: readonly number[];
    }
  | { readonly by: "sql"; readonly statement: StatementPlan; readonly epoch: number };

/** Made by a Bind message, or by SQL's DECLARE, which only FETCH reads. */
export type NamedPortal = Portal | { readonly by: "sql"; readonly statement: StatementPlan };

export interface Portal {
  readonly by: "message";
  readonly plan: QueryPlan;
  readonly parameterTypes: readonly number[];
  readonly bind: BindMessage;
  /** SHA-256 of the Bind's parameters, base64url; see evidence/node/command-digest.ts. */
  readonly parametersDigest: string;
  /** What the server said of its rows, checked against the plan; undefined until it has. */
  rowCheck: RowCheck | undefined;
  /** The classes `rowCheck` lets through: those of the decision at that time. */
  unmask: ReadonlySet<string> | undefined;
  /** What earlier Executes of it gave. */
  fetched: { readonly rows: number; readonly bytes: number };
  /** A Describe of this portal is under way. */
  describing: boolean;
}

/** How a message ended: skipped ones were never run, behind an error. */
export type Ending = "succeeded" | "failed" | "skipped";

/** What becomes of a name when the message has ended; called once. */
export interface NameChange {
  readonly settle: (ending: Ending) => void;
}

export interface Exchange {
  /** Set for what runs a command: Query and Execute. */
  readonly requestId: string | undefined;
  /** The statements it runs or describes; several in a simple Query. */
  readonly statements: readonly StatementPlan[];
  /** Our error, in place of the one the server was made to give. */
  readonly instead: Buffer | undefined;
  readonly change: NameChange | undefined;
  readonly portal: Portal | undefined;
  readonly obligations: Obligations | undefined;
  /** True when an intent was journalled, so an outcome must be. */
  readonly intent: boolean;
  readonly plainRead: boolean;
  /** Index in `statements` of the one whose rows come now. */
  at: number;
  /** Index of the statement whose views and functions were found unchanged when its rows began. */
  confirmed: number | undefined;
  /** For the rows that come now. */
  rowCheck: RowCheck | undefined;
  /** Classes masked in its rows so far. */
  masked: Set<string> | undefined;
  rows: number;
  bytes: number;
  /** The first error's SQLSTATE. */
  sqlState: string | undefined;
  /** Set when a limit of rows or bytes was hit: nothing more of its rows is let through. */
  limited: Limited | undefined;
  /** Set when we ended it (it took too long, say): what to say instead of the server's error. */
  ended: Buffer | undefined;
}

export interface Limited {
  /** `100 rows` */
  readonly what: string;
  /** It changes nothing: it was cancelled, and an error may stand for it. */
  readonly isRead: boolean;
}

const NO_STATEMENTS: readonly StatementPlan[] = [];

/** A message that has to do with no statement. */
export function plainExchange(
  change: NameChange | undefined,
  instead: Buffer | undefined,
): Exchange {
  return exchange(NO_STATEMENTS, change, undefined, undefined, instead);
}

/** A message that prepares, binds or describes these statements. */
export function preparingExchange(
  statements: readonly StatementPlan[],
  change: NameChange | undefined,
  portal?: Portal,
): Exchange {
  return exchange(statements, change, portal, undefined, undefined);
}

/** What runs, and its intent is in the journal. */
export interface Running {
  readonly requestId: string;
  readonly obligations: Obligations;
  readonly plainRead: boolean;
}

/** A Query or Execute. */
export function runningExchange(
  statements: readonly StatementPlan[],
  run: Running,
  change: NameChange | undefined,
  portal?: Portal,
): Exchange {
  return exchange(statements, change, portal, run, undefined);
}

/** Several go with every command: one place makes them all, so that they are of one shape. */
function exchange(
  statements: readonly StatementPlan[],
  change: NameChange | undefined,
  portal: Portal | undefined,
  run: Running | undefined,
  instead: Buffer | undefined,
): Exchange {
  return {
    requestId: run?.requestId,
    statements,
    instead,
    change,
    portal,
    obligations: run?.obligations,
    intent: run !== undefined,
    plainRead: run?.plainRead ?? false,
    at: 0,
    confirmed: undefined,
    rowCheck: undefined,
    masked: undefined,
    rows: 0,
    bytes: 0,
    sqlState: undefined,
    limited: undefined,
    ended: undefined,
  };
}

/** A Sync stands for nothing and keeps nothing: one for all. */
export const SYNC: Exchange = plainExchange(undefined, undefined);

/** `name` stands for `value` if the message succeeds. */
export function proposeName<T>(
  table: NameTable<T>,
  name: string,
  value: T | undefined,
  segment: number,
): NameChange | undefined {
  const owner = {};
  if (!table.propose(name, value, owner, segment)) return undefined;
  return { settle: (ending) => table.settle(name, owner, ending === "succeeded") };
}
