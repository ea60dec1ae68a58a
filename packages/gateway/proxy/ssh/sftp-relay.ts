// SFTP between a client and the host's sftp-server, request by request: each path is made real, decided,
// and sent as it was decided. What is done with an open file was decided when it was opened. A denial is
// SSH_FX_PERMISSION_DENIED; the session goes on.
//
// Who owns the state: one a channel: the requests on their way, under numbers of our own since some are
// ours, and the files that are open. Requests are taken one after another; those that wait for a decision
// make the ones behind them wait, in the client's own window.

import { setTimeout as delay } from "node:timers/promises";
import type { RecordingLevel } from "@custody/evidence/core/recording.ts";
import { SshError } from "@custody/wire/ssh/errors.ts";
import { STDERR } from "@custody/wire/ssh/requests.ts";
import {
  decodeSftpRequest,
  decodeSftpResponse,
  encodeSftpRequest,
  encodeSftpResponse,
  SftpCursor,
} from "@custody/wire/ssh/sftp.ts";
import { type SftpOperation, type SftpRequest, STATUS } from "@custody/wire/ssh/sftp-messages.ts";
import type { Flow } from "./flow.ts";
import { unknown, type Verdict } from "./judge.ts";
import { type PathUse, pathOperation } from "./operations.ts";
import type { RelayContext } from "./relay-context.ts";
import {
  detailsOf,
  type OpenFile,
  outcomeOf,
  type SftpAnswer,
  type SftpAsked,
  SftpBook,
} from "./sftp-book.ts";
import { readMasked } from "./sftp-masked-read.ts";
import {
  isPlainRead,
  lexicalPath,
  maskableOf,
  openActions,
  type PathNeed,
  pathNeeds,
  readablePath,
} from "./sftp-paths.ts";
import { openAsDecided, RealPaths } from "./sftp-resolve.ts";
import { type Lines, plain, shown } from "./wording.ts";

export interface SftpChannel {
  readonly toTarget: Flow;
  readonly toClient: Flow;
  /** The client's channel, for the recording. */
  readonly channel: number;
  readonly level: RecordingLevel | undefined;
  /** The protocol was broken: the channel ends. */
  readonly fail: (message: string) => void;
}

interface Waiting {
  /** undefined: the answer is for us. */
  readonly clientId: number | undefined;
  readonly onAnswer: (answer: SftpAnswer) => void;
  /** The channel ended before it came. */
  readonly onLost?: () => void;
  /** A read's: its answer is contents. */
  readonly file?: OpenFile | undefined;
}

const LIMITS = { maxPacketBytes: 256 * 1024 };
const MAX_FILES = 1024;
const MAX_WAITING = 4096;
/** What the client is told the host can do: everything here is understood. */
const EXTENSIONS: ReadonlySet<string> = new Set([
  "posix-rename@openssh.com",
  "statvfs@openssh.com",
  "fstatvfs@openssh.com",
  "hardlink@openssh.com",
  "fsync@openssh.com",
  "lsetstat@openssh.com",
  "limits@openssh.com",
  "copy-data",
  "users-groups-by-id@openssh.com",
]);
const NOTHING = Buffer.alloc(0);
const DATA = 103;
const VERSION = 2;

export class SftpRelay {
  readonly #context: RelayContext;
  readonly #on: SftpChannel;
  readonly #book: SftpBook;
  readonly #paths: RealPaths;
  readonly #fromClient = new SftpCursor(LIMITS);
  readonly #fromTarget = new SftpCursor(LIMITS);
  readonly #waiting = new Map<number, Waiting>();
  readonly #files = new Map<string, OpenFile>();
  #nextId = 0;
  #isBusy = false;
  #isOver = false;
  #cancelWait: (() => void) | undefined;
  #ended: (() => void) | undefined;

  constructor(context: RelayContext, on: SftpChannel) {
    this.#context = context;
    this.#on = on;
    this.#book = new SftpBook(context, on.channel);
    this.#paths = new RealPaths((request) => this.#ask(request));
  }

  fromClient(data: Buffer): void {
    this.#fromClient.push(data);
    this.#advance();
  }

