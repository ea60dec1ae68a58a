// The journal's writer: one for each worker. Appends gather in a buffer; at the end of a turn of the event
// loop in which somebody asked for a barrier the buffer goes to the kernel as one batch, and the "ordered"
// barriers of that batch call back; what nobody waits for goes along, or with the flush.
// "strict" barriers wait for a flush that began after their write; flushes run in the thread pool, one
// at a time, so that all who wait share the next one. What nobody waits for is flushed within 5 ms.
//
// A disk that does not come after them stops them: when a flush takes longer than `maxLagMs`, "ordered"
// barriers too wait for one that covers them, so that no more is ever ahead of the disk.
//
// A failed or short write and a failed flush are never tried again (a kernel may drop dirty pages after
// reporting an error once): nothing calls back any more and `onFailure` is called, once.
//
// Owns the segments from their making until they are left; the sequencer deletes them.

import type { LeafFields } from "@custody/evidence/core/leaf.ts";
import { leafText, MAX_LEAF_BYTES } from "@custody/evidence/core/leaf.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Durability, Journal, LeafDraft } from "./journal.ts";
import {
  type JournalDisk,
  journalDirectory,
  kernelDisk,
  makeDirectory,
  prepareSegment,
} from "./journal-files.ts";
import {
  BATCH_HEADER_BYTES,
  batchBytes,
  CHAIN_BYTES,
  encodeSegmentHeader,
  finishBatch,
  MAX_RECORD_BYTES,
  RECORD_CARRY,
  RECORD_CONTENT,
  RECORD_LEAF,
  SEGMENT_HEADER_BYTES,
  sha256,
} from "./journal-format.ts";
import { countFlush, countLeaf, createJournalMeter, type JournalMeter } from "./journal-meter.ts";
import { recoverJournal } from "./journal-recovery.ts";

export interface JournalOptions {
  /** The gateway's data directory; segments are in `journal/` below it. */
  readonly directory: string;
  readonly worker: number;
  readonly clock: Clock;
  /** The journal cannot be written any more; the gateway has to stop. Called once. */
  readonly onFailure: (error: GatewayError) => void;
  /** Goes into `gateway.started`. */
  readonly startDetail?: NonNullable<LeafFields["detail"]>;
  readonly segmentBytes?: number;
  /** How long ordered records may be ahead of the disk. Default 1 s. */
  readonly maxLagMs?: number;
  readonly disk?: JournalDisk;
}

/** What the start found of the run before. */
export interface JournalRecovery {
  /** Requests whose intent had no outcome; each has a `command.indeterminate` leaf now. */
  readonly indeterminate: readonly string[];
  /** Sessions that had no end; each has a `session.closed` leaf now. */
  readonly unclosedSessions: readonly string[];
  readonly tornBytes: number;
}

export interface OpenJournal extends Journal {
  readonly recovery: JournalRecovery;
  /**
   * One BigInt64 in shared memory: segment number × 2^32 + offset up to which everything is on disk.
   * The sequencer reads no further.
   */
  readonly durable: BigInt64Array<SharedArrayBuffer>;
  /** Calls `listener` with each leaf, as JSON text, once it is in the kernel; returns its end. */
  tail(listener: (leafJson: string) => void): () => void;
  /** Resolves when everything appended so far is on disk; rejects when the journal has failed. */
  settled(): Promise<void>;
  /** undefined while all is well. */
  readonly failure: GatewayError | undefined;
  readonly meter: Readonly<JournalMeter>;
}

const DEFAULT_SEGMENT_BYTES = 16 << 20;
/** Leaves time for the flush itself within the 5 ms that DESIGN.md promises. */
const FLUSH_AFTER_MS = 3;
const DEFAULT_MAX_LAG_MS = 1_000;
/** How many times its size a segment may grow to while the next is being made. */
const GROWTH_LIMIT = 8;
const CARRIED_PER_BATCH = 16;
const BUFFER_BYTES = MAX_RECORD_BYTES + (256 << 10);

