// Streams of JSON values, one a line. Read at the client's pace; a source that fails half-way ends
// with a line that says so, since the status is long sent.

import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { toGatewayError } from "../base/errors.ts";

export async function* linesOf(
  source: AsyncIterable<object>,
  onFault: (thrown: unknown) => void,
): AsyncGenerator<string> {
  try {
    for await (const value of source) yield `${JSON.stringify(value)}\n`;
  } catch (thrown) {
    const error = toGatewayError(thrown);
    if (error.code === "internal") onFault(thrown);
    const message = error.code === "internal" ? "internal error" : error.message;
    yield `${JSON.stringify({ error: { code: error.code, message } })}\n`;
  }
}

export function sendLines(reply: FastifyReply, lines: AsyncIterable<string>): FastifyReply {
  return reply
    .header("content-type", "application/x-ndjson; charset=utf-8")
    .send(Readable.from(lines, { objectMode: false, highWaterMark: 64 * 1024 }));
}

export interface Tail extends AsyncIterable<string> {
  /** One JSON value as text. */
  push(json: string): void;
  /** What was pushed is sent first. */
  end(): void;
  close(): void;
}

const ALIVE = `${JSON.stringify({ alive: true })}\n`;

/**
 * A queue between who must not wait (the journal) and who may be slow (a client): beyond `limit` values
 * are left out and counted, and the client is told how many with `{gap}`. `{alive: true}` comes when
 * nothing else did for `aliveMs`.
 */
export function createTail(limit: number, aliveMs: number): Tail {
  const queue: string[] = [];
  let left = 0;
  let closed = false;
  let ending = false;
  let wake: (() => void) | undefined;
  const signal = (): void => {
    wake?.();
    wake = undefined;
  };
  const something = (): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(signal, aliveMs);
      timer.unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  async function* lines(): AsyncGenerator<string> {
    // The head of the answer goes out with its first bytes: the client knows at once that it listens.
    yield ALIVE;
    while (!closed) {
      if (queue.length === 0 && !ending) await something();
      if (closed || (ending && queue.length === 0)) return;
      if (queue.length === 0) yield ALIVE;
      while (queue.length > 0) yield `${queue.shift()}\n`;
      if (left > 0) {
        const gap = left;
        left = 0;
        yield `${JSON.stringify({ gap })}\n`;
      }
    }
  }
  return {
    push(json) {
      if (queue.length < limit && left === 0) queue.push(json);
      else left++;
      signal();
    },
    end() {
      ending = true;
      signal();
    },
    close() {
      closed = true;
      signal();
    },
    [Symbol.asyncIterator]: lines,
  };
}
