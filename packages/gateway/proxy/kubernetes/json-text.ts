// JSON out and in again without a loss: what a double cannot hold keeps its own digits. Members given
// twice come out once, as whoever reads them last has them, so that what was judged is what is sent.

import { readJson } from "@custody/wire/kubernetes/json-read.ts";
import { hasMoreValues } from "@custody/wire/kubernetes/json-strings.ts";

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** A number whose digits JavaScript would change: 17 and more of them, a fraction, an exponent. */
const DELICATE = /[-0-9](?:\d{15,}|\d*\.\d|\d*[eE][+-]?\d)/;

/**
 * Of one object. Each is made, looked at and written again, which takes others their turn; the largest of Kubernetes'
 * own, definitions of custom resources, have some 60,000.
 */
export const MAX_VALUES = 100_000;

/** Throws SyntaxError; RangeError for what is nested too deeply or has more than MAX_VALUES. */
export function parseJson(text: string): Json {
  if (hasMoreValues(text, MAX_VALUES)) throw new RangeError("JSON has too many values");
  return readJson(text, DELICATE.test(text) ? keepDigits : undefined) as Json;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A number that kept its own digits. */
export function isKeptNumber(value: unknown): boolean {
  return (JSON as unknown as WithRaw).isRawJSON(value);
}

interface WithRaw {
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
}

function keepDigits(value: number, source: string): unknown {
  return String(value) === source ? value : (JSON as unknown as WithRaw).rawJSON(source);
}
