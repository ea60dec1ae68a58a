// Random pipelines against a real server, followed by a ReplyTracker. Each request carries a marker of
// its own into what the server answers (a column's value or name, a row count, an error's text), so a
// reply that is given to the wrong request is seen. What names stand for is learnt from the replies,
// in their order, as the server itself does it.
//
// It sends as a gateway must: nothing while the tracker is `waiting`, no Sync while COPY IN is under
// way, except one that the server cannot have read when the COPY fails.

import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import {
  BACKEND,
  decodeCommandComplete,
  decodeErrorFields,
  decodeReadyForQuery,
  decodeRowDescription,
  isBackendType,
} from "@custody/wire/postgres/backend.ts";
import { dataRowFields } from "@custody/wire/postgres/data-row.ts";
import * as frontend from "@custody/wire/postgres/frontend.ts";
import {
  type Outstanding,
  ReplyTracker,
  type RequestKind,
} from "@custody/wire/postgres/reply-tracker.ts";
import { nextSteps, type Step } from "./pipeline-steps.ts";
import type { Random } from "./random.ts";
import type { RawConnection } from "./raw-connection.ts";

/** A request as the model remembers it. */
export interface Request {
  readonly id: number;
  readonly step: Step;
  fate: "open" | "ended" | "skipped";
}

interface Prepared {
  readonly id: number;
  readonly rows: number;
}

interface Portal extends Prepared {
  readonly bindId: number;
}

export interface ModelOptions {
  readonly maxOutstanding: number;
  /** How long the server may be silent while something is expected of it. */
  readonly patienceMs: number;
}

/** Everything the model's statements use. */
export const MODEL_SCHEMA = `
  create table copied (n int, v text);
  create view seen as select n, v from copied;
  create table parents (id int primary key);
  create table children (id int references parents deferrable initially deferred);
`;

export class PipelineModel {
  readonly tracker: ReplyTracker<Request>;
  /** How often each kind of request got each type of message: `execute C`. */
  readonly seen = new Map<string, number>();
  readonly #connection: RawConnection;
  readonly #random: Random;
  readonly #options: ModelOptions;
  readonly #statements = new Map<string, Prepared>();
  readonly #portals = new Map<string, Portal>();
  readonly #requests: Request[] = [];
  readonly #history: string[] = [];
  readonly #fields = new Int32Array(64);
  #nextId = 1;
  #planned: Step[] = [];
  #unsent: Buffer[] = [];
  #withheldSync = false;
  #messages = 0;
  #status = "I";
  #failure: unknown;

