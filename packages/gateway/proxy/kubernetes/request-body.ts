// The body of a request, decoded to be judged: JSON, YAML and the binary form. JSON and YAML are sent on
// as the JSON that was judged, so that no second reading of them can differ; a binary body has one reading
// only (wire/kubernetes/protobuf.ts) and is sent on as it came.

import { readJson } from "@custody/wire/kubernetes/json-read.ts";
import { decodeProtobuf, type ProtobufValue } from "@custody/wire/kubernetes/protobuf.ts";
import { isScalar, parseDocument, visit } from "yaml";
import { GatewayError } from "../../base/errors.ts";
import { isObject, type Json, MAX_VALUES, parseJson } from "./json-text.ts";

export interface RequestBody {
  /** undefined: there is none. */
  readonly value: Json | undefined;
  /** What is sent on. */
  readonly bytes: Buffer | undefined;
  readonly contentType: string | undefined;
  /** A JSON patch (RFC 6902): `value` is a list of its operations. */
  readonly isJsonPatch: boolean;
}

export const NO_BODY: RequestBody = {
  value: undefined,
  bytes: undefined,
  contentType: undefined,
  isJsonPatch: false,
};

const JSON_TYPES = new Set([
  "application/json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
]);
const JSON_PATCH = "application/json-patch+json";
const APPLY = "application/apply-patch+yaml";
const YAML_TYPES = new Set(["application/yaml", APPLY]);
const PROTOBUF = "application/vnd.kubernetes.protobuf";

/**
 * Of a JSON patch: each is judged and masked as an object of its own, with one around it for each step of its path.
 * The API server takes 10,000 (k8s.io/apiserver, pkg/endpoints/handlers/patch.go); nobody is known who sends as many.
 */
const MAX_OPERATIONS = 2000;
const MAX_STEPS = 20_000;
/** The manifests of an application have a few thousand. */
const MAX_YAML_MARKS = 20_000;

/** As JSON.stringify writes one: an escape behind an even number of backslashes. */
const LONE_SURROGATE = /(?<!\\)(?:\\\\)*\\ud[89a-f][0-9a-f]{2}/;

/** A form of body that nobody decodes here; its code has no own Status. */
export class UnsupportedBody extends Error {}

/** Throws UnsupportedBody, and GatewayError "invalid" for what is not what it says it is. */
export function readBody(bytes: Buffer, contentType: string | undefined): RequestBody {
  if (bytes.length === 0) return NO_BODY;
  const type = (contentType ?? "application/json").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type === PROTOBUF) return { ...binary(bytes), contentType: PROTOBUF };
  if (!JSON_TYPES.has(type) && !YAML_TYPES.has(type) && type !== JSON_PATCH)
    throw new UnsupportedBody(`a body of type ${type.slice(0, 80)} is not decoded here`);
  const text = utf8(bytes);
  const value = YAML_TYPES.has(type) ? fromYaml(text) : fromJson(text);
  const isJsonPatch = type === JSON_PATCH;
  if (isJsonPatch !== Array.isArray(value)) throw invalid("the body is not of its type's shape");
  if (isJsonPatch) assertShort(value as readonly Json[]);
  if (isObject(value) && Object.keys(value).some(isMiswritten))
    throw invalid("kind and apiVersion are written so");
  const written = JSON.stringify(value);
  // Half of a character: the server makes U+FFFD of it, and so another name or path.
  if (written.includes("\\ud") && LONE_SURROGATE.test(written))
    throw invalid("a text in the body is not Unicode");
  const judged = Buffer.from(type === APPLY ? asYaml(written) : written);
  // JSON is YAML too; the type says which kind of patch it is.
  const sentType = type === "application/yaml" ? "application/json" : type;
  return { value, bytes: judged, contentType: sentType, isJsonPatch };
}

/**
 * The same for who reads it as YAML 1.1, as the server reads an apply: a line of that may end within quotes with
 * these too, and is folded to a space.
 */
function asYaml(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028\u2029\ufeff]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * The server looks for these two with Go's encoding/json, which takes any case (and "ſ" for an s); everything
 * else is decoded by exact names.
 */
function isMiswritten(name: string): boolean {
  if (name === "kind" || name === "apiVersion") return false;
  const folded = name.toLowerCase().toUpperCase();
  return folded === "KIND" || folded === "APIVERSION";
}

function assertShort(operations: readonly Json[]): void {
  if (operations.length > MAX_OPERATIONS)
    throw invalid(`the patch has more than ${MAX_OPERATIONS} operations`);
  let steps = 0;
  for (const operation of operations)
    if (isObject(operation)) steps += String(operation.path).split("/", MAX_STEPS).length;
  if (steps > MAX_STEPS) throw invalid("the paths of the patch are too long");
}

function binary(bytes: Buffer): Omit<RequestBody, "contentType"> {
  try {
    const { apiVersion, kind, object } = decodeProtobuf(bytes, MAX_VALUES);
    const value = { apiVersion, kind, ...(plain(object) as Record<string, Json>) };
    return { value, bytes, isJsonPatch: false };
  } catch (thrown) {
    throw new UnsupportedBody(thrown instanceof Error ? thrown.message : "the body is not decoded");
  }
}

/** Bytes as base64, as they are in JSON; a number beyond a double as its digits. */
function plain(value: ProtobufValue): Json {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}

function fromJson(text: string): Json {
  try {
    return parseJson(text);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw invalid("the body is not JSON", cause);
    throw invalid(`the body has more than ${MAX_VALUES} values, or is nested too deeply`, cause);
  }
}

function fromYaml(text: string): Json {
  if (/^\s*\{/.test(text)) return fromJson(text);
  if (hasMoreMarks(text, MAX_YAML_MARKS))
    throw invalid("the body is too much to be read as YAML; write it as JSON, which is YAML too");
  try {
    // Its own look for members given twice compares each with all.
    const document = parseDocument(text, { version: "1.1", uniqueKeys: false, merge: false });
    const [error] = document.errors;
    if (error !== undefined) throw error;
    visit(document, { Map: (_name, { items }) => assertUnique(items.map(({ key }) => key)) });
    // Once round, so that nothing is in it that JSON does not have. Without aliases: each of a hundred may
    // stand for a text as long as the body.
    return readJson(JSON.stringify(document.toJS({ maxAliasCount: 0 }))) as Json;
  } catch (cause) {
    throw invalid("the body is not one YAML document", cause);
  }
}

/** Names, each once: lists and objects as names are none. */
function assertUnique(keys: readonly unknown[]): void {
  const names = new Set<string>();
  for (const key of keys) {
    if (!isScalar(key)) throw new SyntaxError("a name is no text");
    const name = String(key.value);
    if (names.has(name)) throw new SyntaxError("a name is there twice");
    names.add(name);
  }
}

const YAML_MARKS = new Set([...",:[{#\n"].map((mark) => mark.charCodeAt(0)));

/** Of what begins something new: what reading YAML costs goes by these, ten microseconds for each. */
function hasMoreMarks(text: string, most: number): boolean {
  let count = 0;
  for (let at = 0; at < text.length; at++)
    if (YAML_MARKS.has(text.charCodeAt(at)) && ++count > most) return true;
  return false;
}

function utf8(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw invalid("the body is not UTF-8", cause);
  }
}

function invalid(message: string, cause?: unknown): GatewayError {
  return new GatewayError("invalid", message, { cause });
}
