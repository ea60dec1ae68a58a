// The body of a request, whole, since it is judged as a whole. Bounded in length and in time: a body that drips
// would keep its place, and what it was shown with, for as long as its sender likes.

import { GatewayError } from "../../base/errors.ts";

export interface IntakeLimits {
  readonly maxBytes: number;
  /** For the beginning; then a sender has to keep up with MIN_BYTES_PER_MS. */
  readonly startMs: number;
}

/** 16 KB/s */
const MIN_BYTES_PER_MS = 16;

export interface Intake extends AsyncIterable<Buffer> {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  destroy(error: Error): unknown;
}

/** Throws GatewayError "limit", "invalid" for one that is compressed. */
export async function readIntake(
  request: Intake,
  { maxBytes, startMs }: IntakeLimits,
): Promise<Buffer> {
  if (request.headers["content-encoding"] !== undefined)
    throw new GatewayError("invalid", "a body that is compressed is not taken");
  const begunMs = performance.now();
  const tooSlow = new GatewayError("limit", "the body comes too slowly");
  const parts: Buffer[] = [];
  let length = 0;
  const end = () => request.destroy(tooSlow);
  let timer = setTimeout(end, startMs);
  try {
    for await (const chunk of request) {
      length += chunk.length;
      if (length > maxBytes) throw new GatewayError("limit", "the body is too large");
      parts.push(chunk);
      clearTimeout(timer);
      const leftMs = startMs + length / MIN_BYTES_PER_MS - (performance.now() - begunMs);
      timer = setTimeout(end, Math.max(0, leftMs));
    }
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(parts);
}
