// The second witness: what the server says its rows are (RowDescription), against what the plan said
// they would be, before the first row is released; and from both, which values are masked (I6).

import type { StatementPlan } from "./plan.ts";

export interface RowCheck {
  readonly maskedClasses: readonly string[];
  /** For wire's rewriteDataRow; undefined when nothing is masked. */
  readonly replace:
    | ((column: number, offset: number, length: number) => Buffer | null | undefined)
    | undefined;
}

export interface ResultMasks {
  /** False when nothing of the target is classified: then rows need no description. */
  readonly needed: boolean;
  /** buffer[start,end) is a RowDescription; `plan` undefined: rows of something unknown. */
  check(
    buffer: Buffer,
    start: number,
    end: number,
    plan: StatementPlan | undefined,
    unmask: ReadonlySet<string>,
  ): RowCheck | { readonly disagree: string };
}

export function createResultMasks(needed: boolean): ResultMasks {
  return { needed, check: () => ({ disagree: "no check" }) };
}
