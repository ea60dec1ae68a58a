// What is asked of an API server and what it answers, whatever the two speak.

import type { AnswerBody } from "./answer-body.ts";

export interface UpstreamRequest {
  readonly method: string;
  /** Path and query exactly as they are sent. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
  readonly signal: AbortSignal;
  /** It goes on for long and says little: many of them share a connection where the server speaks HTTP/2. */
  readonly isWatch?: boolean;
}

export interface UpstreamResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: AnswerBody;
}
