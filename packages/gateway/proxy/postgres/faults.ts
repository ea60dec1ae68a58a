// What a PostgreSQL client sees of a fault or a denial: SQLSTATE, message, detail, hint. The one place
// where the protocol's wording is; codes are from PostgreSQL's appendix "Error Codes".

import { type Encodable, errorResponse, noticeResponse } from "@custody/wire/postgres/backend.ts";
import type { Denial } from "../../access/operation.ts";
import type { ErrorCode, GatewayError } from "../../base/errors.ts";
import type { Limited } from "./exchange.ts";

/** Total over ErrorCode, so that a new code does not compile before it has a state. */
const SQL_STATE: Readonly<Record<ErrorCode, string>> = {
  protocol: "08P01",
  tls_required: "28000",
  unauthenticated: "28P01",
  forbidden: "42501",
  invalid: "22023",
  not_found: "3D000",
  limit: "53300",
  target_unavailable: "08006",
  dependency_unavailable: "58000",
  evidence_unavailable: "58030",
  revoked: "57P01",
  shutdown: "57P01",
  idle: "57P05",
  configuration: "F0000",
  internal: "XX000",
};

/** Ends the session: FATAL, as PostgreSQL says it. */
export function fatalResponse(error: GatewayError): Buffer {
  return errorResponse(
    withoutUndefined({
      severity: "FATAL",
      code: SQL_STATE[error.code],
      message: error.message,
      detail: error.requestId === undefined ? undefined : `Request ${error.requestId}.`,
      hint: error.hint,
    }),
  );
}

/** A statement that was not forwarded; the session lives on. */
export interface StatementError {
  readonly sqlState: string;
  readonly message: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  readonly position: number | undefined;
}

export function statementErrorResponse(error: StatementError): Buffer {
  return errorResponse(
    withoutUndefined({
      severity: "ERROR",
      code: error.sqlState,
      message: error.message,
      detail: error.detail,
      hint: error.hint,
      position: error.position,
    }),
  );
}

/** `ERROR 42501: Custody denied drop on table public.orders`, DETAIL the policy, hop and request. */
export function denialError(denial: Denial, requestId: string): StatementError {
  const policy = denial.policyId === undefined ? "" : `Policy ${denial.policyId}: `;
  const hop = denial.hopLabel === undefined ? "" : ` Hop: ${denial.hopLabel}.`;
  return {
    sqlState: denial.kind === "fault" ? "XX000" : "42501",
    message: `Custody denied ${denial.what}`,
    detail: `${policy}${sentence(denial.message)}${hop} Request ${requestId}.`,
    hint: `custody explain ${requestId}`,
    position: undefined,
  };
}

/** The text of an error or notice of a statement that touches a class: it may quote a value (I6). */
export function scrubbedMessage(fields: ReadonlyMap<string, string>, requestId: string): Encodable {
  return withoutUndefined({
    severity: fields.get("V") ?? fields.get("S") ?? "ERROR",
    code: fields.get("C") ?? "XX000",
    message: "the statement failed; its text is withheld because it touches classified data",
    detail: `Request ${requestId}.`,
    position: numberOrUndefined(fields.get("P")),
  });
}

/** A limit of rows or bytes ended a statement that only reads. */
export function limitResponse(limited: Limited, requestId: string | undefined): Buffer {
  return statementErrorResponse({
    sqlState: "53400",
    message: `Custody ended the statement after ${limited.what}`,
    detail: `A policy or grant limits results. Request ${requestId ?? "unknown"}.`,
    hint: "ask for less, or for a grant with a higher limit",
    position: undefined,
  });
}

/** The statement did all it does; only a part of its rows was let through. */
export function limitNotice(limited: Limited, requestId: string | undefined): Buffer {
  return noticeResponse({
    severity: "WARNING",
    code: "01000",
    message: `Custody let no more than ${limited.what} of the statement's result through`,
    detail: `A policy or grant limits results; the statement itself was not cut short. Request ${requestId ?? "unknown"}.`,
  });
}

/** A time limit ended a statement. */
export function timeoutResponse(timeoutMs: number, requestId: string | undefined): Buffer {
  return statementErrorResponse({
    sqlState: "57014",
    message: `Custody ended the statement after ${timeoutMs} ms`,
    detail: `A policy or grant limits its time. Request ${requestId ?? "unknown"}.`,
    hint: "ask for less, or for a grant with a higher limit",
    position: undefined,
  });
}

function numberOrUndefined(text: string | undefined): number | undefined {
  return text === undefined || !/^[0-9]{1,9}$/.test(text) ? undefined : Number(text);
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Leaves out what is undefined, for exactOptionalPropertyTypes. */
function withoutUndefined<T extends object>(value: T): Defined<T> {
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) if (item !== undefined) out[key] = item;
  return out as Defined<T>;
}