/** Recovers, says in the journal what it found, and returns when that is on disk. */
export async function openJournal(options: JournalOptions): Promise<OpenJournal> {
  const directory = journalDirectory(options.directory);
  await makeDirectory(directory);
  const recovered = await recoverJournal(directory, options.worker);
  const writer = new JournalWriter(options, directory, recovered.nextSeq, recovered.chain);
  await writer.begin(recovered.nextNumber);
  const { indeterminate, unclosedSessions } = writer.endOpen(
    recovered.openSessions.values(),
    recovered.openIntents.values(),
    "gateway_crashed",
  );
  writer.append({
    event: "gateway.started",
    detail: {
      ...options.startDetail,
      indeterminate: indeterminate.length,
      unclosedSessions: unclosedSessions.length,
      tornBytes: recovered.tornBytes,
    },
  });
  await writer.settled();
  writer.recovery = { indeterminate, unclosedSessions, tornBytes: recovered.tornBytes };
  return writer;
}

/** Whom and what a leaf is about, for the leaf that ends it. */
function aboutSame(leaf: LeafFields): Omit<LeafFields, "event"> {
  return {
    ...(leaf.session === undefined ? {} : { session: leaf.session }),
    ...(leaf.target === undefined ? {} : { target: leaf.target }),
    ...(leaf.account === undefined ? {} : { account: leaf.account }),
    ...(leaf.chain === undefined ? {} : { chain: leaf.chain }),
  };
}

interface Waiter {
  readonly done: () => void;
  /** Writes counted since the start; a flush that began at this count or later covers it. */
  readonly written: number;
}

interface CarriedLeaf {
  readonly draft: LeafDraft;
  readonly at: number;
  readonly seq: number;
}

class JournalWriter implements OpenJournal {
  readonly durable = new BigInt64Array(new SharedArrayBuffer(8));
  recovery: JournalRecovery = { indeterminate: [], unclosedSessions: [], tornBytes: 0 };
  failure: GatewayError | undefined;
  readonly meter = createJournalMeter();

  readonly #worker: number;
  readonly #clock: Clock;
  readonly #onFailure: (error: GatewayError) => void;
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #maxLagMs: number;
  readonly #disk: JournalDisk;

  #nextSeq: number;
  #chain: Buffer;

  // The batch being gathered.
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #length = BATCH_HEADER_BYTES;
  #records = 0;
  #leaves = 0;
  #ordered: (() => void)[] = [];
  #strict: (() => void)[] = [];
  #seals: (() => void)[] = [];
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  // The segment being filled, the one after it, and those filled but not flushed.
  #fd = -1;
  #number = 0;
  #offset = 0;
  #preparing: Promise<void> | undefined;
  #nextFd: number | undefined;
  #filled: number[] = [];

  // Flushing.
  #written = 0;
  #flushed = 0;
  #flushedOffset = 0;
  #isFlushing = false;
  #flushBeganMs = 0;
  #waiters: Waiter[] = [];

  readonly #openSessions = new Map<string, CarriedLeaf>();
  readonly #openIntents = new Map<string, CarriedLeaf>();
  #tails: ((leafJson: string) => void)[] = [];
  #tailed: string[] = [];
  readonly #rejectSettled = new Set<(error: GatewayError) => void>();
  #isClosed = false;

  constructor(options: JournalOptions, directory: string, nextSeq: number, chain: Buffer) {
    this.#worker = options.worker;
    this.#clock = options.clock;
    this.#onFailure = options.onFailure;
    this.#directory = directory;
    this.#segmentBytes = Math.max(options.segmentBytes ?? DEFAULT_SEGMENT_BYTES, 2 * BUFFER_BYTES);
    this.#maxLagMs = options.maxLagMs ?? DEFAULT_MAX_LAG_MS;
    this.#disk = options.disk ?? kernelDisk;
    this.#nextSeq = nextSeq;
    this.#chain = chain;
  }

