// Masks on what containers write, where a permit asks for them (`@mask`): logs, and the output of commands,
// stdout and stderr each a text of its own. A net for accidents, as masking/stream-mask.ts says.
//
// Who owns the state: one a request.

import type { Denial, Operation, Permit } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Detection } from "../../masking/nets.ts";
import { createStreamMask, type StreamMask } from "../../masking/stream-mask.ts";
import type { KubernetesTarget } from "../../target/target.ts";

export type OutputPiece = "stdout" | "stderr";

/** What a permit wants masked and the target cannot find, so that it permits nothing; undefined: all can be. */
export function undetected(
  { detect = [], name }: KubernetesTarget,
  operation: Operation,
  { obligations, policyIds }: Permit,
): Denial | undefined {
  const missing = (obligations.mask ?? []).find(
    (className) => !detect.some((one) => one.class === className),
  );
  if (missing === undefined) return undefined;
  const message = `it is permitted with ${missing} masked, which target ${name} does not detect (policies ${policyIds.join(", ")})`;
  return {
    ...{ kind: "classified", what: operation.summary, policyId: undefined, message },
    ...{ hop: undefined, hopLabel: undefined },
  };
}

export function detectionsFor(
  { detect = [] }: KubernetesTarget,
  { obligations }: Permit,
): readonly Detection[] {
  const { mask = [] } = obligations;
  return detect.filter((one) => mask.includes(one.class));
}

export class OutputMasks {
  readonly #streams: ReadonlyMap<OutputPiece, StreamMask>;
  readonly #ended = new Set<OutputPiece>();

  constructor(detections: readonly Detection[]) {
    this.#streams = new Map(
      (["stdout", "stderr"] as const).map((piece) => [piece, createStreamMask(detections)]),
    );
  }

  /** What may go on now. Throws GatewayError for what cannot be masked, or comes after its end. */
  pass(piece: OutputPiece, data: Buffer): Buffer {
    if (this.#ended.has(piece))
      throw new GatewayError("target_unavailable", "output comes after its end");
    return this.#streams.get(piece)?.push(data) ?? data.subarray(0, 0);
  }

  /** What waited of it, once. */
  end(piece: OutputPiece): Buffer {
    if (this.#ended.has(piece)) return Buffer.alloc(0);
    this.#ended.add(piece);
    return this.#streams.get(piece)?.end() ?? Buffer.alloc(0);
  }

  get classes(): ReadonlySet<string> {
    return new Set(this.#counts().keys());
  }

  /** For who reads it, so that nobody takes it for what was written; empty when nothing was masked. */
  get summary(): string {
    const counts = [...this.#counts()].sort().map(([name, count]) => `${name} (${count})`);
    return counts.length === 0 ? "" : `Custody masked what was found of ${counts.join(", ")}\n`;
  }

  #counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { found } of this.#streams.values())
      for (const [name, count] of found) counts.set(name, (counts.get(name) ?? 0) + count);
    return counts;
  }
}
