// SFTP between a client and the host's sftp-server, request by request: each path is made real, decided,
// and sent as it was decided. What is done with an open file was decided when it was opened. A denial is
// SSH_FX_PERMISSION_DENIED; the session goes on.
//
// Who owns the state: one a channel: the requests on their way, under numbers of our own since some are
// ours, and the files that are open. Requests are taken one after another; those that wait for a decision
// make the ones behind them wait, in the client's own window.

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
import {
  type SftpOperation,
  type SftpRequest,
  type SftpResponse,
  STATUS,
} from "@custody/wire/ssh/sftp-messages.ts";
import type { Flow } from "./flow.ts";
import { unknown, type Verdict } from "./judge.ts";
import { type PathUse, pathOperation } from "./operations.ts";
import type { RelayContext } from "./relay-context.ts";
import {
  isPlainRead,
  lexicalPath,
  openActions,
  openFlagNames,
  type PathNeed,
  pathNeeds,
  readablePath,
  splitPath,
} from "./sftp-paths.ts";
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

type WithId = Extract<SftpRequest, { readonly id: number }>;
type Answer = Extract<SftpResponse, { readonly id: number }>;

interface OpenFile {
  readonly path: string;
  readonly requestId: string;
  readonly level: RecordingLevel | undefined;
  readonly changes: boolean;
  /** Of what is read of it. */
  readonly maxBytes: number | undefined;
  bytes: number;
}

interface Waiting {
  /** undefined: the answer is for us. */
  readonly clientId: number | undefined;
  readonly onAnswer: (answer: Answer) => void;
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
  readonly #fromClient = new SftpCursor(LIMITS);
  readonly #fromTarget = new SftpCursor(LIMITS);
  readonly #waiting = new Map<number, Waiting>();
  readonly #files = new Map<string, OpenFile>();
  #nextId = 0;
  #home: string | undefined;
  #isBusy = false;
  #isOver = false;
  #ended: (() => void) | undefined;

