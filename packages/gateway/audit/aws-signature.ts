// Signature Version 4 of AWS for one request, in headers, the body's digest included: what S3 and those who
// speak as S3 ask for. docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

import { createHmac, hash } from "node:crypto";

export interface AwsKey {
  readonly id: string;
  readonly secret: string;
}

export interface AwsRequest {
  readonly method: string;
  readonly url: URL;
  /** Names in lower case. All are signed. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | string;
}

/** The headers to send, `authorization` among them; `host` is left to the client. */
export function signAwsRequest(
  request: AwsRequest,
  key: AwsKey,
  region: string,
  nowMs: number,
): Record<string, string> {
  const time = new Date(nowMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const day = time.slice(0, 8);
  const digest = hash("sha256", request.body, "hex");
  const headers: Record<string, string> = {
    ...request.headers,
    "x-amz-content-sha256": digest,
    "x-amz-date": time,
  };
  const signed = Object.entries({ ...headers, host: request.url.host }).sort(byName);
  const names = signed.map(([name]) => name).join(";");
  const canonical = [
    request.method,
    canonicalPath(request.url),
    canonicalQuery(request.url),
    ...signed.map(([name, value]) => `${name}:${value.trim()}`),
    "",
    names,
    digest,
  ].join("\n");
  const scope = `${day}/${region}/s3/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", time, scope, hash("sha256", canonical, "hex")].join("\n");
  let signing = hmac(`AWS4${key.secret}`, day);
  for (const part of [region, "s3", "aws4_request"]) signing = hmac(signing, part);
  const signature = hmac(signing, text).toString("hex");
  const credential = `Credential=${key.id}/${scope}`;
  headers.authorization = `AWS4-HMAC-SHA256 ${credential},SignedHeaders=${names},Signature=${signature}`;
  return headers;
}

function canonicalPath({ pathname }: URL): string {
  return pathname
    .split("/")
    .map((part) => encoded(decodeURIComponent(part)))
    .join("/");
}

function canonicalQuery({ searchParams }: URL): string {
  return [...searchParams]
    .map(([name, value]): [string, string] => [encoded(name), encoded(value)])
    .sort(byName)
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1;
}

/** Everything but RFC 3986's unreserved characters, in upper-case hex. */
function encoded(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
