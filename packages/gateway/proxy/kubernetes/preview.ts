// What an approver is shown of a held write besides its words: how the object is now and what the write
// says it becomes; where the target's configuration has it, what the API server itself says in a dry run.
//
// Each read is an operation of the gateway's own on behalf of the chain: decided as the chain's `get` is,
// in the journal before it is sent, with the held request's id in it. What is classified is masked for
// every approver, and nothing here is compared with a classified value, since that would tell it.

import {
  parameters,
  type RequestInfo,
  type ResourceRequest,
  requestInfo,
} from "@custody/wire/kubernetes/request-info.ts";
import type { RequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import type { PreviewPart } from "../../approval/request.ts";
import type { HeldDecision } from "../../session/hold-wait.ts";
import { maskedBody, maskedObject } from "./approver-mask.ts";
import { bodyFacts, NO_FACTS } from "./body-facts.ts";
import type { HttpSession } from "./http-session.ts";
import { isObject, type Json } from "./json-text.ts";
import { diffObjects } from "./object-diff.ts";
import { judgeRequest, mayQuote } from "./operations.ts";
import { type Exchange, type OwnRequestDeps, ownRequest } from "./own-request.ts";
import { jsonPatched, mergePatched, strategicallyPatched } from "./patched.ts";
import type { RequestBody } from "./request-body.ts";

export interface PreviewDeps extends OwnRequestDeps {
  readonly log: (message: string, error?: unknown) => void;
}

export interface HeldWrite {
  readonly requestId: string;
  readonly method: string;
  readonly info: RequestInfo;
  readonly url: RequestUrl;
  readonly body: RequestBody;
}

const PREVIEW_MS = 5000;
const MAX_LISTED = 50;
/** Of a body and of an object: comparing takes others their turn, and nobody reads as much. */
const MAX_SHOWN_BYTES = 256 << 10;
/** Operations of a patch, each of which may move a list of any length. */
const MAX_APPLIED = 500;
const PLAIN_JSON = "application/json";
const NAMES_ONLY = `application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,${PLAIN_JSON}`;
const WRITES = new Set(["create", "update", "patch", "delete", "deletecollection"]);

/** Never throws for what could not be had: the approver is told that instead. */
export async function previewOf(
  deps: PreviewDeps,
  session: HttpSession,
  held: HeldWrite,
  decision: HeldDecision,
  signal: AbortSignal,
): Promise<readonly PreviewPart[]> {
  const { info } = held;
  if (session.target.preview === "none" || !info.isResource || !WRITES.has(info.verb)) return [];
  const limit = AbortSignal.any([signal, AbortSignal.timeout(PREVIEW_MS)]);
  const asked: Asked = { deps, session, held, info, signal: limit };
  if ((held.body.bytes?.length ?? 0) > MAX_SHOWN_BYTES)
    return [{ title: "What it changes", text: "What it writes is too large to be compared here." }];
  try {
    if (info.verb === "deletecollection") return [await selection(asked)];
    const at = liveUrl(held, info);
    if (at === undefined) return [];
    const live = await readLive(asked, at);
    const parts = [partOf(asked, live)];
    if (session.target.preview === "dry-run" && live.kind !== "unknown")
      parts.push(...(await rehearsal(asked, live, decision)));
    return parts;
  } catch (thrown) {
    signal.throwIfAborted();
    deps.log("a held request was not previewed", thrown);
    return [{ title: "What it changes", text: "The object as it is now could not be read." }];
  }
}

interface Asked {
  readonly deps: PreviewDeps;
  readonly session: HttpSession;
  readonly held: HeldWrite;
  readonly info: ResourceRequest;
  readonly signal: AbortSignal;
}

type Live =
  | { readonly kind: "object"; readonly value: Json }
  | { readonly kind: "none" }
  | { readonly kind: "unknown"; readonly why: string };

/** Where the object is that the write is about; undefined: it is about none that there is. */
function liveUrl({ body, url }: HeldWrite, info: ResourceRequest): RequestUrl | undefined {
  if (info.verb !== "create") return { segments: url.segments, query: [] };
  // An eviction is posted below the pod that goes.
  if (info.subresource === "eviction") return { segments: url.segments.slice(0, -1), query: [] };
  const { name } = bodyFacts(body);
  if (info.subresource !== "" || name === "" || name.endsWith("*")) return undefined;
  return { segments: [...url.segments, name], query: [] };
}

async function readLive(asked: Asked, url: RequestUrl): Promise<Live> {
  const { session, info } = asked;
  const read = requestInfo("GET", url);
  const judged = judgeRequest(session.target, read, url, NO_FACTS);
  if (judged.kind === "unknown") return { kind: "unknown", why: judged.message };
  const decision = session.book.decide(judged.operation);
  if (decision.verdict !== "permit")
    return { kind: "unknown", why: "who asks may not read the object, so it is not shown" };
  const { status, value } = await own(asked, {
    ...{ method: "GET", url, accept: PLAIN_JSON, body: undefined, contentType: undefined },
    ...{ operation: judged.operation, permit: decision.permit },
  });
  if (status === 404) return { kind: "none" };
  if (status !== 200 || value === undefined)
    return { kind: "unknown", why: `the API server does not show the object (${status})` };
  return { kind: "object", value: withoutStatus(maskedObject(session.target, info, value), info) };
}

/** What the server writes there is nobody's request, but where the request is about it. */
function withoutStatus(value: Json, { subresource }: ResourceRequest): Json {
  if (!isObject(value) || subresource === "status") return value;
  const { status: _, ...rest } = value;
  return rest;
}

function partOf(asked: Asked, live: Live): PreviewPart {
  const { info } = asked;
  const isRemoval = info.verb === "delete" || info.subresource === "eviction";
  const title = isRemoval ? "What it takes away" : "What it changes";
  if (live.kind === "unknown") return { title, text: sentence(live.why) };
  const before = live.kind === "object" ? live.value : undefined;
  if (isRemoval)
    return {
      title,
      text: before === undefined ? "There is no such object." : diffObjects(before, undefined),
    };
  if (info.verb === "create" && before !== undefined)
    return { title, text: "An object of this name is there already." };
  if (info.verb === "patch" && before === undefined && !isApply(asked.held.body))
    return { title, text: "There is no such object." };
  if (asked.held.body.isJsonPatch && operationsOf(asked.held.body) > MAX_APPLIED)
    return { title, text: "The patch has too many operations to be tried on the object here." };
  const { after, isExact } = becoming(asked, before);
  if (after === undefined) return { title, text: "The patch does not fit the object as it is." };
  const text = diffObjects(before, withoutStatus(after, info)) || "Nothing.";
  return {
    title: isExact ? title : `${title}, as the patch says (the server merges by its schemas)`,
    text,
  };
}

function operationsOf({ value }: RequestBody): number {
  return Array.isArray(value) ? value.length : 0;
}

function becoming(
  { session, held, info }: Asked,
  before: Json | undefined,
): { readonly after: Json | undefined; readonly isExact: boolean } {
  const body = maskedBody(session.target, info, held.body);
  if (info.verb !== "patch") return { after: body, isExact: true };
  if (held.body.isJsonPatch)
    return { after: jsonPatched(before ?? {}, body as readonly Json[]), isExact: true };
  if (held.body.contentType === "application/merge-patch+json")
    return { after: mergePatched(before, body), isExact: true };
  return { after: strategicallyPatched(before, body), isExact: false };
}

function isApply({ contentType }: RequestBody): boolean {
  return contentType === "application/apply-patch+yaml";
}

/** The same write with `dryRun=All`, judged as what it is and as if it were approved. */
async function rehearsal(
  asked: Asked,
  live: Exclude<Live, { kind: "unknown" }>,
  decision: HeldDecision,
): Promise<readonly PreviewPart[]> {
  const { session, held, info } = asked;
  const isChange = info.verb === "create" || info.verb === "update" || info.verb === "patch";
  if (!isChange || info.subresource === "eviction" || parameters(held.url, "dryRun").length > 0)
    return [];
  const title = "What the API server says to it, in a dry run";
  const url = { ...held.url, query: [...held.url.query, ["dryRun", "All"] as const] };
  const judged = judgeRequest(session.target, info, url, bodyFacts(held.body));
  if (judged.kind === "unknown") return [];
  const met = decision.requirements.map(({ policyId }) => policyId);
  const permitted = session.book.decideApproved(judged.operation, met);
  if (permitted.verdict !== "permit")
    return [{ title, text: "Not asked: policies do not permit a dry run of it." }];
  const { status, value } = await own(asked, {
    ...{ method: held.method, url, accept: PLAIN_JSON, body: held.body.bytes },
    ...{ contentType: held.body.contentType, operation: judged.operation },
    permit: permitted.permit,
  });
  if (status >= 400) return [{ title, text: refusedText(asked, status, value) }];
  if (value === undefined) return [{ title, text: "Its answer could not be read." }];
  const before = live.kind === "object" ? live.value : undefined;
  const after = withoutStatus(maskedObject(session.target, info, value), info);
  return [{ title, text: diffObjects(before, after) || "Nothing would change." }];
}

function refusedText({ session, info }: Asked, status: number, value: Json | undefined): string {
  const said = isObject(value) && typeof value.message === "string" ? value.message : "";
  const text = mayQuote(session.target, info, new Set()) ? "" : said.slice(0, 2000);
  return `It would refuse it (${status})${text === "" ? "." : `: ${text}`}`;
}

/** Which objects a deletion by selectors is about, by name. */
async function selection(asked: Asked): Promise<PreviewPart> {
  const { session, held } = asked;
  const title = "What it takes away";
  const selectors = held.url.query.filter(([name]) => /^(label|field)Selector$/.test(name));
  const url = {
    segments: held.url.segments,
    query: [...selectors, ["limit", String(MAX_LISTED)] as const],
  };
  const judged = judgeRequest(session.target, requestInfo("GET", url), url, NO_FACTS);
  const decision = judged.kind === "operation" ? session.book.decide(judged.operation) : undefined;
  const isWhole = decision?.verdict === "permit" && decision.permit.obligations.filter !== true;
  if (judged.kind === "unknown" || decision?.verdict !== "permit" || !isWhole)
    return { title, text: "Who asks may not list the objects, so they are not shown." };
  const { status, value } = await own(asked, {
    ...{ method: "GET", url, accept: NAMES_ONLY, body: undefined, contentType: undefined },
    ...{ operation: judged.operation, permit: decision.permit },
  });
  const items = isObject(value) && Array.isArray(value.items) ? (value.items as Json[]) : undefined;
  if (status !== 200 || items === undefined)
    return { title, text: `The API server does not list them (${status}).` };
  const names = items.map((item) => {
    const metadata = isObject(item) && isObject(item.metadata) ? item.metadata : {};
    return `- ${[metadata.namespace, metadata.name].filter((part) => part !== undefined).join("/")}`;
  });
  if (names.length === 0) return { title, text: "Nothing: no object is selected." };
  const isMore = isObject(value) && isObject(value.metadata) && Boolean(value.metadata.continue);
  return { title, text: [...names, ...(isMore ? ["… and more"] : [])].join("\n") };
}

function own({ deps, session, held, signal }: Asked, exchange: Exchange) {
  const limits = { maxObjectBytes: Math.min(deps.limits.maxObjectBytes, MAX_SHOWN_BYTES) };
  const asked = { ...exchange, detail: { preview: held.requestId } };
  return ownRequest({ ...deps, limits }, session, asked, signal);
}

function sentence(text: string): string {
  const whole = `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
  return whole.endsWith(".") ? whole : `${whole}.`;
}
