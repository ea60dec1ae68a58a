// The events of a recording out of its sealed pieces, held against what the log says of it: commands by
// their leaves' digests, all of it by the digest in `session.closed`.

import type { RecordingEvent } from "../core/recording.ts";
import { commandDigest, parametersDigest } from "./command-digest.ts";
import {
  chainDigest,
  createFrameReader,
  openPiece,
  pieceCounter,
  RecordingError,
  toEvent,
} from "./recording-format.ts";

/** Of the `session.closed` leaf's detail. */
export interface RecordingSummary {
  readonly pieces: number;
  /** Hex; recording-format.ts, `chainDigest`. */
  readonly digest: string;
}

/** What the log says of the session; what is given is verified. */
export interface RecordingProof {
  /** By request id: `command` and `parameters` of its `command.intent` leaf. */
  readonly commands?: ReadonlyMap<
    string,
    { readonly command?: string; readonly parameters?: string }
  >;
  /** Of the `session.closed` leaf. */
  readonly summary?: RecordingSummary;
}

/**
 * The events, in order. Throws RecordingError when a piece is missing or altered, or a digest is not the
 * log's.
 */
export function* readEvents(
  sessionId: string,
  key: Buffer,
  pieces: Iterable<Buffer>,
  proof: RecordingProof = {},
  /** `pieces` begin with this one, and what was before this time is passed over. */
  from?: { readonly piece: number; readonly t: number },
): Generator<RecordingEvent> {
  const readFrames = createFrameReader(sessionId);
  let digest: Buffer = Buffer.alloc(32);
  let count = (from?.piece ?? 1) - 1;
  for (const piece of pieces) {
    count += 1;
    if (pieceCounter(piece) !== count) throw damaged(sessionId, `piece ${count} is missing`);
    digest = chainDigest(digest, piece);
    for (const frame of readFrames(openPiece(key, sessionId, piece))) {
      if (from !== undefined && frame.t < from.t) continue;
      const event = toEvent(sessionId, frame);
      verifyCommand(sessionId, event, proof);
      yield event;
    }
  }
  const { summary } = proof;
  if (summary === undefined || from !== undefined) return;
  if (summary.pieces !== count || summary.digest !== digest.toString("hex"))
    throw damaged(sessionId, "it is not the one whose digest is in the log");
}

function verifyCommand(sessionId: string, event: RecordingEvent, proof: RecordingProof): void {
  const digests = digestsOf(event);
  if (digests === undefined) return;
  const expected = proof.commands?.get(digests.request);
  if (expected === undefined) return;
  const { command, parameters } = expected;
  const isSame =
    (command === undefined || command === digests.command) &&
    (parameters === undefined || parameters === digests.parameters);
  if (!isSame) throw damaged(sessionId, `the command ${digests.request} is not the one in the log`);
}

/** As a `command.intent` leaf has them. */
function digestsOf(
  event: RecordingEvent,
): { request: string; command: string; parameters: string } | undefined {
  const { kind } = event;
  if (kind === "command-digest") {
    const { request, sha256, parameters = parametersDigest([]) } = event;
    return { request, command: sha256, parameters };
  }
  if (kind !== "command") return undefined;
  const values = event.parameters?.map((value) =>
    value === null ? null : Buffer.from(value, "base64"),
  );
  const command = commandDigest(Buffer.from(event.bytes, "base64"));
  return { request: event.request, command, parameters: parametersDigest(values ?? []) };
}

function damaged(sessionId: string, what: string): RecordingError {
  return new RecordingError(`recording of ${sessionId}: ${what}`);
}
