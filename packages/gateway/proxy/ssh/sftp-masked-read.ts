// What is read of a file with masks: as much around the range asked for as a value can reach, masked, and of
// that the range. Masks have the length of what they stand for, so that sizes and offsets stay true, and
// whether a byte is masked depends on what stands around it alone: no value is cut by how a file is read. One
// that is being written while it is read may be (docs/guides/ssh.md).

import { STATUS } from "@custody/wire/ssh/sftp-messages.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Detection } from "../../masking/nets.ts";
import { createStreamMask, reachOf } from "../../masking/stream-mask.ts";
import type { SftpAnswer } from "./sftp-book.ts";
import type { AskHost } from "./sftp-resolve.ts";

export interface MaskedRead {
  readonly handle: Buffer;
  readonly offset: bigint;
  readonly length: number;
}

export type MaskedAnswer =
  | { readonly kind: "data"; readonly data: Buffer; readonly masked: readonly string[] }
  /** The host's own answer: the end of the file, or why not. */
  | { readonly kind: "host"; readonly answer: SftpAnswer }
  | { readonly kind: "unmaskable"; readonly why: string };

/** As OpenSSH's server has it: more than this is not read at once. */
const MAX_LENGTH = 255 * 1024;
const PIECE_BYTES = 128 * 1024;

export async function readMasked(
  ask: AskHost,
  detections: readonly Detection[],
  { handle, offset, length }: MaskedRead,
): Promise<MaskedAnswer> {
  const wanted = Math.min(length, MAX_LENGTH);
  const reach = reachOf(detections);
  const before = offset < BigInt(reach) ? Number(offset) : reach;
  const from = offset - BigInt(before);
  const read = await readAll(ask, handle, from, before + wanted + reach);
  // Where something else than its end stops it, what stands behind is not known.
  const isWhole = read.end === undefined || isEndOfFile(read.end);
  if (!isWhole || read.bytes.length <= before)
    return { kind: "host", answer: read.end ?? endOfFile() };
  const range = { from: before, to: Math.min(before + wanted, read.bytes.length) };
  try {
    return maskedRange(detections, read.bytes, range);
  } catch (thrown) {
    if (!(thrown instanceof GatewayError)) throw thrown;
    return { kind: "unmaskable", why: thrown.message };
  }
}

function maskedRange(
  detections: readonly Detection[],
  bytes: Buffer,
  { from, to }: { readonly from: number; readonly to: number },
): MaskedAnswer {
  const mask = createStreamMask(detections, "same-length");
  const data = Buffer.concat([mask.push(bytes), mask.end()]).subarray(from, to);
  const isChanged = !data.equals(bytes.subarray(from, to));
  return { kind: "data", data, masked: isChanged ? [...mask.found.keys()] : [] };
}

/** Until there is so much or no more; `end`: why there is no more. */
async function readAll(
  ask: AskHost,
  handle: Buffer,
  from: bigint,
  length: number,
): Promise<{ readonly bytes: Buffer; readonly end: SftpAnswer | undefined }> {
  const pieces: Buffer[] = [];
  let got = 0;
  while (got < length) {
    const answer = await ask({
      kind: "read",
      ...{ handle, offset: from + BigInt(got), length: Math.min(PIECE_BYTES, length - got) },
    });
    if (answer.kind !== "data" || answer.data.length === 0)
      return { bytes: Buffer.concat(pieces), end: answer.kind === "data" ? undefined : answer };
    pieces.push(answer.data);
    got += answer.data.length;
  }
  return { bytes: Buffer.concat(pieces), end: undefined };
}

function isEndOfFile(answer: SftpAnswer): boolean {
  return answer.kind === "status" && answer.code === STATUS.eof;
}

function endOfFile(): SftpAnswer {
  const nothing = Buffer.alloc(0);
  return { kind: "status", id: 0, code: STATUS.eof, message: nothing, language: nothing };
}