  constructor(connection: RawConnection, random: Random, options: ModelOptions) {
    this.#connection = connection;
    this.#random = random;
    this.#options = options;
    this.tracker = new ReplyTracker({ maxOutstanding: options.maxOutstanding });
    connection.socket.on("data", (chunk: Buffer) => this.#take(chunk));
    connection.socket.on("close", () => {
      this.#failure ??= new Error("the server closed the connection");
    });
    connection.socket.resume();
  }

  /** One random pipeline from an idle session to an idle session. */
  async run(steps: number): Promise<void> {
    this.#history.length = 0;
    this.#requests.length = 0;
    try {
      for (let count = 0; count < steps; count++) await this.#step();
      this.#planned = [];
      await this.#settle("rollback");
      await this.#settle("discard all");
      await this.#settle("listen model");
      this.#statements.clear();
      this.#portals.clear();
      assert.equal(this.#status, "I");
      for (const request of this.#requests) {
        assert.notEqual(request.fate, "open", `request ${request.id} has no end`);
      }
    } catch (error) {
      throw new Error(`${this.#history.slice(-60).join("\n")}\n`, { cause: error });
    }
  }

  async #step(): Promise<void> {
    if (this.tracker.waiting) {
      this.#flush();
      await this.#until(() => !this.tracker.waiting);
    }
    if (this.tracker.copyIn) this.#copyStep();
    else if (this.#planned.length === 0) this.#planned = nextSteps(this.#random, this.#nextId);
    const step = this.tracker.copyIn ? undefined : this.#planned.shift();
    if (step !== undefined) this.#send(step);
    if (this.#random.chance(0.4)) this.#flush();
    if (this.#random.chance(0.1)) await delay(0);
    if (this.#failure !== undefined) throw this.#failure;
  }

  #copyStep(): void {
    const id = this.tracker.head?.tag.id ?? 0;
    switch (this.#random.below(8)) {
      case 0:
        this.#withheldSync = true;
        assert.ok(this.tracker.syncIgnored());
        this.#history.push("  S withheld");
        return;
      case 1:
        this.#copyMessage("H", frontend.flush());
        return;
      case 2:
        this.#copyMessage("d bad", frontend.copyData(Buffer.from(`bad${id}\tx\n`)));
        return;
      case 3:
      case 4:
        this.#copyMessage("d", frontend.copyData(Buffer.from("1\tx\n")));
        return;
      case 5:
        this.#endCopy("f", frontend.copyFail(`given up ${id}`));
        return;
      default:
        this.#endCopy("c", frontend.copyDone());
    }
  }

  #copyMessage(what: string, frame: Buffer): void {
    if (what !== "H") this.#withheldSync = false;
    this.#history.push(`  ${what}`);
    this.#unsent.push(frame);
  }

  #endCopy(what: string, frame: Buffer): void {
    this.#copyMessage(what, frame);
    this.tracker.clientEndedCopy();
  }

  #send(step: Step): void {
    const request: Request = { id: this.#nextId++, step, fate: "open" };
    this.#history.push(`${request.id} ${step.label}`);
    if (step.kind !== undefined) {
      this.#requests.push(request);
      this.#sent(step.kind, request);
    } else {
      // CopyData and its kin outside a COPY, and Flush: the server answers nothing to them.
      this.tracker.clientEndedCopy();
    }
    this.#unsent.push(step.frame);
  }

  #sent(kind: RequestKind, request: Request): void {
    this.tracker.sent(kind, request, request.step.swallow, request.step.mayCopyIn);
  }

  #flush(): void {
    if (this.#unsent.length === 0) return;
    const bytes = Buffer.concat(this.#unsent);
    this.#unsent = [];
    const cut = this.#random.below(bytes.length + 1);
    this.#connection.socket.write(bytes.subarray(0, cut));
    this.#connection.socket.write(bytes.subarray(cut));
  }

  /** Brings the session to rest and runs a statement of its own. */
  async #settle(text: string): Promise<void> {
    this.#flush();
    await this.#until(() => !this.tracker.waiting);
    if (this.tracker.copyIn) this.#endCopy("c", frontend.copyDone());
    this.#flush();
    await this.#until(() => !this.tracker.waiting || this.tracker.copyIn);
    if (this.tracker.copyIn) return this.#settle(text);
    this.#send({ label: "S", kind: "sync", frame: frontend.sync() });
    this.#send({ label: text, kind: "query", frame: frontend.query(text) });
    this.#flush();
    await this.#until(() => this.tracker.depth === 0);
  }

  async #until(ready: () => boolean): Promise<void> {
    let seen = this.#messages;
    let silentSince = performance.now();
    while (!ready()) {
      if (this.#failure !== undefined) throw this.#failure;
      await delay(0);
      if (seen !== this.#messages) {
        seen = this.#messages;
        silentSince = performance.now();
      } else if (performance.now() - silentSince > this.#options.patienceMs) {
        throw new Error(`the server is silent, ${this.tracker.depth} replies outstanding`);
      }
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #take(chunk: Buffer): void {
    const { cursor } = this.#connection;
    try {
      cursor.push(chunk);
      while (cursor.next()) this.#message(cursor.type, cursor.buffer, cursor.start, cursor.end);
    } catch (error) {
      this.#failure ??= error;
    }
  }

  #message(type: number, buffer: Buffer, start: number, end: number): void {
    this.#messages++;
    assert.ok(isBackendType(type));
    const wasCopyIn = this.tracker.copyIn;
    const { owner, ends, skipped, unexpected } = this.tracker.received(type);
    this.#history.push(`    ${String.fromCharCode(type)} of ${owner?.tag.id ?? "-"}`);
    if (type === BACKEND.errorResponse) {
      this.#history.push(`      ${decodeErrorFields(buffer, start, end).get("M")}`);
    }
    this.#count(`${owner?.kind ?? "nothing"} ${String.fromCharCode(type)}`);
    assert.equal(unexpected, false, `unexpected ${String.fromCharCode(type)}`);
    if (owner === undefined) return;
    this.#check(owner, type, buffer, start, end);
    if (ends) {
      assert.equal(owner.tag.fate, "open");
      owner.tag.fate = "ended";
    }
    for (const one of skipped) {
      assert.equal(one.tag.fate, "open");
      one.tag.fate = "skipped";
      this.#count(`skipped ${one.kind}`);
    }
    if (wasCopyIn && type === BACKEND.errorResponse && this.#withheldSync) {
      this.#count("sync after all");
      this.#send({ label: "S after all", kind: "sync", frame: frontend.sync() });
      this.#flush();
    }
    if (!this.tracker.copyIn) this.#withheldSync = false;
  }

  #count(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1);
  }