  constructor(context: RelayContext, on: SftpChannel) {
    this.#context = context;
    this.#on = on;
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
    for (const { onLost } of this.#waiting.values()) onLost?.();
    this.#waiting.clear();
    for (const file of this.#files.values()) this.#closeFile(file, "lost");
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
    if (needs === undefined && request.kind !== "realpath") {
      this.#onHandleRequest(request, packet);
      return;
    }
    // The window is given back now: from here on one request at a time is in our hands.
    this.#on.toTarget.push(0, NOTHING, packet.length);
    this.#isBusy = true;
    const work = needs === undefined ? this.#realPath(request) : this.#byPath(request, needs);
    work
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
  #onHandleRequest(request: WithId, packet: Buffer): void {
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
        if (file === undefined) {
          refuse(STATUS.failure, "no such handle");
          return;
        }
        if (!this.#mayUse(request, file)) {
          refuse(STATUS.permissionDenied, "Custody denied it: opened for reading");
          return;
        }
        if (request.kind === "write") this.#recordData(file, "upload", request.data);
        if (request.kind === "close") this.#files.delete(request.handle.toString("latin1"));
        this.#forward(packet, {
          clientId: request.id,
          file: request.kind === "read" ? file : undefined,
          onAnswer: (answer) => {
            if (request.kind === "close") this.#closeFile(file, outcomeOf(answer));
            const to = request.kind === "copy-data" ? this.#pathOf(request.toHandle) : [];
            if (request.kind === "copy-data" || request.kind === "fsetstat")
              this.#event(file, request, [file.path, ...to], outcomeOf(answer));
          },
          onLost: () => {
            if (request.kind === "close") this.#closeFile(file, "lost");
          },
        });
        return;
      }
      default:
        refuse(STATUS.unsupported, "Custody does not know this request");
        return;
    }
  }

  #pathOf(handle: Buffer): readonly string[] {
    const file = this.#files.get(handle.toString("latin1"));
    return file === undefined ? [] : [file.path];
  }

  /** sftp-server lets attributes be changed by way of a file opened for reading. */
  #mayUse(request: WithId, file: OpenFile): boolean {
    if (request.kind === "copy-data")
      return this.#files.get(request.toHandle.toString("latin1"))?.changes === true;
    if (request.kind !== "fsetstat" && request.kind !== "write") return true;
    return file.changes;
  }

  async #byPath(request: WithId, needs: readonly PathNeed[]): Promise<void> {
    const sent: Record<string, Buffer> = {};
    const uses: PathUse[] = [];
    const paths: string[] = [];
    let missing: Answer | undefined;
    for (const { field, last, actions } of needs) {
      const written = readablePath(
        (request as unknown as Record<string, Buffer>)[field] ?? NOTHING,
      );
      if (written === undefined)
        return this.#status(
          request.id,
          STATUS.permissionDenied,
          "Custody denied it: not a path in UTF-8",
        );
      const real = await this.#resolve(written, last);
      if (real.kind === "missing") missing = real.answer;
      const path = real.kind === "real" ? real.path : lexicalPath(await this.#homePath(), written);
      uses.push(...actions.map((action) => ({ action, path })));
      paths.push(path);
      sent[field] = Buffer.from(path, "utf8");
    }
    // Where a link leads to is for whoever follows it; here it is shown and written down.
    if (request.kind === "symlink") paths.push(plain(request.target.toString("utf8")));
    const asked = { ...request, ...sent } as WithId;
    const verdict = await this.#judge(asked, uses, paths);
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
      this.#finishRequest(verdict, request, paths, missing);
      return this.#answer({ ...missing, id: request.id });
    }
    if (verdict.isApproved && !(await this.#areStill(asked, needs).catch(() => false))) {
      this.#context.judge.book.endCommand({ requestId: verdict.requestId, outcome: "skipped" });
      const why = "Custody denied it: what was approved is no longer there; not executed";
      this.#tell([why, `  request ${verdict.requestId}; ask again`]);
      return this.#status(request.id, STATUS.permissionDenied, why);
    }
    const id = this.#wait({
      clientId: request.id,
      onAnswer: (answer) => this.#onPathAnswer(request, verdict, paths, answer),
      onLost: () =>
        this.#context.judge.book.endCommand({ requestId: verdict.requestId, outcome: "lost" }),
    });
    this.#on.toTarget.push(0, encodeSftpRequest({ ...asked, id } as SftpRequest), 0);
  }

  /** While people decided, a folder on the way may have become a link to somewhere else. */
  async #areStill(asked: WithId, needs: readonly PathNeed[]): Promise<boolean> {
    for (const { field, last } of needs) {
      const decided = (asked as unknown as Record<string, Buffer>)[field]?.toString("utf8") ?? "";
      const real = await this.#resolve(decided, last);
      if (real.kind !== "real" || real.path !== decided) return false;
    }
    return !this.#isOver;
  }

  #judge(request: WithId, uses: readonly PathUse[], paths: readonly string[]): Promise<Verdict> {
    const { judge, site } = this.#context;
    const command = [request.kind, ...paths, ...detailsOf(request)].join(" ");
    // All of the message but its number is what people consent to (I8).
    const bytes = encodeSftpRequest({ ...request, id: 0 } as SftpRequest).toString("base64");
    return judge.judge({
      operation:
        pathOperation(site, uses) ?? unknown(`sftp ${request.kind}`, "the path is nested too deep"),
      ...{ command, bound: [command, bytes] },
      durability: isPlainRead(request) ? "ordered" : "strict",
      tell: (lines) => this.#tell(lines),
    });
  }

  #onPathAnswer(
    request: WithId,
    verdict: Extract<Verdict, { verdict: "permit" }>,
    paths: readonly string[],
    answer: Answer,
  ): void {
    const opens = request.kind === "open" || request.kind === "opendir";
    if (!opens || answer.kind !== "handle") {
      this.#finishRequest(verdict, request, paths, answer);
      return;
    }
    const { requestId, level } = verdict;
    const file: OpenFile = {
      ...{ path: paths[0] ?? "", requestId, level, bytes: 0 },
      maxBytes: verdict.permit.obligations.maxBytes,
      changes: request.kind === "open" && openActions(request.flags).includes("sftp_write"),
    };
    this.#event(verdict, request, paths, "ok");
    const handle = answer.handle.toString("latin1");
    if (this.#files.has(handle)) {
      this.#closeFile(file, "lost");
      throw new SshError("sequence", "the host gives one handle to two files");
    }
    this.#files.set(handle, file);
    if (this.#files.size > MAX_FILES) this.#on.fail("Custody: too many open files");
  }

  #finishRequest(
    verdict: Extract<Verdict, { verdict: "permit" }>,
    request: WithId,
    paths: readonly string[],
    answer: Answer,
  ): void {
    const outcome = outcomeOf(answer);
    this.#event(verdict, request, paths, outcome);
    this.#context.judge.book.endCommand({ requestId: verdict.requestId, outcome });
  }

  /** Where a path leads to is told to whoever may look there; to others what they wrote. */
  async #realPath(request: WithId): Promise<void> {
    if (request.kind !== "realpath") return;
    const written = readablePath(request.path);
    if (written === undefined)
      return this.#status(
        request.id,
        STATUS.permissionDenied,
        "Custody denied it: not a path in UTF-8",
      );
    const home = await this.#homePath();
    const lexical = lexicalPath(home, written);
    let path = lexical;
    if (lexical !== home) {
      const real = await this.#resolve(written, "follow");
      const found = real.kind === "real" ? real.path : lexical;
      const operation = pathOperation(this.#context.site, [{ action: "sftp_list", path: found }]);
      const may = operation !== undefined && this.#context.judge.permits(operation);
      if (may && real.kind === "missing") return this.#answer({ ...real.answer, id: request.id });
      if (may) path = found;
    }
    const name = Buffer.from(path, "utf8");
    this.#answer({ kind: "name", id: request.id, names: [{ name, line: name, attributes: {} }] });
  }

  async #homePath(): Promise<string> {
    if (this.#home !== undefined) return this.#home;
    const real = await this.#askRealPath(".");
    if (real.kind !== "real") throw new SshError("syntax", "the host does not tell its folder");
    this.#home = real.path;
    return real.path;
  }

  async #resolve(written: string, last: PathNeed["last"]): Promise<Real> {
    const split = last === "itself" ? splitPath(written) : undefined;
    if (split === undefined) return this.#askRealPath(written);
    const folder = await this.#askRealPath(split.folder);
    if (folder.kind !== "real") return folder;
    return { kind: "real", path: `${folder.path === "/" ? "" : folder.path}/${split.name}` };
  }

  #askRealPath(path: string): Promise<Real> {
    return new Promise((resolve, reject) => {
      const id = this.#wait({
        clientId: undefined,
        onLost: () => reject(new SshError("sequence", "the channel has ended")),
        onAnswer(answer) {
          if (answer.kind !== "name") return resolve({ kind: "missing", answer });
          const real = readablePath(answer.names[0]?.name ?? NOTHING);
          if (answer.names.length !== 1 || real?.startsWith("/") !== true)
            return reject(new SshError("syntax", "the host gives a path that is none"));
          resolve({ kind: "real", path: lexicalPath("/", real) });
        },
      });
      const packet = encodeSftpRequest({
        kind: "realpath",
        id,
        path: Buffer.from(path === "" ? "." : path, "utf8"),
      });
      this.#on.toTarget.push(0, packet, 0);
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
    if (waiting.file !== undefined && packet[4] === DATA) {
      const { bytes, maxBytes } = waiting.file;
      if (maxBytes !== undefined && bytes + packet.length - 13 > maxBytes) {
        this.#on.toClient.push(0, NOTHING, packet.length);
        const why = `Custody denied it: no more than ${maxBytes} bytes are read of one file`;
        this.#status(waiting.clientId ?? 0, STATUS.permissionDenied, why);
        this.#advance();
        return;
      }
      this.#recordData(waiting.file, "download", packet.subarray(13));
    } else {
      const answer = decodeSftpResponse(packet);
      if (answer.kind === "version") throw new SshError("sequence", "a second version");
      waiting.onAnswer(answer);
    }
    if (waiting.clientId === undefined) this.#on.toClient.push(0, NOTHING, packet.length);
    else {
      packet.writeUInt32BE(waiting.clientId, 5);
      this.#on.toClient.push(0, packet, packet.length);
    }
    this.#advance();
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

  #status(id: number, code: number, text: string): void {
    const message = Buffer.from(plain(text), "utf8");
    this.#answer({ kind: "status", id, code, message, language: NOTHING });
  }

  #answer(answer: Answer): void {
    this.#on.toClient.push(0, encodeSftpResponse(answer), 0);
  }

  #tell(lines: Lines): void {
    this.#on.toClient.push(STDERR, shown(lines, false), 0);
  }

  #recordData(file: OpenFile, stream: "upload" | "download", data: Buffer): void {
    file.bytes += data.length;
    this.#context.recorder.data(file.requestId, this.#on.channel, stream, data, file.level);
  }

  #closeFile(file: OpenFile, outcome: string): void {
    const { bytes, requestId } = file;
    this.#context.recorder.endData(requestId, this.#on.channel);
    this.#context.judge.book.endCommand({ requestId, outcome, bytes });
  }

  #event(
    { requestId, level }: Pick<OpenFile, "requestId" | "level">,
    request: WithId,
    paths: readonly string[],
    status: string,
  ): void {
    const [path, to] = paths;
    const flags = detailsOf(request);
    this.#context.recorder.typed({
      ...{ kind: "sftp", request: requestId, channel: this.#on.channel },
      ...{ operation: request.kind, status },
      ...(level === "digest" || path === undefined ? {} : { path }),
      ...(level === "digest" || to === undefined ? {} : { to }),
      ...(flags.length === 0 ? {} : { flags }),
    });
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

type Real =
  | { readonly kind: "real"; readonly path: string }
  /** The host's own answer why there is none. */
  | { readonly kind: "missing"; readonly answer: Answer };

/** What is asked beside the paths: flags by name, and attributes as `permissions=4755`. */
function detailsOf(request: SftpOperation): string[] {
  const flags = request.kind === "open" ? openFlagNames(request.flags) : [];
  if (!("attributes" in request)) return flags;
  const { extended, owner, permissions, size, times } = request.attributes;
  return [
    flags,
    size === undefined ? [] : `size=${size}`,
    owner === undefined ? [] : `owner=${owner.uid}:${owner.gid}`,
    permissions === undefined ? [] : `permissions=${permissions.toString(8)}`,
    times === undefined ? [] : `times=${times.accessed}:${times.modified}`,
    extended === undefined ? [] : `extended=${extended.length}`,
  ].flat();
}

const STATUS_NAMES = new Map<number, string>(
  Object.entries(STATUS).map(([name, code]) => [
    code,
    name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  ]),
);

function outcomeOf(answer: Answer): string {
  if (answer.kind !== "status") return "ok";
  return STATUS_NAMES.get(answer.code) ?? `status ${answer.code}`;
}
