// What the parts of one session share: the context it was opened with, and the state both directions
// work on. relay.ts makes and owns it.

import type { ReplyTracker } from "@custody/wire/postgres/reply-tracker.ts";
import type { Journal } from "../../audit/journal.ts";
import type { Clock } from "../../base/clock.ts";
import type { Pacer } from "../../base/pacer.ts";
import type { GivenMasks } from "../../masking/given-masks.ts";
import type { Guesses } from "../../masking/match-budget.ts";
import type { Control } from "../../session/control.ts";
import type { PostgresTarget } from "../../target/target.ts";
import type { ToldName } from "./application-name.ts";
import type { CommandBook } from "./command-book.ts";
import type { Delivery } from "./delivery.ts";
import type { Exchange, NamedPortal, PreparedStatement } from "./exchange.ts";
import type { ForwardQueue } from "./forward-queue.ts";
import type { NameTable } from "./names.ts";
import type { Classifier } from "./plan.ts";
import type { ResultMasks } from "./row-check.ts";

export interface RelayLimits {
  readonly maxFrameBytes: number;
  readonly maxOutstanding: number;
  readonly maxNames: number;
  /** Comparisons of a class with a constant that a chain's root has in an hour. */
  readonly matchesPerHour: number;
  /** Bytes of a client kept while it waits (a hold, a reply); beyond it the socket is not read. */
  readonly maxBacklogBytes: number;
  readonly holdWaitMs: number;
  readonly holdWaitInTransactionMs: number;
  readonly holdReminderMs: number;
}

export interface RelayContext {
  readonly sessionId: string;
  readonly target: PostgresTarget;
  readonly database: string;
  readonly book: CommandBook;
  readonly classifier: Classifier;
  readonly masks: ResultMasks;
  readonly journal: Journal;
  readonly control: Control;
  readonly clock: Clock;
  readonly limits: RelayLimits;
  /** Free settings the session began with, for what an approval is bound to. */
  readonly settings: ReadonlyMap<string, string>;
  /** The client's own, as the session began. */
  readonly applicationName: string;
  /** What masks gave out to this chain's root: not to be stored. */
  readonly given: GivenMasks;
  /** What this chain's root may still compare. */
  readonly guesses: Guesses;
  /** `isWanted` is asked again just before it is sent. */
  readonly cancelUpstream: (isWanted: () => boolean) => Promise<void>;
  /** Closing, once the client was told: sessions end in crowds. */
  readonly later: Pacer["later"];
  /** For the operator's log: what happened, never content. */
  readonly log: (message: string, error?: unknown) => void;
}

/** What both directions work on. */
export interface RelayState {
  readonly context: RelayContext;
  readonly tracker: ReplyTracker<Exchange>;
  readonly statements: NameTable<PreparedStatement>;
  readonly portals: NameTable<NamedPortal>;
  readonly toClient: Delivery;
  readonly toServer: ForwardQueue;
  /** The transaction status the server last told: I, T or E as a byte. */
  transaction: number;
  readonly applicationName: ToldName;
  /** Commands that changed settings so far: an approval is bound to it. */
  settingsChanged: number;
  /** Objects were defined in the open transaction: what names mean is not known until it ends. */
  uncommittedDefinition: boolean;
  /** A transparent target's FATAL was forwarded as it came. */
  targetSaidWhy: boolean;
  /** A Sync was not forwarded because a COPY was under way, and nothing was since. */
  syncKeptBack: boolean;
}

export interface NoticeText {
  readonly requestId: string | undefined;
  readonly message: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
}

/** What the handling of a message may ask of the relay. */
export interface RelayControl {
  /** Handle no further message until every reply outstanding now has come. */
  readonly waitForReplies: () => void;
  readonly waitFor: (work: Promise<void>) => void;
  readonly notice: (text: NoticeText) => void;
  readonly finish: () => void;
}
