// What a request is about, by the API server's own rules: k8s.io/apiserver, pkg/endpoints/request,
// RequestInfoFactory.NewRequestInfo. A rule that differs here by a little would judge one thing and have
// the server do another, so they are the same, the namespace's own subresources, the old watch and proxy
// paths and the truth of `watch=` included.

import { KubernetesWireError } from "./errors.ts";
import type { RequestUrl } from "./request-url.ts";

export type RequestInfo =
  | { readonly isResource: false; readonly verb: string; readonly path: string }
  | ResourceRequest;

export interface ResourceRequest {
  readonly isResource: true;
  /** get list watch create update patch delete deletecollection proxy; another: not known. */
  readonly verb: string;
  /** Empty: the core group. */
  readonly group: string;
  readonly version: string;
  /** Empty: in none, or in all. */
  readonly namespace: string;
  readonly resource: string;
  /** Empty: the object itself. */
  readonly subresource: string;
  /** Empty: all of them, or made by the request. */
  readonly name: string;
  /** Segments after the subresource: those of a proxied request. */
  readonly rest: readonly string[];
}

const METHOD_VERBS: Readonly<Record<string, string>> = {
  POST: "create",
  GET: "get",
  HEAD: "get",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};

const SPECIAL_VERBS = new Set(["proxy", "watch"]);
const NAMESPACE_SUBRESOURCES = new Set(["status", "finalize"]);

/** Throws KubernetesWireError for a path of which the API server makes nothing either. */
export function requestInfo(method: string, url: RequestUrl): RequestInfo {
  const nonResource: RequestInfo = {
    isResource: false,
    verb: method.toLowerCase(),
    path: `/${url.segments.join("/")}`,
  };
  let parts = url.segments;
  const prefix = parts[0];
  if (parts.length < 3 || (prefix !== "api" && prefix !== "apis")) return nonResource;
  parts = parts.slice(1);
  let group = "";
  if (prefix === "apis") {
    if (parts.length < 3) return nonResource;
    group = parts[0] ?? "";
    parts = parts.slice(1);
  }
  const version = parts[0] ?? "";
  parts = parts.slice(1);
  let verb = METHOD_VERBS[method] ?? "";
  const special = parts[0] ?? "";
  if (SPECIAL_VERBS.has(special)) {
    if (parts.length < 2) throw new KubernetesWireError("the path names no kind");
    verb = special;
    parts = parts.slice(1);
  }
  let namespace = "";
  if (parts[0] === "namespaces" && parts.length > 1) {
    namespace = parts[1] ?? "";
    if (parts.length > 2 && !NAMESPACE_SUBRESOURCES.has(parts[2] ?? "")) parts = parts.slice(2);
  }
  const [resource = "", written = "", third = ""] = parts;
  const subresource = verb === "proxy" ? "" : third;
  const info = { isResource: true as const, group, version, namespace, resource, subresource };
  const name = written;
  const rest = parts.slice(verb === "proxy" ? 2 : 3);
  if (name === "" && verb === "get") {
    const named = exactName(parameters(url, "fieldSelector")[0] ?? "");
    return { ...info, verb: isWatch(url) ? "watch" : "list", name: named, rest };
  }
  if (name === "" && verb === "delete") return { ...info, verb: "deletecollection", name, rest };
  return { ...info, verb, name, rest };
}

/** Every value of a parameter, in order. */
export function parameters(url: RequestUrl, name: string): readonly string[] {
  return url.query.filter(([key]) => key === name).map(([, value]) => value);
}

/**
 * apimachinery's Convert_Slice_string_To_bool: of several values the first counts; "" and anything but
 * "0" and "false" is true.
 */
export function isTrue(values: readonly string[]): boolean {
  const [first] = values;
  if (first === undefined) return false;
  return first !== "0" && first.toLowerCase() !== "false";
}

function isWatch(url: RequestUrl): boolean {
  return isTrue(parameters(url, "watch"));
}

/** `metadata.name=web-1` as one of the terms joined by commas (fields.Selector, RequiresExactMatch). */
function exactName(selector: string): string {
  for (const term of selector.split(/(?<!\\),/)) {
    const [, value] = /^metadata\.name==?([a-zA-Z0-9:._@-]+)$/.exec(term) ?? [];
    if (value !== undefined && value !== "." && value !== "..") return value;
  }
  return "";
}
