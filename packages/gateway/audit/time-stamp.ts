// RFC 3161: the request for a time stamp over a SHA-256, and as much of the answer as is needed to know that
// it is one, for this hash and this request. Whether its signature is worth anything is for who verifies it
// (`openssl ts -verify`), not for us.

import { GatewayError } from "../base/errors.ts";

export const TIME_STAMP_QUERY_TYPE = "application/timestamp-query";

/** AlgorithmIdentifier of SHA-256 with NULL parameters (RFC 5754, section 2). */
const SHA256_ALGORITHM = Buffer.from("300d06096086480165030402010500", "hex");
const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const BOOLEAN_TRUE = Buffer.of(0x01, 0x01, 0xff);
const SEQUENCE = 0x30;

/** TimeStampReq (section 2.4.1), asking for the authority's certificate. */
export function timeStampRequest(sha256: Buffer, nonce: Buffer): Buffer {
  const imprint = der(SEQUENCE, SHA256_ALGORITHM, der(OCTET_STRING, sha256));
  return der(SEQUENCE, der(INTEGER, Buffer.of(1)), imprint, integer(nonce), BOOLEAN_TRUE);
}

/** Throws GatewayError "dependency_unavailable" unless it is a granted stamp of this hash and nonce. */
export function checkTimeStamp(answer: Buffer, sha256: Buffer, nonce: Buffer): void {
  const status = statusOf(answer);
  // granted, and granted with modifications (section 2.4.2)
  if (status !== 0 && status !== 1) {
    throw unusable(status === undefined ? "is no time stamp" : `refuses, with status ${status}`);
  }
  const isOfThis = answer.includes(der(OCTET_STRING, sha256)) && answer.includes(integer(nonce));
  if (!isOfThis) throw unusable("is for another request");
}

function statusOf(answer: Buffer): number | undefined {
  const response = content(answer, SEQUENCE);
  const info = response && content(response, SEQUENCE);
  const status = info && content(info, INTEGER);
  return status?.length === 1 ? status[0] : undefined;
}

/** Of the element at the begin, when it has this tag and is whole. */
function content(bytes: Buffer, tag: number): Buffer | undefined {
  if (bytes.length < 2 || bytes[0] !== tag) return undefined;
  const first = bytes[1]!;
  if (first < 0x80) return bytes.length < 2 + first ? undefined : bytes.subarray(2, 2 + first);
  const count = first & 0x7f;
  if (count === 0 || count > 4 || bytes.length < 2 + count) return undefined;
  const length = bytes.readUIntBE(2, count);
  return bytes.length < 2 + count + length
    ? undefined
    : bytes.subarray(2 + count, 2 + count + length);
}

/** A positive INTEGER in its shortest form (X.690, section 8.3). */
function integer(value: Buffer): Buffer {
  let first = 0;
  while (first < value.length - 1 && value[first] === 0) first++;
  const magnitude = value.subarray(first);
  const isHigh = (magnitude[0] ?? 0) >= 0x80;
  return der(INTEGER, isHigh ? Buffer.concat([Buffer.of(0), magnitude]) : magnitude);
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  if (body.length > 0x7f) throw new RangeError("an element of a time stamp request is short");
  return Buffer.concat([Buffer.of(tag, body.length), body]);
}

function unusable(what: string): GatewayError {
  return new GatewayError(
    "dependency_unavailable",
    `the answer of the time stamp authority ${what}`,
  );
}
