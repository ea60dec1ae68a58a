// A statement that would store what a mask produced is refused: in its text, in a parameter, in the rows of a
// COPY; and NULL over a classified column where this chain's root was shown NULL for values of the class.

import { type GivenMasks, MAX_MASK_LENGTH } from "../../masking/given-masks.ts";
import type { Exchange, Portal } from "./exchange.ts";
import type { StatementError } from "./faults.ts";
import type { QueryPlan, StatementPlan } from "./plan.ts";
import type { RelayContext } from "./relay-state.ts";

const STORES = new Set(["sql:insert", "sql:update", "sql:copy_in"]);

const storing = new WeakMap<QueryPlan, boolean>();

/** One a session. */
export class StoredMasks {
  readonly #given: GivenMasks;
  readonly #classes: ReadonlySet<string>;
  readonly #detects: boolean;
  /** The COPY under way, and the end of what was looked through of it. */
  #copying: Exchange | undefined;
  #tail: Buffer = NOTHING;

  constructor({ given, target }: Pick<RelayContext, "given" | "target">) {
    this.#given = given;
    const detect = target.detect ?? [];
    this.#classes = new Set([...target.classify, ...detect].map((one) => one.class));
    this.#detects = detect.length > 0;
  }

  /** Why the command may not run; undefined when it stores no mask. */
  inCommand(plan: QueryPlan, portal: Portal | undefined): StatementError | undefined {
    if (this.#detects && plan.statements.some(copiesOut)) return copiesUnseen();
    if (this.#classes.size === 0 || !stores(plan)) return undefined;
    let found = this.#given.findIn(plan.text, this.#classes);
    for (const value of portal?.bind.parameters ?? [])
      if (value !== null) found ??= this.#given.findIn(value, this.#classes);
    if (found !== undefined) return storesMask(found);
    for (const { nulls } of plan.statements)
      for (const one of nulls ?? []) {
        if (!this.#given.nulled.has(one.class)) continue;
        const isNull =
          one.parameter === undefined || portal?.bind.parameters[one.parameter - 1] === null;
        if (isNull) return storesNull(one.class);
      }
    return undefined;
  }

  /** The next piece of a COPY's rows, of any size; what is wrong with the rows so far. */
  inCopy(copying: Exchange, rows: Buffer): StatementError | undefined {
    if (this.#classes.size === 0) return undefined;
    if (this.#copying !== copying) this.#tail = NOTHING;
    this.#copying = copying;
    const text = this.#tail.length === 0 ? rows : Buffer.concat([this.#tail, rows]);
    const found = this.#given.findIn(text, this.#classes);
    if (found !== undefined) return storesMask(found);
    // A copy: the piece is a view of what the socket read.
    this.#tail = Buffer.from(text.subarray(Math.max(0, text.length - MAX_MASK_LENGTH)));
    return undefined;
  }
}

const NOTHING: Buffer = Buffer.alloc(0);

function stores(plan: QueryPlan): boolean {
  let known = storing.get(plan);
  if (known === undefined) {
    known = plan.operation.effects.some(({ action }) => STORES.has(action));
    storing.set(plan, known);
  }
  return known;
}

function copiesOut({ kind }: StatementPlan): boolean {
  return kind.kind === "copy" && kind.direction === "out";
}

function copiesUnseen(): StatementError {
  return {
    sqlState: "42501",
    message: "Custody denied COPY … TO: values are looked for in results of this target",
    detail: "Rows of COPY are of one piece, and nothing could be replaced in them.",
    hint: "use SELECT",
    position: undefined,
  };
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
