// The words of a decision, shared by every protocol: a protocol's classifier makes an Operation, the
// engine makes a Decision, and only a Permit opens the way upstream.

import type { Chain } from "../delegation/chain.ts";
import type { RecordingLevel, RecordingMode } from "../policy/annotations.ts";
import type { Protocol } from "../target/target.ts";

/** `connect`, `sql:select`, … as grants spell it; policy/schema.ts maps it to a Cedar action. */
export type ActionName = string;

export interface Resource {
  /** Cedar entity type: `SQL::Table`, `SQL::Schema`, `SQL::Function`, `Custody::Target`, … */
  readonly type: string;
  /** Unique within the type, target first: `orders/shop/public/customers`. */
  readonly id: string;
  /** What a grant's `resources` match: the id without its target: `shop/public/customers`. */
  readonly path: string;
  /** For people: `table public.customers`. */
  readonly label: string;
  /** The container, up to but not including the target, which the engine adds. */
  readonly parent: Resource | undefined;
  /**
   * True for what every client reads to work at all (the catalogue of types and relations): policies
   * judge it, grants need not name it.
   */
  readonly implied: boolean;
  /**
   * What policies see of it beyond its name, as the schema declares it for the type: the program and
   * arguments of a command, the labels of an object. A list is a set there.
   */
  readonly attributes?: ResourceAttributes;
}

export type ResourceAttributes = Readonly<
  Record<string, string | boolean | number | readonly string[]>
>;

export interface Effect {
  readonly action: ActionName;
  readonly resource: Resource;
  /**
   * Done by way of something that is judged itself: a partition through its parent, a function whose body
   * is judged. What forbids it counts; no permit and no grant needs to name it.
   */
  readonly byWay?: true;
}

/** How a statement uses a classified value; see DESIGN.md, "Masking SQL soundly". */
export type ClassUse =
  /** As a bare column through every level of the query: its mask applies. */
  | "output"
  /** Equality of the bare column with a constant or parameter. */
  | "match"
  /** Anywhere else: the server would evaluate it, so every hop must be allowed to unmask. */
  | "inner";

export interface ClassTouch {
  readonly class: string;
  readonly use: ClassUse;
  /** `public.customers.email`, for messages. */
  readonly column: string;
}

/**
 * What one command does. Immutable and interned per exact text, settings and catalogue epoch: the
 * object's identity is the decision cache's key.
 */
export interface Operation {
  readonly protocol: Protocol;
  readonly effects: readonly Effect[];
  readonly touches: readonly ClassTouch[];
  /** `delete on table public.orders`, for approvers and messages. Never contains a value. */
  readonly summary: string;
  /**
   * Whether values that are found in what it answers can be masked, as `@mask` of a permit asks: true, or
   * why not. Absent: they cannot, and such a permit denies it.
   */
  readonly maskable?: true | string;
  /**
   * Whether what it lists can be judged one by one, as `@filter` of a permit asks: true, or why not. Absent:
   * it lists nothing, and such a permit denies it.
   */
  readonly filterable?: true | string;
}

/** Everything about a session that a decision depends on. */
export interface Subject {
  readonly sessionId: string;
  readonly chain: Chain;
  readonly target: string;
  readonly account: string;
  readonly targetTags: Readonly<Record<string, string>>;
  readonly clientAddress: string;
  /** What `SET custody.justification` or its like gave; undefined when nothing was given. */
  readonly justification: string | undefined;
}

export interface Obligations {
  /** Classes every hop may see. What is not in here is masked. */
  readonly unmask: ReadonlySet<string>;
  readonly maxRows: number | undefined;
  readonly maxBytes: number | undefined;
  readonly timeoutMs: number | undefined;
  /** How much is recorded where a policy says so (recording/recorder.ts); absent: all. */
  readonly record?: RecordingLevel | undefined;
  /** How far the client may be ahead of the recording on disk; absent: back-pressure alone. */
  readonly recordMode?: RecordingMode | undefined;
  /** Classes to look for in what is answered (`@mask`), which is only asked of what is `maskable`; absent: none. */
  readonly mask?: readonly string[] | undefined;
  /** Only what the chain may read by itself is shown of what is listed (`@filter`), which is `filterable`. */
  readonly filter?: true | undefined;
}

export type DenyKind =
  /** A policy forbids it. */
  | "forbidden"
  /** No policy permits it. */
  | "not_permitted"
  /** A hop's grant does not cover it. */
  | "not_granted"
  /** It uses a classified value in a way that a mask cannot protect. */
  | "classified"
  /** It could not be parsed, resolved or classified. */
  | "unknown"
  /** A policy erred, or the engine did. */
  | "fault";

/** Why not. Everything here may be shown to the chain it is about. */
export interface Denial {
  readonly kind: DenyKind;
  /** `drop on table public.orders` */
  readonly what: string;
  /** The policy's @id, where one decided. */
  readonly policyId: string | undefined;
  /** The policy's @message, or a sentence of ours. */
  readonly message: string;
  /** Index in the chain of the hop it failed at; undefined when no hop is to blame. */
  readonly hop: number | undefined;
  /** `depth 2, agent reviewer`: for the client. */
  readonly hopLabel: string | undefined;
}

/** One policy that wants people's consent, for one (hop, effect). */
export interface Requirement {
  readonly policyId: string;
  readonly message: string | undefined;
  readonly quorum: number;
  /** Groups (`corp/dba`) of which an approver must be a member of one; empty: whoever policies let approve. */
  readonly approvers: readonly string[];
  readonly ttlMs: number;
  readonly justificationRequired: boolean;
}

/**
 * The unforgeable value that opens the way upstream: made by access/authorize.ts only, good for one
 * operation object and for as long as `isCurrent` says.
 */
export interface Permit {
  readonly operation: Operation;
  readonly obligations: Obligations;
  /** @ids of the permits that let it pass, each hop's, for the audit leaf. */
  readonly policyIds: readonly string[];
  readonly policyVersion: string;
}

export type Decision =
  | { readonly verdict: "permit"; readonly permit: Permit }
  | { readonly verdict: "deny"; readonly denial: Denial; readonly policyVersion: string }
  | {
      readonly verdict: "hold";
      readonly requirements: readonly Requirement[];
      /** `delete on table public.orders` */
      readonly what: string;
      readonly policyVersion: string;
    };

/** The engine as the data paths see it. */
export interface Access {
  /**
   * Never throws; a fault is a denial of kind "fault". Synchronous, and a map look-up when the same
   * subject asked for the same operation under the same policies.
   */
  authorize(subject: Subject, operation: Operation): Decision;
  /**
   * After approvals: permits exactly when each pair's own requirements are among `met` and everything
   * else still permits. Not cached.
   */
  authorizeApproved(subject: Subject, operation: Operation, met: readonly string[]): Decision;
  /** Changes with every reload; a decision made under another version is not used again. */
  readonly policyVersion: string;
  /** Forgets what was cached for a session that ended. */
  forget(sessionId: string): void;
}