  fromTarget(data: Buffer): void {
    this.#fromTarget.push(data);
    this.#guarded(() => {
      for (let packet = this.#fromTarget.next(); packet !== undefined; ) {
        this.#onAnswer(packet);
        packet = this.#fromTarget.next();
      }
    });
  }

  /** The client sends no more; what it sent is dealt with first. */
  clientEnded(then: () => void): void {
    this.#ended = then;
    this.#advance();
  }

  over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelWait?.();
    for (const { onLost } of this.#waiting.values()) onLost?.();
    this.#waiting.clear();
    for (const file of this.#files.values()) this.#book.close(file, "lost");
    this.#files.clear();
  }

  #advance(): void {
    this.#guarded(() => {
      while (!this.#isBusy && !this.#isOver && this.#waiting.size < MAX_WAITING) {
        const packet = this.#fromClient.next();
        if (packet === undefined) break;
        this.#onRequest(packet);
      }
    });
    if (this.#isBusy || this.#waiting.size >= MAX_WAITING) return;
    const ended = this.#ended;
    this.#ended = undefined;
    ended?.();
  }

  #onRequest(packet: Buffer): void {
    const request = decodeSftpRequest(packet);
    if (request.kind === "init") {
      this.#on.toTarget.push(0, packet, packet.length);
      return;
    }
    const needs = pathNeeds(request);
    if (needs !== undefined) this.#alone(request, packet, () => this.#byPath(request, needs));
    else if (request.kind === "realpath")
      this.#alone(request, packet, () => this.#realPath(request));
    else this.#onHandleRequest(request, packet);
  }

  /** No other request of the client's is looked at meanwhile. */
  #alone(request: SftpAsked, packet: Buffer, work: () => Promise<void>): void {
    // The window is given back now: from here on one request at a time is in our hands.
    this.#on.toTarget.push(0, NOTHING, packet.length);
    this.#isBusy = true;
    work()
      .catch((thrown) => {
        if (!(thrown instanceof SshError)) this.#context.log("an SFTP request failed", thrown);
        this.#status(request.id, STATUS.failure, "internal error");
      })
      .finally(() => {
        this.#isBusy = false;
        this.#advance();
      })
      .catch((thrown) => {
        this.#context.log("an SFTP channel ended by a fault", thrown);
        this.#on.fail("Custody: internal error; the channel was closed");
      });
  }

  /** On an open file, or on none. */
  #onHandleRequest(request: SftpAsked, packet: Buffer): void {
    const refuse = (code: number, text: string) => {
      this.#on.toTarget.push(0, NOTHING, packet.length);
      this.#status(request.id, code, text);
    };
    switch (request.kind) {
      case "limits@openssh.com":
      case "users-groups-by-id@openssh.com":
        this.#forward(packet, { clientId: request.id, onAnswer: () => undefined });
        return;
      case "close":
      case "read":
      case "write":
      case "fstat":
      case "readdir":
      case "fsetstat":
      case "fsync@openssh.com":
      case "fstatvfs@openssh.com":
      case "copy-data": {
        const file = this.#files.get(request.handle.toString("latin1"));
        const why = file === undefined ? undefined : this.#refusalOf(request, file);
        if (file === undefined) refuse(STATUS.failure, "no such handle");
        else if (why !== undefined) refuse(STATUS.permissionDenied, `Custody denied it: ${why}`);
        else if (request.kind === "read" && file.masks.length > 0)
          this.#alone(request, packet, () => this.#readMasked(request, file));
        else this.#useFile(request, packet, file);
        return;
      }
      default:
        refuse(STATUS.unsupported, "Custody does not know this request");
        return;
    }
  }

  #useFile(
    request: Extract<SftpAsked, { readonly handle: Buffer }>,
    packet: Buffer,
    file: OpenFile,
  ): void {
    if (request.kind === "write") this.#book.data(file, "upload", request.data);
    if (request.kind === "close") this.#files.delete(request.handle.toString("latin1"));
    this.#forward(packet, {
      clientId: request.id,
      file: request.kind === "read" ? file : undefined,
      onAnswer: (answer) => {
        if (request.kind === "close") this.#closed(file, outcomeOf(answer));
        const to = request.kind === "copy-data" ? this.#pathOf(request.toHandle) : [];
        if (request.kind === "copy-data" || request.kind === "fsetstat")
          this.#book.event(file, request, [file.path, ...to], outcomeOf(answer));
      },
      onLost: () => {
        if (request.kind === "close") this.#book.close(file, "lost");
      },
    });
  }

  #closed(file: OpenFile, outcome: string): void {
    this.#book.close(file, outcome);
    if (file.masked.size > 0)
      this.#tell([
        `Custody masked what was found of ${[...file.masked].join(", ")} in ${file.path}`,
      ]);
  }

  #pathOf(handle: Buffer): readonly string[] {
    const file = this.#files.get(handle.toString("latin1"));
    return file === undefined ? [] : [file.path];
  }

  /** Why an open file is not used so; undefined: it may be. */
  #refusalOf(request: SftpAsked, file: OpenFile): string | undefined {
    const { untilMs } = file;
    if (request.kind === "close") return undefined;
    if (untilMs !== undefined && this.#context.clock.monotonicMs() > untilMs) {
      file.isLate = true;
      return "it was open for longer than it may be";
    }
    if (request.kind === "copy-data") {
      if (file.masks.length > 0) return "its copy would be read without masks";
      if (this.#files.get(request.toHandle.toString("latin1"))?.changes !== true)
        return "opened for reading";
    }
    // sftp-server lets attributes be changed by way of a file opened for reading.
    const changes = request.kind === "fsetstat" || request.kind === "write";
    return changes && !file.changes ? "opened for reading" : undefined;
  }

  async #readMasked(
    request: Extract<SftpAsked, { readonly kind: "read" }>,
    file: OpenFile,
  ): Promise<void> {
    const answer = await readMasked((asked) => this.#ask(asked), file.masks, request);
    if (answer.kind === "host") return this.#answer({ ...answer.answer, id: request.id });
    if (answer.kind === "unmaskable")
      return this.#status(request.id, STATUS.failure, `Custody: ${answer.why}`);
    if (this.#isTooMuch(file, answer.data.length)) return this.#refuseMore(request.id, file);
    for (const name of answer.masked) file.masked.add(name);
    this.#book.data(file, "download", answer.data);
    this.#answer({ kind: "data", id: request.id, data: answer.data });
  }

  async #byPath(request: SftpAsked, needs: readonly PathNeed[]): Promise<void> {
    const sent: Record<string, Buffer> = {};
    const uses: PathUse[] = [];
    const paths: string[] = [];
    let missing: SftpAnswer | undefined;
    for (const { field, last, actions } of needs) {
      const written = readablePath(
        (request as unknown as Record<string, Buffer>)[field] ?? NOTHING,
      );
      if (written === undefined) return this.#deny(request, "not a path in UTF-8");
      const real = await this.#paths.resolve(written, last);
      if (real.kind === "missing") missing = real.answer;
      const path =
        real.kind === "real" ? real.path : lexicalPath(await this.#paths.home(), written);
      uses.push(...actions.map((action) => ({ action, path })));
      paths.push(path);
      sent[field] = Buffer.from(path, "utf8");
    }
    // Where a link leads to is for whoever follows it; here it is shown and written down.
    if (request.kind === "symlink") paths.push(plain(request.target.toString("utf8")));
    const asked = { ...request, ...sent } as SftpAsked;
    const verdict = await this.#judge(asked, uses, paths);
    this.#cancelWait = undefined;
    if (this.#isOver) {
      const { requestId } = verdict;
      if (verdict.verdict === "permit")
        this.#context.judge.book.endCommand({ requestId, outcome: "skipped" });
      return;
    }
    if (verdict.verdict === "deny") {
      if (!isPlainRead(request)) this.#tell(verdict.lines);
      return this.#status(request.id, STATUS.permissionDenied, verdict.lines[0] ?? "");
    }
    if (missing !== undefined) {
      this.#book.finish(verdict, request, paths, outcomeOf(missing));
      return this.#answer({ ...missing, id: request.id });
    }
    if (verdict.isApproved && !(await this.#areStill(asked, needs).catch(() => false))) {
      this.#context.judge.book.endCommand({ requestId: verdict.requestId, outcome: "skipped" });
      const why = "Custody denied it: what was approved is no longer there; not executed";
      this.#tell([why, `  request ${verdict.requestId}; ask again`]);
      return this.#status(request.id, STATUS.permissionDenied, why);
    }
    const opens = asked.kind === "open" || asked.kind === "opendir";
    if (opens || verdict.permit.obligations.timeoutMs !== undefined)
      return this.#do(asked, verdict, paths);
    const id = this.#wait({
      clientId: request.id,
      onAnswer: (answer) => this.#book.finish(verdict, asked, paths, outcomeOf(answer)),
      onLost: () =>
        this.#context.judge.book.endCommand({ requestId: verdict.requestId, outcome: "lost" }),
    });
    this.#on.toTarget.push(0, encodeSftpRequest({ ...asked, id } as SftpRequest), 0);
  }

  /** While people decided, a folder on the way may have become a link to somewhere else. */
  async #areStill(asked: SftpAsked, needs: readonly PathNeed[]): Promise<boolean> {
    for (const { field, last } of needs) {
      const decided = (asked as unknown as Record<string, Buffer>)[field]?.toString("utf8") ?? "";
      if (!(await this.#paths.isStill(decided, last))) return false;
    }
    return !this.#isOver;
  }

  #judge(request: SftpAsked, uses: readonly PathUse[], paths: readonly string[]): Promise<Verdict> {
    const { judge, site } = this.#context;
    const command = [request.kind, ...paths, ...detailsOf(request)].join(" ");
    // All of the message but its number is what people consent to (I8).
    const bytes = encodeSftpRequest({ ...request, id: 0 } as SftpRequest).toString("base64");
    return judge.judge({
      operation:
        pathOperation(site, uses, maskableOf(request)) ??
        unknown(`sftp ${request.kind}`, "the path is nested too deep"),
      ...{ command, bound: [command, bytes] },
      durability: isPlainRead(request) ? "ordered" : "strict",
      tell: (lines) => this.#tell(lines),
      onWait: (cancel) => {
        this.#cancelWait = cancel;
      },
    });
  }

  /** What is looked at once more when it is done, or has to be done in time. */
  async #do(asked: SftpAsked, verdict: Permitted, paths: readonly string[]): Promise<void> {
    const { requestId } = verdict;
    const doing = this.#answerTo(asked);
    const { timeoutMs } = verdict.permit.obligations;
    const answer = await within(doing, timeoutMs).catch((thrown) => {
      this.#context.judge.book.endCommand({ requestId, outcome: "lost" });
      throw thrown;
    });
    if (answer === "late") {
      doing.then(
        (late) => typeof late !== "string" && this.#abandon(late),
        () => undefined,
      );
      this.#book.finish(verdict, asked, paths, "timed-out");
      return this.#deny(asked, "it took longer than it may");
    }
    if (answer === "moved") {
      this.#book.finish(verdict, asked, paths, "moved");
      this.#tell(["Custody denied it: a link took its place while it was opened"]);
      return this.#deny(asked, "a link took its place while it was opened");
    }
    if (answer.kind === "handle") this.#opened(asked, verdict, paths, answer.handle);
    else this.#book.finish(verdict, asked, paths, outcomeOf(answer));
    this.#answer({ ...answer, id: asked.id });
  }

  #answerTo(asked: SftpAsked): Promise<SftpAnswer | "moved"> {
    const ask = (request: SftpOperation) => this.#ask(request);
    return asked.kind === "open" || asked.kind === "opendir"
      ? openAsDecided(ask, this.#paths, asked)
      : ask(asked);
  }

  /** It came too late to be of use to anybody. */
  #abandon(answer: SftpAnswer): void {
    if (answer.kind !== "handle" || this.#isOver) return;
    this.#ask({ kind: "close", handle: answer.handle }).catch(() => undefined);
  }

  #opened(request: SftpAsked, verdict: Permitted, paths: readonly string[], opened: Buffer): void {
    const { level, masks, permit, requestId } = verdict;
    const { maxBytes, timeoutMs } = permit.obligations;
    const { clock } = this.#context;
    const file: OpenFile = {
      ...{ path: paths[0] ?? "", requestId, level, bytes: 0, maxBytes, isLate: false },
      untilMs: timeoutMs === undefined ? undefined : clock.monotonicMs() + timeoutMs,
      ...{ masks, masked: new Set() },
      changes: request.kind === "open" && openActions(request.flags).includes("sftp_write"),
    };
    this.#book.event(verdict, request, paths, "ok");
    const handle = opened.toString("latin1");
    if (this.#files.has(handle)) {
      this.#book.close(file, "lost");
      throw new SshError("sequence", "the host gives one handle to two files");
    }
    this.#files.set(handle, file);
    if (this.#files.size > MAX_FILES) this.#on.fail("Custody: too many open files");
  }

  /** Where a path leads to is told to whoever may look there; to others what they wrote. */
  async #realPath(request: { readonly id: number; readonly path: Buffer }): Promise<void> {
    const written = readablePath(request.path);
    if (written === undefined) return this.#deny(request, "not a path in UTF-8");
    const home = await this.#paths.home();
    const lexical = lexicalPath(home, written);
    let path = lexical;
    if (lexical !== home) {
      const real = await this.#paths.resolve(written, "follow");
      const found = real.kind === "real" ? real.path : lexical;
      const uses = [{ action: "sftp_list" as const, path: found }];
      const operation = pathOperation(this.#context.site, uses, true);
      const may = operation !== undefined && this.#context.judge.permits(operation);
      if (may && real.kind === "missing") return this.#answer({ ...real.answer, id: request.id });
      if (may) path = found;
    }
    const name = Buffer.from(path, "utf8");
    this.#answer({ kind: "name", id: request.id, names: [{ name, line: name, attributes: {} }] });
  }

  /** A request of the gateway's own. */
  #ask(request: SftpOperation): Promise<SftpAnswer> {
    return new Promise((resolve, reject) => {
      const onLost = () => reject(new SshError("sequence", "the channel has ended"));
      if (this.#isOver) return onLost();
      const id = this.#wait({ clientId: undefined, onAnswer: resolve, onLost });
      this.#on.toTarget.push(0, encodeSftpRequest({ ...request, id } as SftpRequest), 0);
    });
  }

  #onAnswer(packet: Buffer): void {
    if (packet[4] === VERSION) {
      this.#onVersion(packet);
      return;
    }
    if (packet.length < 9) throw new SshError("truncated", "an SFTP answer without an id");
    const id = packet.readUInt32BE(5);
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) throw new SshError("sequence", "an SFTP answer to no request");
    this.#waiting.delete(id);
    const { clientId, file, onAnswer } = waiting;
    if (file !== undefined && packet[4] === DATA) {
      if (this.#isTooMuch(file, packet.length - DATA_FROM)) {
        this.#on.toClient.push(0, NOTHING, packet.length);
        this.#refuseMore(clientId ?? 0, file);
        this.#advance();
        return;
      }
      this.#book.data(file, "download", packet.subarray(DATA_FROM));
    } else {
      const answer = decodeSftpResponse(packet);
      if (answer.kind === "version") throw new SshError("sequence", "a second version");
      onAnswer(answer);
    }
    if (clientId === undefined) this.#on.toClient.push(0, NOTHING, packet.length);
    else {
      packet.writeUInt32BE(clientId, 5);
      this.#on.toClient.push(0, packet, packet.length);
    }
    this.#advance();
  }

  #isTooMuch({ bytes, maxBytes }: OpenFile, more: number): boolean {
    return maxBytes !== undefined && bytes + more > maxBytes;
  }

  #refuseMore(id: number, { maxBytes }: OpenFile): void {
    const why = `Custody denied it: no more than ${maxBytes} bytes are read of one file`;
    this.#status(id, STATUS.permissionDenied, why);
  }

  #onVersion(packet: Buffer): void {
    const version = decodeSftpResponse(packet);
    if (version.kind !== "version" || version.version !== 3)
      throw new SshError("version", "the host speaks another version of SFTP than 3");
    const extensions = version.extensions.filter(({ name }) =>
      EXTENSIONS.has(name.toString("latin1")),
    );
    this.#on.toClient.push(0, encodeSftpResponse({ ...version, extensions }), packet.length);
  }

  #forward(packet: Buffer, waiting: Waiting): void {
    const id = this.#wait(waiting);
    packet.writeUInt32BE(id, 5);
    this.#on.toTarget.push(0, packet, packet.length);
  }

  #wait(waiting: Waiting): number {
    const id = this.#nextId;
    this.#nextId = (this.#nextId + 1) >>> 0;
    this.#waiting.set(id, waiting);
    return id;
  }

  #deny({ id }: Pick<SftpAsked, "id">, why: string): void {
    this.#status(id, STATUS.permissionDenied, `Custody denied it: ${why}`);
  }

  #status(id: number, code: number, text: string): void {
    const message = Buffer.from(plain(text), "utf8");
    this.#answer({ kind: "status", id, code, message, language: NOTHING });
  }

  #answer(answer: SftpAnswer): void {
    this.#on.toClient.push(0, encodeSftpResponse(answer), 0);
  }

  #tell(lines: Lines): void {
    this.#on.toClient.push(STDERR, shown(lines, false), 0);
  }

  #guarded(work: () => void): void {
    if (this.#isOver) return;
    try {
      work();
    } catch (thrown) {
      if (!(thrown instanceof SshError)) throw thrown;
      this.#on.fail(`Custody: ${plain(thrown.message)}`);
    }
  }
}

type Permitted = Extract<Verdict, { verdict: "permit" }>;

/** A packet's length, type and id, and the length of what is in it. */
const DATA_FROM = 13;

async function within<T>(doing: Promise<T>, limitMs: number | undefined): Promise<T | "late"> {
  if (limitMs === undefined) return doing;
  const timer = new AbortController();
  const late = delay(limitMs, "late" as const, { signal: timer.signal }).catch(() => doing);
  return Promise.race([doing, late]).finally(() => timer.abort());
}
