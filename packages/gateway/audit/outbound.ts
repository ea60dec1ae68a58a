// Requests to witnesses and time stamp authorities: bounded in time and size, no redirects.

import { Agent, fetch } from "undici";

export interface Outbound extends AsyncDisposable {
  /** Rejects when nothing usable came back in time; any status is an answer. */
  send(request: OutboundRequest): Promise<OutboundAnswer>;
}

export interface OutboundRequest {
  readonly url: string;
  readonly method: "GET" | "POST" | "PUT";
  readonly body?: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface OutboundAnswer {
  readonly status: number;
  readonly body: Buffer;
}

const MAX_ANSWER_BYTES = 64 << 10;

/** `ca`: PEM; undefined: the system's certificate authorities. */
export function createOutbound(ca: string | undefined, timeoutMs: number): Outbound {
  const agent = new Agent({ connect: ca === undefined ? {} : { ca }, connections: 2 });
  return {
    async send({ url, method, body, headers = {} }) {
      const response = await fetch(url, {
        dispatcher: agent,
        method,
        redirect: "error",
        headers,
        signal: AbortSignal.timeout(timeoutMs),
        ...(body === undefined ? {} : { body }),
      });
      const chunks: Uint8Array[] = [];
      let length = 0;
      for await (const chunk of response.body ?? []) {
        length += chunk.byteLength;
        if (length > MAX_ANSWER_BYTES) throw new TypeError(`${url} answered too much`);
        chunks.push(chunk);
      }
      return { status: response.status, body: Buffer.concat(chunks) };
    },
    async [Symbol.asyncDispose]() {
      await agent.destroy();
    },
  };
}