  /** Makes the first segment of this run; segments of earlier runs are never written again. */
  async begin(number: number): Promise<void> {
    this.#number = number - 1;
    await this.#prepareNext();
    if (this.#nextFd === undefined)
      throw this.failure ?? new GatewayError("internal", "no segment");
    this.#enterNextSegment(this.#nextFd);
  }

  append(draft: LeafDraft): number {
    const seq = this.#nextSeq;
    if (this.failure !== undefined) return seq;
    countLeaf(this.meter, draft.event);
    const at = draft.at ?? this.#clock.nowMs();
    let text = leafText(draft, at, this.#worker, seq);
    if (text.length > MAX_LEAF_BYTES / 3) text = fitLeaf(draft, at, this.#worker, seq);
    this.#putLeaf(text);
    this.#track(draft, at, seq);
    if (this.#tails.length > 0) this.#tailed.push(text);
    return seq;
  }

  /** Says of what has no end that it is not known how it ended. */
  endOpen(
    sessions: Iterable<LeafFields>,
    intents: Iterable<LeafFields>,
    outcome: string,
  ): { indeterminate: string[]; unclosedSessions: string[] } {
    const indeterminate: string[] = [];
    for (const leaf of intents) {
      const request = leaf.request ?? "";
      indeterminate.push(request);
      this.append({ ...aboutSame(leaf), event: "command.indeterminate", request, outcome });
    }
    const unclosedSessions: string[] = [];
    for (const leaf of sessions) {
      unclosedSessions.push(leaf.session ?? "");
      this.append({ ...aboutSame(leaf), event: "session.closed", outcome });
    }
    return { indeterminate, unclosedSessions };
  }

  appendContent(sessionId: string, sealed: Buffer): void {
    if (this.failure !== undefined) return;
    const length = 1 + sessionId.length + sealed.length;
    if (sessionId.length > 255 || length > MAX_RECORD_BYTES) {
      this.#fail("a piece of content is too large", undefined);
      return;
    }
    this.#reserve(4 + length);
    const buffer = this.#buffer;
    let at = buffer.writeUInt32BE((RECORD_CONTENT << 24) | length, this.#length);
    at = buffer.writeUInt8(sessionId.length, at);
    at += buffer.write(sessionId, at, "latin1");
    this.#length = at + sealed.copy(buffer, at);
    this.#records++;
    this.#scheduleFlush();
  }

  beforeFlush(seal: () => void): void {
    this.#seals.push(seal);
    this.#scheduleFlush();
  }

  barrier(durability: Durability, done: () => void): void {
    if (durability === "strict") this.#strict.push(done);
    else this.#ordered.push(done);
    this.#scheduleWrite();
  }

  tail(listener: (leafJson: string) => void): () => void {
    this.#tails.push(listener);
    return () => {
      this.#tails = this.#tails.filter((other) => other !== listener);
    };
  }

  settled(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) reject(this.failure);
      else {
        this.#rejectSettled.add(reject);
        this.barrier("strict", () => {
          this.#rejectSettled.delete(reject);
          resolve();
        });
      }
    });
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.failure === undefined) {
      const drafts = (open: Map<string, CarriedLeaf>) =>
        [...open.values()].map(({ draft }) => draft);
      this.endOpen(drafts(this.#openSessions), drafts(this.#openIntents), "gateway_stopped");
      this.append({ event: "gateway.stopped" });
      await this.settled().catch(() => undefined);
    }
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    await this.#preparing;
    for (const fd of [this.#fd, this.#nextFd, ...this.#filled]) {
      if (fd !== undefined && fd >= 0)
        await new Promise<void>((done) => this.#disk.close(fd, () => done()));
    }
    this.failure ??= new GatewayError("shutdown", "the journal is closed");
  }

  // ---- gathering

  #putLeaf(text: string): void {
    // Three bytes are the most a UTF-16 unit takes in UTF-8.
    this.#reserve(4 + text.length * 3);
    const start = this.#length + 4;
    const length = this.#buffer.write(text, start, "utf8");
    if (length > MAX_LEAF_BYTES) {
      this.#fail("a leaf is too large", undefined);
      return;
    }
    this.#buffer.writeUInt32BE((RECORD_LEAF << 24) | length, this.#length);
    this.#length = start + length;
    this.#records++;
    this.#leaves++;
    this.#nextSeq++;
    this.#scheduleFlush();
  }

  /** Writes at once what is gathered when one more record might not fit. */
  #reserve(bytes: number): void {
    if (this.#length + bytes + CHAIN_BYTES + 8 > BUFFER_BYTES) this.#write();
  }

  #scheduleWrite(): void {
    this.#immediate ??= setImmediate(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#immediate = undefined;
    if (this.failure !== undefined) return;
    if (this.#strict.length > 0) this.#seal();
    if (this.#records > 0) this.#write();
    if (this.failure !== undefined) return;
    if (this.#tailed.length > 0) this.#tellTails();
    const strict = this.#strict;
    if (strict.length > 0) {
      this.#strict = [];
      this.#awaitFlush(strict);
    }
    const ordered = this.#ordered;
    if (ordered.length > 0) {
      this.#ordered = [];
      if (this.#isBehind()) this.#awaitFlush(ordered);
      else for (const done of ordered) done();
    }
  };

  #awaitFlush(barriers: readonly (() => void)[]): void {
    for (const done of barriers) this.#waiters.push({ done, written: this.#written });
    this.#flush();
  }

  #isBehind(): boolean {
    return this.#isFlushing && this.#clock.monotonicMs() - this.#flushBeganMs > this.#maxLagMs;
  }

  #seal(): void {
    const seals = this.#seals;
    if (seals.length === 0) return;
    this.#seals = [];
    for (const seal of seals) seal();
  }

  // ---- writing

  #write(): void {
    const bodyLength = this.#length - BATCH_HEADER_BYTES;
    if (bodyLength === 0 || this.failure !== undefined) return;
    if (this.#offset + batchBytes(bodyLength) > this.#segmentBytes && !this.#roll()) return;
    const batch = finishBatch(
      this.#buffer,
      bodyLength,
      this.#records,
      this.#flushedOffset,
      this.#chain,
    );
    if (!this.#writeBytes(this.#buffer, batch.length)) return;
    this.#chain = batch.chain;
    this.#length = BATCH_HEADER_BYTES;
    this.#records = 0;
    this.#leaves = 0;
    this.#scheduleFlush();
  }

  #writeBytes(bytes: Uint8Array, length: number): boolean {
    try {
      const written = this.#disk.write(this.#fd, bytes, length, this.#offset);
      if (written !== length) throw new Error(`wrote ${written} of ${length} bytes`);
    } catch (error) {
      this.#fail("the journal cannot be written", error);
      return false;
    }
    this.#offset += length;
    this.#written++;
    return true;
  }

  /**
   * Goes to the next segment, which takes along what has no end yet. When it is still being made this
   * one grows beyond its size, which costs slower flushes and nothing else. False: the journal failed.
   */
  #roll(): boolean {
    if (this.#nextFd === undefined) {
      if (this.#offset < GROWTH_LIMIT * this.#segmentBytes) return true;
      this.#fail("the next journal segment is not ready", undefined);
      return false;
    }
    this.#filled.push(this.#fd);
    this.#enterNextSegment(this.#nextFd);
    return this.failure === undefined && this.#writeCarried();
  }

  #enterNextSegment(fd: number): void {
    this.#fd = fd;
    this.#nextFd = undefined;
    this.#number++;
    this.#offset = 0;
    this.#flushedOffset = 0;
    const header = encodeSegmentHeader({
      worker: this.#worker,
      number: this.#number,
      nextSeq: this.#firstGathered(),
      chainBefore: this.#chain,
    });
    this.#chain = sha256(header);
    if (this.#writeBytes(header, SEGMENT_HEADER_BYTES)) this.#preparing = this.#prepareNext();
  }

  /** Never rejects: a failure is the journal's. */
  async #prepareNext(): Promise<void> {
    try {
      const number = this.#number + 1;
      this.#nextFd = await prepareSegment(
        this.#directory,
        this.#worker,
        number,
        this.#segmentBytes,
      );
    } catch (error) {
      this.#fail("the next journal segment cannot be made", error);
    }
  }

  /** The number of the first leaf of the batch that is being gathered, or of the next. */
  #firstGathered(): number {
    return this.#nextSeq - this.#leaves;
  }

  /**
   * Open sessions and intents go into the new segment, for older ones will be deleted. Those that are still
   * gathered are no part of them: a crash before they are written has to find nothing of them.
   */
  #writeCarried(): boolean {
    const texts: string[] = [];
    const first = this.#firstGathered();
    for (const open of [this.#openSessions, this.#openIntents]) {
      for (const { draft, at, seq } of open.values())
        if (seq < first) texts.push(leafText(draft, at, this.#worker, seq));
    }
    for (let at = 0; at < texts.length; at += CARRIED_PER_BATCH) {
      const records = texts.slice(at, at + CARRIED_PER_BATCH);
      const room = records.reduce((bytes, text) => bytes + 4 + text.length * 3, 0);
      const buffer = Buffer.allocUnsafe(batchBytes(room));
      let end = BATCH_HEADER_BYTES;
      for (const text of records) {
        const length = buffer.write(text, end + 4, "utf8");
        buffer.writeUInt32BE((RECORD_CARRY << 24) | length, end);
        end += 4 + length;
      }
      const body = end - BATCH_HEADER_BYTES;
      const batch = finishBatch(buffer, body, records.length, this.#flushedOffset, this.#chain);
      if (!this.#writeBytes(buffer, batch.length)) return false;
      this.#chain = batch.chain;
    }
    return true;
  }

  #track(draft: LeafDraft, at: number, seq: number): void {
    const { event, request, session } = draft;
    if (event === "command.intent") {
      if (request !== undefined) this.#openIntents.set(request, { draft, at, seq });
    } else if (event === "command.outcome" || event === "command.indeterminate") {
      if (request !== undefined) this.#openIntents.delete(request);
    } else if (event === "session.opened") {
      if (session !== undefined) this.#openSessions.set(session, { draft, at, seq });
    } else if (event === "session.closed") {
      if (session !== undefined) this.#openSessions.delete(session);
    }
  }

  #tellTails(): void {
    const texts = this.#tailed;
    this.#tailed = [];
    for (const listener of this.#tails) for (const text of texts) listener(text);
  }

  // ---- flushing

  #scheduleFlush(): void {
    this.#timer ??= setTimeout(this.#onTimer, FLUSH_AFTER_MS);
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    this.#seal();
    this.#write();
    if (this.#tailed.length > 0 && this.failure === undefined) this.#tellTails();
    this.#flush();
  };

  /** One at a time: who comes while it runs shares the next. */
  #flush(): void {
    if (this.#isFlushing || this.failure !== undefined) return;
    this.#isFlushing = true;
    const covered = { written: this.#written, number: this.#number, offset: this.#offset };
    const beganMs = this.#clock.monotonicMs();
    this.#flushBeganMs = beganMs;
    // Captured now: the writer may go to the next segment while this flush runs.
    const current = this.#fd;
    const filled = this.#filled;
    this.#filled = [];
    const next = (): void => {
      const fd = filled.shift();
      this.#disk.datasync(fd ?? current, (error) => {
        if (error !== null) this.#fail("the journal cannot be flushed", error);
        if (this.failure !== undefined) return;
        if (fd === undefined) {
          countFlush(this.meter, (this.#clock.monotonicMs() - beganMs) / 1000);
          this.#onFlushed(covered);
        } else {
          this.#disk.close(fd, () => undefined);
          next();
        }
      });
    };
    if (this.#flushed === covered.written) this.#onFlushed(covered);
    else next();
  }

  #onFlushed(covered: { written: number; number: number; offset: number }): void {
    this.#isFlushing = false;
    this.#flushed = covered.written;
    if (covered.number === this.#number) this.#flushedOffset = covered.offset;
    const position = (BigInt(covered.number) << 32n) | BigInt(covered.offset);
    Atomics.store(this.durable, 0, position);
    const waiters = this.#waiters;
    let released = 0;
    while (released < waiters.length && waiters[released]!.written <= covered.written) released++;
    this.#waiters = waiters.slice(released);
    for (let index = 0; index < released; index++) waiters[index]!.done();
    if (this.#waiters.length > 0) this.#flush();
  }

  #fail(what: string, cause: unknown): void {
    if (this.failure !== undefined) return;
    this.failure = new GatewayError("evidence_unavailable", what, { cause });
    clearTimeout(this.#timer);
    for (const reject of this.#rejectSettled) reject(this.failure);
    this.#onFailure(this.failure);
  }
}

/** A leaf that may not fit the log's entries loses what is not needed to hold anybody to account. */
function fitLeaf(draft: LeafDraft, at: number, worker: number, seq: number): string {
  const text = leafText(draft, at, worker, seq);
  if (Buffer.byteLength(text) <= MAX_LEAF_BYTES) return text;
  const cut = (strings: readonly string[]): string[] => [
    ...strings.slice(0, 16).map((string) => string.slice(0, 128)),
    `+${Math.max(0, strings.length - 16)}`,
  ];
  return leafText(
    {
      ...draft,
      ...(draft.effects === undefined ? {} : { effects: cut(draft.effects) }),
      ...(draft.policies === undefined ? {} : { policies: cut(draft.policies) }),
      ...(draft.masked === undefined ? {} : { masked: cut(draft.masked) }),
      detail: { shortened: true },
    },
    at,
    worker,
    seq,
  );
}
