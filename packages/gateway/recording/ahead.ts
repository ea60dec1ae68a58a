// How far one session's recording is ahead of the disk, and what has to wait for it. Always: no more than
// `maxAheadBytes` are on their way, then nothing more is read (`room`). What commands of a mode
// (`@record_mode`, policy/annotations.ts) record besides: of a strict one nothing is delivered before it is on
// disk; of a bounded one no more than its bytes are delivered ahead, and a disk that is later than its time
// ends the session.
//
// Who owns the state: one a session, the recorder's. Places are counted in bytes recorded since the start.

import type { Journal } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";
import { type RecordingMode, strictestMode } from "../policy/annotations.ts";

export interface AheadDeps {
  readonly journal: Pick<Journal, "barrier">;
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly maxAheadBytes: number;
  /** Once: what a bounded command recorded is not on disk, and its time is over. */
  readonly onBehind: (behind: Behind) => void;
}

export interface Behind {
  readonly allowedMs: number;
  readonly bytes: number;
}

export interface Ahead {
  /** From here on what is recorded of the request is of this mode. */
  begin(requestId: string, mode: RecordingMode): void;
  finish(requestId: string): void;
  /** So many bytes more were recorded. */
  add(bytes: number): void;
  /** What was recorded up to here is of this request. */
  mark(requestId: string): void;
  /** See recorder.ts. */
  room(done: () => void): boolean;
  delivery(done: () => void): boolean;
  /** Nobody is told to be late any more. */
  close(): void;
}

interface Waiting {
  /** It waits for everything up to here. */
  readonly place: number;
  readonly done: () => void;
}

type Bounded = Extract<RecordingMode, { mode: "bounded" }>;

/** A session has few commands at a time; one with more than these at once is strict from there on. */
const MAX_MODES = 10_000;

export function createAhead(deps: AheadDeps): Ahead {
  return new AheadOfDisk(deps);
}

class AheadOfDisk implements Ahead {
  readonly #deps: AheadDeps;
  readonly #modes = new Map<string, RecordingMode>();
  /** Modes of more commands than are kept: nobody knows any more which is whose. */
  #isOverfull = false;
  #recorded = 0;
  /** Known to be on disk. */
  #durable = 0;
  #isAsking = false;
  #waiting: Waiting[] = [];
  /** The end of what strict commands recorded; of what bounded ones did. */
  #strictPlace = 0;
  #boundedPlace = 0;
  /** Holds until all of what it is for is on disk. */
  #bounds: Bounded | undefined;
  /** When the oldest that is not on disk was recorded; and the oldest that the flush under way leaves. */
  #sinceMs: number | undefined;
  #laterSinceMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(deps: AheadDeps) {
    this.#deps = deps;
  }

  begin(requestId: string, mode: RecordingMode): void {
    if (this.#modes.size < MAX_MODES) this.#modes.set(requestId, mode);
    else this.#isOverfull = true;
  }

  finish(requestId: string): void {
    if (this.#modes.size > 0) this.#modes.delete(requestId);
  }

  add(bytes: number): void {
    this.#recorded += bytes;
  }

  mark(requestId: string): void {
    if (this.#modes.size === 0 && !this.#isOverfull) return;
    const mode = this.#modes.get(requestId);
    if (this.#isOverfull || mode?.mode === "strict") this.#strictPlace = this.#recorded;
    else if (mode !== undefined) this.#markBounded(mode);
  }

  room(done: () => void): boolean {
    if (this.#recorded - this.#durable <= this.#deps.maxAheadBytes) return true;
    this.#wait(this.#recorded, done);
    return false;
  }

  delivery(done: () => void): boolean {
    if (this.#strictPlace > this.#durable) {
      this.#wait(this.#strictPlace, done);
      return false;
    }
    const bounds = this.#bounds;
    if (bounds === undefined) return true;
    const place = this.#boundedPlace - bounds.aheadBytes;
    if (place <= this.#durable) return true;
    this.#wait(place, done);
    return false;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #markBounded(mode: Bounded): void {
    const before = this.#bounds;
    const bounds = strictestMode(before, mode);
    if (bounds?.mode !== "bounded") return;
    this.#bounds = bounds;
    this.#boundedPlace = this.#recorded;
    const nowMs = this.#deps.clock.monotonicMs();
    this.#sinceMs ??= nowMs;
    if (this.#isAsking) this.#laterSinceMs ??= nowMs;
    if (before?.aheadMs !== bounds.aheadMs) this.#arm();
    this.#ask();
  }

  #wait(place: number, done: () => void): void {
    this.#waiting.push({ place, done });
    this.#ask();
  }

  /** One at a time: what is recorded meanwhile goes with the next. */
  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const place = this.#recorded;
    this.#deps.journal.barrier("strict", () => {
      this.#isAsking = false;
      this.#onDurable(place);
    });
  }

  #onDurable(place: number): void {
    this.#durable = place;
    if (this.#bounds !== undefined) {
      const isAll = this.#boundedPlace <= place;
      this.#sinceMs = isAll ? undefined : this.#laterSinceMs;
      this.#laterSinceMs = undefined;
      if (isAll) this.#bounds = undefined;
      this.#arm();
    }
    const ready = this.#waiting.filter((one) => one.place <= place);
    this.#waiting = this.#waiting.filter((one) => one.place > place);
    if (this.#waiting.length > 0 || this.#bounds !== undefined) this.#ask();
    for (const { done } of ready) done();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const dueMs = this.#dueMs();
    if (dueMs === undefined || this.#isClosed) return;
    const leftMs = Math.max(1, Math.ceil(dueMs - this.#deps.clock.monotonicMs()));
    this.#timer = setTimeout(() => {
      // A loop that was held up may have the disk's answer waiting: that is looked at first.
      this.#timer = setTimeout(() => this.#look(), 0);
    }, leftMs);
  }

  #dueMs(): number | undefined {
    if (this.#bounds === undefined || this.#sinceMs === undefined) return undefined;
    return this.#sinceMs + this.#bounds.aheadMs;
  }

  #look(): void {
    const dueMs = this.#dueMs();
    if (this.#bounds === undefined || dueMs === undefined || this.#isClosed) return;
    if (this.#deps.clock.monotonicMs() < dueMs) {
      this.#arm();
      return;
    }
    this.close();
    const { aheadMs } = this.#bounds;
    this.#deps.onBehind({ allowedMs: aheadMs, bytes: this.#recorded - this.#durable });
  }
}
