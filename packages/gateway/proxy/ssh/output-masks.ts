// Masks on what a command writes: stdout and stderr, each a text of its own. The client is told what was
// masked, so that nobody takes what it got for what the command wrote.
//
// Who owns the state: one a command.

import { STDERR } from "@custody/wire/ssh/requests.ts";
import type { Detection } from "../../masking/nets.ts";
import { createStreamMask, type StreamMask } from "../../masking/stream-mask.ts";
import type { Lines } from "./wording.ts";

const STDOUT = 0;

export class OutputMasks {
  readonly #streams: ReadonlyMap<number, StreamMask>;
  #hasEnded = false;

  constructor(detections: readonly Detection[]) {
    this.#streams = new Map(
      [STDOUT, STDERR].map((stream) => [stream, createStreamMask(detections)]),
    );
  }

  /** What may go on now. Throws GatewayError "limit" for what cannot be masked. */
  pass(stream: number, data: Buffer): Buffer {
    // No other stream is defined (RFC 4254 section 5.2), and none is let through unmasked.
    return this.#streams.get(stream)?.push(data) ?? data.subarray(0, 0);
  }

  /** The rest of each stream, once. */
  end(): readonly { readonly stream: number; readonly data: Buffer }[] {
    if (this.#hasEnded) return [];
    this.#hasEnded = true;
    return [...this.#streams].map(([stream, mask]) => ({ stream, data: mask.end() }));
  }

  get classes(): ReadonlySet<string> {
    return new Set(this.#counts().keys());
  }

  /** For the client; nothing when nothing was masked. */
  get summary(): Lines {
    const counts = [...this.#counts()].sort().map(([name, count]) => `${name} (${count})`);
    return counts.length === 0 ? [] : [`Custody masked what was found of ${counts.join(", ")}`];
  }

  #counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { found } of this.#streams.values())
      for (const [name, count] of found) counts.set(name, (counts.get(name) ?? 0) + count);
    return counts;
  }
}
