// What a delegation carries. A closed vocabulary: an exact string or a prefix that ends in "*",
// nothing else, so that "is a subset of" is total and what it cannot decide is not a subset (I3).
//
// On the wire a grant is an array of RFC 9396 authorization_details of type "custody".

/** An exact value, or a prefix followed by one "*" at the end ("*" alone: any). */
export type Pattern = string;

export interface GrantEntry {
  /** Target names. */
  readonly targets: readonly Pattern[];
  /** Accounts of these targets. */
  readonly accounts: readonly Pattern[];
  /** `connect`, `sql:select`, or a group: `sql:read`, `sql:write`, `sql:schema`, `sql:privilege`, `sql:*`. */
  readonly actions: readonly Pattern[];
  /** Resource paths below the target: `shop/public/orders`, `shop/public/*`, `*`. */
  readonly resources: readonly Pattern[];
  /** Classes that may be seen unmasked. Empty unless named. */
  readonly unmask: readonly Pattern[];
  /** Upper bounds; undefined is unbounded. */
  readonly limits: GrantLimits;
}

export interface GrantLimits {
  readonly maxRows?: number;
  readonly maxBytes?: number;
  readonly timeoutMs?: number;
}

/** An effect is granted when one entry covers all of it. */
export type Grant = readonly GrantEntry[];
