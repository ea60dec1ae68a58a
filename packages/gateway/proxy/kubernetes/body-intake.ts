// The body of a request, whole, since it is judged as a whole. Bounded in length and in time: a body that drips
// would keep its place, and what it was shown with, for as long as its sender likes.

import { Gathered } from "@custody/wire/bytes/gathered.ts";
import { GatewayError } from "../../base/errors.ts";

export interface IntakeLimits {
  readonly maxBytes: number;
  /** For the beginning; then a sender has to keep up with MIN_BYTES_PER_MS. */
  readonly startMs: number;
}

export interface Intake extends AsyncIterable<Buffer> {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Of HTTP/2. */
  readonly stream?: { readonly endAfterHeaders: boolean };
  destroy(error: Error): unknown;
}

/** 16 KB/s */
const MIN_BYTES_PER_MS = 16;
const NOTHING = Buffer.alloc(0);

/** Throws GatewayError: limit, invalid for one that is compressed or too large. At once where the request has none. */
export function readIntake(request: Intake, limits: IntakeLimits): Buffer | Promise<Buffer> {
  if (request.headers["content-encoding"] !== undefined)
    throw new GatewayError("invalid", "a body that is compressed is not taken");
  // An iterator, its end and a timer cost more than all that judges a small read.
  return isOver(request) ? NOTHING : readAll(request, limits);
}

/** Whether nothing comes after the headers (RFC 9112 section 6.3, RFC 9113 section 8.1). */
function isOver({ headers, stream }: Intake): boolean {
  if (stream !== undefined) return stream.endAfterHeaders;
  return headers["content-length"] === undefined && headers["transfer-encoding"] === undefined;
}

async function readAll(request: Intake, { maxBytes, startMs }: IntakeLimits): Promise<Buffer> {
  const begunMs = performance.now();
  const gathered = new Gathered();
  const end = () => request.destroy(new GatewayError("limit", "the body comes too slowly"));
  let timer = setTimeout(end, startMs);
  try {
    for await (const chunk of request) {
      gathered.add(chunk);
      // Not "limit", which says that it may be asked again.
      if (gathered.length > maxBytes)
        throw new GatewayError("invalid", `the body is larger than ${maxBytes} bytes`);
      clearTimeout(timer);
      const leftMs = startMs + gathered.length / MIN_BYTES_PER_MS - (performance.now() - begunMs);
      timer = setTimeout(end, Math.max(0, leftMs));
    }
  } finally {
    clearTimeout(timer);
  }
  return gathered.take();
}
