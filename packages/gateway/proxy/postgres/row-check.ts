// The second witness at work: each RowDescription is checked against its plan (result-mask.ts) before
// the first row, and says which values of the rows are masked (I6). The same description of the same
// plan is checked once.

import { decodeRowDescription } from "@custody/wire/postgres/backend.ts";
import { createDetector, type Detection } from "../../masking/detect.ts";
import type { MaskName } from "../../masking/masks.ts";
import type { PostgresClassifier } from "./classify.ts";
import type { StatementPlan } from "./plan.ts";
import {
  type ClassifiedByOid,
  createRowMask,
  type RowMask,
  verifyRowDescription,
} from "./result-mask.ts";

export type RowCheck = RowMask;

export interface ResultMasks {
  /** False when nothing in the database is classified or looked for: see `needsCheck`. */
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

/** Else its rows need no description: nothing of them could be masked. What the catalogue keeps always is. */
export function needsCheck(masks: ResultMasks, plan: StatementPlan | undefined): boolean {
  return masks.needed || (plan !== undefined && plan.operation.touches.length > 0);
}

interface Checked {
  readonly description: Buffer;
  /** Of the catalogue it was checked against: a newer one is asked anew, with the same plan. */
  readonly classified: ClassifiedByOid;
  readonly unmask: ReadonlySet<string>;
  readonly masks: ReadonlyMap<string, MaskName>;
  readonly check: RowCheck;
}

export function createResultMasks(
  classifier: PostgresClassifier,
  masks: () => ReadonlyMap<string, MaskName>,
  detections: readonly Detection[] = [],
): ResultMasks {
  const detect = detections.length === 0 ? undefined : createDetector(detections);
  const checked = new WeakMap<StatementPlan, Checked>();
  return {
    get needed() {
      return detect !== undefined || !classifier.classifiedByOid.isEmpty;
    },
    check(buffer, start, end, plan, unmask) {
      const known = plan === undefined ? undefined : checked.get(plan);
      const classified = classifier.classifiedByOid;
      if (
        known !== undefined &&
        known.classified === classified &&
        known.unmask === unmask &&
        known.masks === masks() &&
        known.description.compare(buffer, start, end) === 0
      )
        return known.check;
      const columns = decodeRowDescription(buffer, start, end);
      const verified = verifyRowDescription(columns, plan, classified);
      if (!verified.ok) return { disagree: verified.why };
      const check = createRowMask(columns, verified.classes, unmask, masks(), detect);
      if (plan !== undefined) {
        const description = Buffer.from(buffer.subarray(start, end));
        checked.set(plan, { description, classified, unmask, masks: masks(), check });
      }
      return check;
    },
  };
}