  #check(
    owner: Outstanding<Request>,
    type: number,
    buffer: Buffer,
    start: number,
    end: number,
  ): void {
    const { id, step } = owner.tag;
    assert.equal(owner.swallow, step.swallow === true);
    switch (type) {
      case BACKEND.parseComplete:
        this.#statements.set(step.name ?? "", { id, rows: step.rows ?? 0 });
        return;
      case BACKEND.bindComplete: {
        const statement = this.#statements.get(step.name ?? "");
        assert.ok(statement, "bound to a statement that does not exist");
        this.#portals.set(step.portal ?? "", { ...statement, bindId: id });
        return;
      }
      case BACKEND.closeComplete:
        if (step.portal !== undefined) this.#portals.delete(step.portal);
        else this.#statements.delete(step.name ?? "");
        return;
      case BACKEND.rowDescription: {
        const [column] = decodeRowDescription(buffer, start, end);
        assert.equal(column?.name, this.#columnOf(owner));
        return;
      }
      case BACKEND.dataRow:
        this.#checkRow(owner, buffer, start, end);
        return;
      case BACKEND.commandComplete:
        this.#checkTag(owner, decodeCommandComplete(buffer, start, end).tag);
        return;
      case BACKEND.errorResponse:
        this.#checkError(owner, decodeErrorFields(buffer, start, end));
        return;
      case BACKEND.readyForQuery:
        this.#status = decodeReadyForQuery(buffer, start, end).status;
        if (this.#status === "I") this.#portals.clear();
        return;
    }
  }

  #columnOf({ kind, tag }: Outstanding<Request>): string {
    if (kind === "query") return `q${tag.id}`;
    if (kind === "describe-statement") return `s${this.#statements.get(tag.step.name ?? "")?.id}`;
    return `s${this.#portals.get(tag.step.portal ?? "")?.id}`;
  }

  #checkRow(owner: Outstanding<Request>, buffer: Buffer, start: number, end: number): void {
    const columns = dataRowFields(buffer, start, end, this.#fields);
    const text = (column: number) => {
      const at = this.#fields[column * 2] ?? 0;
      return buffer.toString("utf8", at, at + (this.#fields[column * 2 + 1] ?? 0));
    };
    assert.equal(text(0), this.#columnOf(owner));
    if (owner.kind !== "execute") return;
    const portal = this.#portals.get(owner.tag.step.portal ?? "");
    assert.equal(columns, 2);
    assert.equal(text(1), `b${portal?.bindId}`);
  }

  #checkTag(owner: Outstanding<Request>, tag: string): void {
    const inserted = /^INSERT 0 ([0-9]+)$/.exec(tag)?.[1];
    if (inserted === undefined) return;
    if (owner.kind === "query") {
      assert.equal(Number(inserted), owner.tag.step.rows);
    } else {
      assert.equal(Number(inserted), this.#portals.get(owner.tag.step.portal ?? "")?.rows);
    }
  }

  /** Errors that quote something of the statement must quote their owner's. */
  #checkError(owner: Outstanding<Request>, fields: ReadonlyMap<string, string>): void {
    const { id, step } = owner.tag;
    const message = fields.get("M") ?? "";
    assert.equal(fields.get("V"), "ERROR", message);
    const quoted = /\b(?:nosuch_|denied r-|given up |bad|b)([0-9]+)\b/.exec(message)?.[1];
    if (quoted === undefined) return;
    const bindId = this.#portals.get(step.portal ?? "")?.bindId;
    const expected = /\bb[0-9]+\b/.test(message) && owner.kind === "execute" ? bindId : id;
    assert.equal(Number(quoted), expected, message);
  }
}
