// The version exchange (RFC 4253 section 4.2): one line each way before the first packet; a server may
// send other lines before its own.

import type { ByteQueue } from "./byte-queue.ts";
import { SshError } from "./errors.ts";

/** @throws SshError "syntax" */
export function versionLine(software: string): string {
  if (!/^[!-,.-~]{1,64}$/.test(software)) {
    throw new SshError("syntax", "the software's name has other characters than it may");
  }
  return `SSH-2.0-${software}`;
}

/**
 * Takes the peer's version line from the input, without its line end; undefined when it is not there
 * yet. `maxBannerBytes` is what may come before it, 0 for what a client sends.
 */
export class VersionReader {
  readonly #input: ByteQueue;
  #bannerBytesLeft: number;

  constructor(input: ByteQueue, maxBannerBytes: number) {
    this.#input = input;
    this.#bannerBytesLeft = maxBannerBytes;
  }

  /** @throws SshError "version" or "limit" */
  next(): string | undefined {
    for (;;) {
      const most = Math.max(MAX_LINE_BYTES, this.#bannerBytesLeft);
      const view = this.#input.peek(Math.min(this.#input.bytes, most))!;
      const end = view.indexOf(0x0a);
      const known = Math.min(view.length, SSH.length);
      if (view.subarray(0, known).equals(SSH.subarray(0, known))) {
        if (end >= 0) return checkedVersion(this.#input.take(end + 1)!);
        if (view.length >= MAX_LINE_BYTES) throw new SshError("limit", "a version line too long");
        return undefined;
      }
      if (this.#bannerBytesLeft === 0) {
        throw new SshError("version", "the peer does not speak SSH");
      }
      if (end < 0) {
        if (view.length < this.#bannerBytesLeft) return undefined;
        throw new SshError("limit", "too much before the version line");
      }
      this.#input.take(end + 1);
      this.#bannerBytesLeft = Math.max(0, this.#bannerBytesLeft - (end + 1));
    }
  }
}

function checkedVersion(line: Buffer): string {
  if (line.length > MAX_LINE_BYTES) throw new SshError("limit", "a version line too long");
  const end = line.at(-2) === 0x0d ? line.length - 2 : line.length - 1;
  const text = line.toString("latin1", 0, end);
  if (!/^SSH-(2\.0|1\.99)-[ -~]+$/.test(text)) {
    throw new SshError("version", "the peer speaks another version of SSH");
  }
  return text;
}

const SSH = Buffer.from("SSH-", "latin1");
/** With its line end. */
const MAX_LINE_BYTES = 255;
