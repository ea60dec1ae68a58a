// The path and query of a request to an API server, taken apart once and put together again in one
// canonical form, so that what was judged is what is sent. Go's net/http decodes a path before the API
// server splits it, so an encoded slash would make other segments; such a path is refused, never guessed.

import { KubernetesWireError } from "./errors.ts";

export interface RequestUrl {
  /** Decoded; none is empty, "." or "..", none holds a slash, an asterisk or a control character. */
  readonly segments: readonly string[];
  /** Decoded, in their order. */
  readonly query: readonly (readonly [name: string, value: string])[];
}

const MAX_LENGTH = 65_536;
const MAX_SEGMENTS = 24;
const MAX_SEGMENT_LENGTH = 512;
const MAX_PARAMETERS = 1100;

/** Throws KubernetesWireError. One slash at the end is allowed and goes away. */
export function parseRequestUrl(target: string): RequestUrl {
  if (target.length > MAX_LENGTH) throw new KubernetesWireError("the URL is too long");
  if (!target.startsWith("/") || target.includes("#") || target.includes("\\"))
    throw new KubernetesWireError("the URL is not a plain path");
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const written = path.replace(/^\//, "").replace(/\/$/, "");
  const segments = written === "" ? [] : written.split("/").map(decodeSegment);
  if (segments.length > MAX_SEGMENTS) throw new KubernetesWireError("the path is too long");
  return { segments, query: mark < 0 ? [] : parseQuery(target.slice(mark + 1)) };
}

/** The one way of writing it: `/api/v1/namespaces/shop/pods?limit=500`. */
export function formatRequestUrl({ segments, query }: RequestUrl): string {
  const path = `/${segments.map(encodeSegment).join("/")}`;
  if (query.length === 0) return path;
  const pairs = query.map(([name, value]) => `${encodeQuery(name)}=${encodeQuery(value)}`);
  return `${path}?${pairs.join("&")}`;
}

function decodeSegment(written: string): string {
  const segment = decode(written, "path");
  // The longest name has 253. Longer ones would be kept with every decision about them.
  if (segment.length > MAX_SEGMENT_LENGTH)
    throw new KubernetesWireError("the path has a segment longer than any name");
  if (segment === "" || segment === "." || segment === "..")
    throw new KubernetesWireError("the path has an empty or dotted segment");
  // %2F and %25 would be read otherwise behind us; * is no name anywhere.
  if (/[/%\\*?#\p{Cc}\p{Zl}\p{Zp}]/u.test(segment))
    throw new KubernetesWireError("the path has a character no name has");
  return segment;
}

function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replace(/%(3A|40|2B|24|2C|3B|3D|26)/g, decodeURIComponent);
}

function parseQuery(written: string): (readonly [string, string])[] {
  // Go's url.ParseQuery refuses a pair with ";" in it and goes on without the pair.
  if (written.includes(";")) throw new KubernetesWireError("the query has a semicolon");
  const pairs = written.split("&").filter((pair) => pair !== "");
  if (pairs.length > MAX_PARAMETERS) throw new KubernetesWireError("the query is too long");
  return pairs.map((pair) => {
    const equals = pair.indexOf("=");
    const name = equals < 0 ? pair : pair.slice(0, equals);
    const value = equals < 0 ? "" : pair.slice(equals + 1);
    return [
      decode(name.replaceAll("+", " "), "query"),
      decode(value.replaceAll("+", " "), "query"),
    ];
  });
}

function encodeQuery(text: string): string {
  return encodeURIComponent(text);
}

/** Throws for a broken escape and for bytes that are no UTF-8. */
function decode(written: string, where: string): string {
  if (!/^[\x21-\x7e ]*$/.test(written))
    throw new KubernetesWireError(`the ${where} has a character that is not escaped`);
  try {
    return decodeURIComponent(written);
  } catch {
    throw new KubernetesWireError(`the ${where} has a broken escape`);
  }
}
