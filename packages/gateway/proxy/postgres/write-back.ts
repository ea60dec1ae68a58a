// A statement that would store what a mask produced is refused: in its text, in a parameter, in the rows of a
// COPY; and NULL over a classified column where this chain's root was shown NULL for values of the class.

import { type GivenMasks, MAX_MASK_LENGTH } from "../../masking/given-masks.ts";
import type { Portal } from "./exchange.ts";
import type { StatementError } from "./faults.ts";
import type { QueryPlan } from "./plan.ts";

const STORES = new Set(["sql:insert", "sql:update", "sql:copy_in"]);

const storing = new WeakMap<QueryPlan, boolean>();

/** Why the command may not run; undefined when it stores no mask. */
export function writesBack(
  plan: QueryPlan,
  portal: Portal | undefined,
  given: GivenMasks,
  classes: ReadonlySet<string>,
): StatementError | undefined {
  if (classes.size === 0 || !stores(plan)) return undefined;
  let found = given.findIn(plan.text, classes);
  for (const value of portal?.bind.parameters ?? [])
    if (value !== null) found ??= given.findIn(value, classes);
  if (found !== undefined) return storesMask(found);
  for (const { nulls } of plan.statements)
    for (const one of nulls ?? []) {
      if (!given.nulled.has(one.class)) continue;
      const isNull =
        one.parameter === undefined || portal?.bind.parameters[one.parameter - 1] === null;
      if (isNull) return storesNull(one.class);
    }
  return undefined;
}

function stores(plan: QueryPlan): boolean {
  let known = storing.get(plan);
  if (known === undefined) {
    known = plan.operation.effects.some(({ action }) => STORES.has(action));
    storing.set(plan, known);
  }
  return known;
}

/** Looks through the rows of one COPY as they come, in pieces of any size. */
export class CopyScan {
  readonly #given: GivenMasks;
  readonly #classes: ReadonlySet<string>;
  #tail: Buffer = Buffer.alloc(0);

  constructor(given: GivenMasks, classes: ReadonlySet<string>) {
    this.#given = given;
    this.#classes = classes;
  }

  /** The next piece; what is wrong with the rows so far. */
  take(piece: Buffer): StatementError | undefined {
    if (this.#classes.size === 0) return undefined;
    const text = this.#tail.length === 0 ? piece : Buffer.concat([this.#tail, piece]);
    const found = this.#given.findIn(text, this.#classes);
    if (found !== undefined) return storesMask(found);
    // A copy: the piece is a view of what the socket read.
    this.#tail = Buffer.from(text.subarray(Math.max(0, text.length - MAX_MASK_LENGTH)));
    return undefined;
  }
}

function storesMask(found: string): StatementError {
  return {
    sqlState: "42501",
    message: "Custody denied it: it would store a masked value",
    detail: `"${found}" stands for a value that was not shown; storing it would destroy that value.`,
    hint: "leave out the columns you were not shown",
    position: undefined,
  };
}

function storesNull(className: string): StatementError {
  return {
    sqlState: "42501",
    message: "Custody denied it: it would store a masked value",
    detail: `Values of class ${className} were shown as NULL; storing NULL would destroy the value it stood for.`,
    hint: "leave out the columns you were not shown; to clear one on purpose set it to DEFAULT",
    position: undefined,
  };
}
