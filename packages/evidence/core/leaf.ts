// One event of the log: who, through which chain, did what, and what was decided. Small (aim at 500
// bytes, at most 65,535: the entry length of C2SP tlog-tiles is 16 bits). No SQL text, no parameter,
// no response and no person's name: those are in the encrypted content, which can be erased while the
// log stays whole. Serialised as JSON with the keys in the order of this interface.

export interface LeafHop {
  /** Delegation id. */
  readonly d: string;
  /** `<provider>/<stable subject id>`; agents: the delegation id. */
  readonly s: string;
  readonly k: "user" | "workload" | "agent";
  readonly p: "attested" | "possession" | "bearer" | "asserted";
}

export const LEAF_EVENTS = [
  "gateway.started",
  "gateway.stopped",
  "configuration.loaded",
  "configuration.refused",
  "delegation.created",
  "delegation.refused",
  "delegation.revoked",
  "session.opened",
  "session.refused",
  "session.closed",
  /** A statement was sent to be prepared; running it is an intent of its own. */
  "command.prepared",
  "command.intent",
  "command.denied",
  "command.outcome",
  "command.indeterminate",
  "hold.requested",
  "hold.voted",
  "hold.vote_refused",
  "hold.ended",
  "recording.read",
  "audit.read",
] as const;

export type LeafEvent = (typeof LEAF_EVENTS)[number];

export interface Leaf {
  readonly v: 1;
  readonly event: LeafEvent;
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
  /** The worker whose journal this came from, and the place in it, from 1 without gaps. */
  readonly worker: number;
  readonly seq: number;
  readonly session?: string;
  /** `r-…`: one command. */
  readonly request?: string;
  readonly target?: string;
  readonly account?: string;
  /** Root first. */
  readonly chain?: readonly LeafHop[];
  /** `sql:delete orders/shop/public/orders`, one an effect, at most 32, then "+N". */
  readonly effects?: readonly string[];
  readonly decision?: "permit" | "deny" | "hold" | "approved";
  /** @ids of the policies that decided. */
  readonly policies?: readonly string[];
  readonly policyVersion?: string;
  /** SHA-256, base64url, of the exact command bytes; of the bound parameters. */
  readonly command?: string;
  readonly parameters?: string;
  /** Classes masked in the answer. */
  readonly masked?: readonly string[];
  /** How it ended: `ok`, an SQLSTATE, `cancelled`, `skipped`, `indeterminate`, … */
  readonly outcome?: string;
  readonly rows?: number;
  readonly bytes?: number;
  /** Anything an event needs besides; small, no personal data, no secret. */
  readonly detail?: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}
