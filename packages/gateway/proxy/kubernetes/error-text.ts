// What an API server says in words, an error or a warning, of an object in which something is classified. Words
// quote: only those of a form that names objects and people, never what an object holds, are handed on. The text of
// a webhook or of an admission policy is somebody's own and may hold anything.

import { isObject, parseJson } from "./json-text.ts";

/** Of a reason, how its message is built (k8s.io/apimachinery, pkg/api/errors; RBAC and quota in their plugins). */
const PLAIN_MESSAGES: Readonly<Record<string, RegExp>> = {
  NotFound: /^(\S+ "[^"]*" not found|the server could not find the requested resource)$/,
  AlreadyExists: /^(\S+ "[^"]*" already exists|object is being deleted: .{1,200} already exists)$/,
  Forbidden:
    /^\S+( "[^"]*")? is forbidden: (User "[^"]*" cannot \S+ (resource "[^"]*" in API group "[^"]*"|path "[^"]*")( in the namespace "[^"]*"| at the cluster scope)?(: RBAC: .*)?|exceeded quota: \S+, requested: [^"]*|unable to create new content in namespace \S+ because it is being terminated)$/s,
  Conflict:
    /^(Operation cannot be fulfilled on |Apply failed with \d+ conflicts?: |object is being deleted: )/,
  Expired:
    /^(The resourceVersion for the provided .*|The provided continue parameter .*|too old resource version: .*)$/,
};

/** A Status whose text may be shown whatever the object holds. */
export function isPlainError(bytes: Buffer): boolean {
  try {
    const value = parseJson(bytes.toString("utf8"));
    if (!isObject(value) || value.kind !== "Status") return false;
    const form = Object.hasOwn(PLAIN_MESSAGES, String(value.reason))
      ? PLAIN_MESSAGES[String(value.reason)]
      : undefined;
    return form?.test(String(value.message)) === true;
  } catch {
    return false;
  }
}

/** The same error without its text. */
export function scrubbedStatus(bytes: Buffer, requestId: string): Buffer {
  let code = 500;
  let reason = "InternalError";
  try {
    const value = parseJson(bytes.toString("utf8"));
    if (isObject(value)) {
      if (typeof value.code === "number") code = value.code;
      // A webhook's reason may be a sentence.
      if (/^[A-Za-z]{1,40}$/.test(String(value.reason))) reason = String(value.reason);
    }
  } catch {
    // Then it says nothing.
  }
  const message = `the API server refused it (${reason}); its text is withheld because it may quote classified data. Request ${requestId}.`;
  return status(code, reason, message, requestId);
}

const REASONS: Readonly<Record<number, string>> = {
  400: "BadRequest",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  415: "UnsupportedMediaType",
  429: "TooManyRequests",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** In the place of an error that is no Status, as of a kind that has just been taken away. */
export function statusInPlace(code: number, requestId: string): Buffer {
  const reason = REASONS[code] ?? "InternalError";
  const withheld = `the API server refused it (${code}) in a form that cannot be masked. Request ${requestId}.`;
  const message = code === 404 ? "the server could not find the requested resource" : withheld;
  return status(code, reason, message, requestId);
}

function status(code: number, reason: string, message: string, requestId: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      ...{ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure" },
      ...{ message, reason, details: { name: requestId }, code },
    }),
  );
}

/** RFC 7234 section 5.5, as the API server writes it; what names members and versions. */
const PLAIN_WARNING =
  /^299 \S+ "((unknown|duplicate) field \\"[^"\\]*\\"|\S+ \S+ is deprecated in v[^"]*|[^"\\]* hides previous definition of \\"[^"\\]*\\"[^"\\]*|would violate PodSecurity \\".*|metadata\.finalizers: \\".*)"$/s;

/** Of the warnings of an answer those that quote nothing. */
export function plainWarnings(warnings: string | string[] | undefined): string[] {
  const lines = Array.isArray(warnings) ? warnings : warnings === undefined ? [] : [warnings];
  return lines.flatMap(separate).filter((line) => PLAIN_WARNING.test(line));
}

/** node joins the lines of this header by commas. */
function separate(line: string): string[] {
  return line.split(/, (?=299 \S+ ")/);
}
