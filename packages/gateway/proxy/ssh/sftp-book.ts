// What is written down about SFTP: what was done in the recording, how each request ended in the log, and
// what is read and written of open files in both.
//
// Who owns the state: none of its own; of an open file the relay (sftp-relay.ts).

import type { RecordingLevel } from "@custody/evidence/core/recording.ts";
import type { SftpOperation, SftpRequest, SftpResponse } from "@custody/wire/ssh/sftp-messages.ts";
import { STATUS } from "@custody/wire/ssh/sftp-messages.ts";
import type { Detection } from "../../masking/nets.ts";
import type { RelayContext } from "./relay-context.ts";
import { openFlagNames } from "./sftp-paths.ts";

export type SftpAsked = Extract<SftpRequest, { readonly id: number }>;
export type SftpAnswer = Extract<SftpResponse, { readonly id: number }>;

export interface OpenFile {
  readonly path: string;
  readonly requestId: string;
  readonly level: RecordingLevel | undefined;
  readonly changes: boolean;
  /** Of what is read of it. */
  readonly maxBytes: number | undefined;
  /** By the monotonic clock: then it is used no more. */
  readonly untilMs: number | undefined;
  /** Of what is read of it. */
  readonly masks: readonly Detection[];
  /** Classes of which something was masked. */
  readonly masked: Set<string>;
  bytes: number;
  /** Somebody wanted to use it for longer than it may be. */
  isLate: boolean;
}

export class SftpBook {
  readonly #context: Pick<RelayContext, "recorder" | "judge">;
  readonly #channel: number;

  /** `channel`: the client's. */
  constructor(context: Pick<RelayContext, "recorder" | "judge">, channel: number) {
    this.#context = context;
    this.#channel = channel;
  }

  /** As the client sends or gets it. */
  data(file: OpenFile, stream: "upload" | "download", data: Buffer): void {
    file.bytes += data.length;
    this.#context.recorder.data(file.requestId, this.#channel, stream, data, file.level);
  }

  /** Its last. */
  close(file: OpenFile, outcome: string): void {
    const { bytes, isLate, masked, requestId } = file;
    this.#context.recorder.endData(requestId, this.#channel);
    const end = { requestId, outcome: isLate ? "timed-out" : outcome, bytes, masked };
    this.#context.judge.book.endCommand(end);
  }

  /** That the request ended, and how. */
  finish(
    { level, requestId }: Pick<OpenFile, "requestId" | "level">,
    request: SftpAsked,
    paths: readonly string[],
    outcome: string,
  ): void {
    this.event({ level, requestId }, request, paths, outcome);
    this.#context.judge.book.endCommand({ requestId, outcome });
  }

  event(
    { requestId, level }: Pick<OpenFile, "requestId" | "level">,
    request: SftpAsked,
    paths: readonly string[],
    status: string,
  ): void {
    const [path, to] = paths;
    const flags = detailsOf(request);
    this.#context.recorder.typed({
      ...{ kind: "sftp", request: requestId, channel: this.#channel },
      ...{ operation: request.kind, status },
      ...(level === "digest" || path === undefined ? {} : { path }),
      ...(level === "digest" || to === undefined ? {} : { to }),
      ...(flags.length === 0 ? {} : { flags }),
    });
  }
}

/** What is asked beside the paths: flags by name, and attributes as `permissions=4755`. */
export function detailsOf(request: SftpOperation): string[] {
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

export function outcomeOf(answer: SftpAnswer): string {
  if (answer.kind !== "status") return "ok";
  return STATUS_NAMES.get(answer.code) ?? `status ${answer.code}`;
}
