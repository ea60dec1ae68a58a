// Requests to a gateway's HTTPS port, one connection each.

import { readFileSync } from "node:fs";
import { type RequestOptions, request } from "node:https";
import type { Subject } from "./world.ts";

export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
  readonly body: unknown;
}

export interface HttpRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const TIMEOUT_MS = 15_000;

export async function ask(
  subject: Subject,
  path: string,
  { method = "GET", headers = {}, body }: HttpRequest = {},
): Promise<HttpAnswer> {
  return await askAt(`${subject.gateway.url}${path}`, subject.gateway.caFile, {
    method,
    headers: {
      authorization: `Bearer ${subject.handle}`,
      ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
      ...headers,
    },
    body,
  });
}

export async function askAt(
  url: string,
  caFile: string,
  options: { method: string; headers: RequestOptions["headers"]; body: string | undefined },
): Promise<HttpAnswer> {
  const { method, headers, body } = options;
  const ca = readFileSync(caFile, "utf8");
  return await new Promise((resolve, reject) => {
    const sent = request(
      url,
      { method, headers, ca, servername: "localhost", agent: false, timeout: TIMEOUT_MS },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          resolve({ status: response.statusCode ?? 0, text, body: parsed(text) });
        });
      },
    );
    sent.on("timeout", () => sent.destroy(new Error("no answer in time")));
    sent.on("error", reject);
    sent.end(body);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
