// A light API server, for where no real one is at hand: pods, Secrets and ConfigMaps of one namespace in
// memory, asked for one by one, in lists, tables and watches, and removed. All it answers has the form of
// what a real one answered (kubernetes-recordings.ts); its test holds one against the other. Nothing runs
// in its pods, and no right is checked but the one to speak to it.

import { randomBytes, randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { createTestAuthority } from "./certificates.ts";
import { readRecordings } from "./kubernetes-recordings.ts";

export interface LightApiServer extends AsyncDisposable {
  /** `https://127.0.0.1:<port>` */
  readonly server: string;
  /** PEM of the authority of its certificate. */
  readonly ca: string;
  /** The only credential it takes. */
  readonly token: string;
  readonly requests: readonly LightRequest[];
  /** A copy of the recorded object of this kind under another name, with other data where it has some. */
  put(plural: LightKind, name: string, data?: Readonly<Record<string, string>>): void;
  has(plural: LightKind, name: string): boolean;
}

export type LightKind = "pods" | "secrets" | "configmaps";

/** What came in, and for whom (as the audit log of a real one has it). */
export interface LightRequest {
  readonly method: string;
  readonly path: string;
  readonly impersonated: string | undefined;
  readonly chain: string | undefined;
}

interface LightObject {
  kind: string;
  apiVersion: string;
  metadata: { name: string; uid: string; resourceVersion: string; creationTimestamp: string };
  data?: Record<string, string>;
  type?: string;
  status?: { phase: string; containerStatuses?: { ready: boolean; restartCount: number }[] };
}

interface Collection {
  readonly plural: LightKind;
  readonly listKind: string;
  readonly columns: unknown;
  readonly template: LightObject;
  readonly objects: Map<string, LightObject>;
  readonly watches: Set<ServerResponse>;
}

const KINDS = ["pods", "secrets", "configmaps"] as const;
const PATH = /^\/api\/v1\/namespaces\/shop\/([a-z]+)(?:\/([a-z0-9.-]+))?$/;
const TABLE = /as=Table;v=v1;g=meta\.k8s\.io/;

export async function startLightApiServer(): Promise<LightApiServer> {
  const recordings = readRecordings();
  const authority = createTestAuthority("Throw-away CA of a light API server");
  const token = randomBytes(24).toString("base64url");
  const requests: LightRequest[] = [];
  const collections = new Map(KINDS.map((plural) => [plural, collectionOf(plural, recordings)]));
  let version = 1;
  const documents = new Map<string, unknown>([
    ["/version", recordings.version],
    ["/api", recordings.api],
    ["/api/v1", coreResources(recordings)],
    ["/apis", { kind: "APIGroupList", apiVersion: "v1", groups: [] }],
    ["/api/v1/namespaces/shop", recordings.namespace],
  ]);
  const answer = (request: IncomingMessage, query: URLSearchParams, pathname: string) => {
    const { headers, method = "" } = request;
    if (headers.authorization !== `Bearer ${token}`)
      return failure(401, "Unauthorized", "Unauthorized", {});
    requests.push(lightRequest(request));
    const document = documents.get(pathname);
    if (document !== undefined && method === "GET") return { status: 200, value: document };
    const [, plural = "", name] = PATH.exec(pathname) ?? [];
    const collection = collections.get(plural as LightKind);
    if (collection === undefined)
      return failure(404, "NotFound", "the server could not find the requested resource", {});
    const isTable = TABLE.test(headers.accept ?? "");
    const asked = { collection, method, name, query, version: String(version), isTable };
    return answerTo(asked) ?? collection;
  };
  const server = createServer(authority.issue(["127.0.0.1", "localhost"]), (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "https://light");
    request.resume();
    const found = answer(request, searchParams, pathname);
    if ("watches" in found) watch(response, found, searchParams);
    else {
      response.writeHead(found.status, { "content-type": "application/json" });
      response.end(JSON.stringify(found.value));
    }
  });
  const at = (plural: LightKind) => collections.get(plural) as Collection;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    ...{ ca: authority.cert, token, requests },
    server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    put(plural, name, data) {
      const { objects, template, watches } = at(plural);
      const object = createdNow(structuredClone(template));
      const resourceVersion = String(++version);
      Object.assign(object.metadata, { name, uid: randomUUID(), resourceVersion });
      if (data !== undefined)
        object.data = Object.fromEntries(
          Object.entries(data).map(([key, value]) => [
            key,
            plural === "secrets" ? Buffer.from(value).toString("base64") : value,
          ]),
        );
      objects.set(name, object);
      for (const watch of watches) watch.write(eventLine("ADDED", object));
    },
    has: (plural, name) => at(plural).objects.has(name),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Asked {
  readonly collection: Collection;
  readonly method: string;
  readonly name: string | undefined;
  readonly query: URLSearchParams;
  readonly version: string;
  readonly isTable: boolean;
}

interface Answer {
  readonly status: number;
  readonly value: unknown;
}

/** undefined: it is a watch, which goes on by itself. */
function answerTo(asked: Asked): Answer | undefined {
  const { collection, method, name, query, version, isTable } = asked;
  const { objects, plural } = collection;
  const found = name === undefined ? undefined : objects.get(name);
  if (name !== undefined && found === undefined)
    return failure(404, "NotFound", `${plural} "${name}" not found`, { name, kind: plural });
  if (method === "DELETE" && found !== undefined) return remove(collection, found);
  if (method !== "GET")
    return failure(405, "MethodNotAllowed", "the server does not allow this method here", {});
  if (found !== undefined)
    return {
      status: 200,
      value: isTable ? tableOf(collection, [found], found.metadata.resourceVersion) : found,
    };
  if (["1", "true"].includes(query.get("watch") ?? "")) return undefined;
  const chosen = selected([...objects.values()], query.get("fieldSelector"));
  const inForm = isTable ? tableOf : listOf;
  return { status: 200, value: inForm(collection, chosen, version) };
}

function remove({ objects, plural, watches }: Collection, found: LightObject): Answer {
  const { name, uid } = found.metadata;
  objects.delete(name);
  for (const watch of watches) watch.write(eventLine("DELETED", found));
  const value = {
    ...{ kind: "Status", apiVersion: "v1", metadata: {}, status: "Success" },
    details: { name, kind: plural, uid },
  };
  return { status: 200, value };
}

/** From the first object on, whatever version is asked for: a client that begins with a list sees them again. */
function watch(answer: ServerResponse, { objects, watches }: Collection, query: URLSearchParams) {
  answer.writeHead(200, { "content-type": "application/json" });
  answer.flushHeaders();
  for (const object of selected([...objects.values()], query.get("fieldSelector")))
    answer.write(eventLine("ADDED", object));
  watches.add(answer);
  const seconds = Number(query.get("timeoutSeconds") ?? 300);
  const timer = setTimeout(() => answer.end(), seconds * 1000).unref();
  answer.on("close", () => {
    clearTimeout(timer);
    watches.delete(answer);
  });
}

function collectionOf(
  plural: LightKind,
  recordings: Readonly<Record<string, unknown>>,
): Collection {
  const template = recordings[`${plural}: one`] as LightObject;
  const { kind } = recordings[`${plural}: list`] as { kind: string };
  const { columnDefinitions } = recordings[`${plural}: table`] as { columnDefinitions: unknown };
  return {
    ...{ plural, template, listKind: kind, columns: columnDefinitions },
    objects: new Map([[template.metadata.name, createdNow(structuredClone(template))]]),
    watches: new Set(),
  };
}

function createdNow(object: LightObject): LightObject {
  object.metadata.creationTimestamp = new Date().toISOString().replace(/\.\d+/, "");
  return object;
}

function coreResources(recordings: Readonly<Record<string, unknown>>): unknown {
  const core = recordings.core as { resources: { name: string }[] };
  const names: readonly string[] = [...KINDS, "namespaces", "pods/log", "pods/exec"];
  return { ...core, resources: core.resources.filter(({ name }) => names.includes(name)) };
}

function selected(objects: readonly LightObject[], selector: string | null): LightObject[] {
  const [, name] = /^metadata\.name==?(.+)$/.exec(selector ?? "") ?? [];
  return objects.filter(({ metadata }) => name === undefined || metadata.name === name);
}

function listOf({ listKind }: Collection, objects: readonly LightObject[], version: string) {
  const items = objects.map(({ kind: _kind, apiVersion: _version, ...rest }) => rest);
  return { kind: listKind, apiVersion: "v1", metadata: { resourceVersion: version }, items };
}

function tableOf(
  { columns, plural }: Collection,
  objects: readonly LightObject[],
  version: string,
): unknown {
  return {
    ...{ kind: "Table", apiVersion: "meta.k8s.io/v1", metadata: { resourceVersion: version } },
    columnDefinitions: columns,
    rows: objects.map((object) => ({
      cells: cellsOf(plural, object),
      object: {
        ...{ kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1" },
        metadata: object.metadata,
      },
    })),
  };
}

function cellsOf(plural: LightKind, { data = {}, metadata, status, type }: LightObject): unknown[] {
  const age = ageOf(metadata.creationTimestamp);
  const count = Object.keys(data).length;
  if (plural === "secrets") return [metadata.name, type, count, age];
  if (plural === "configmaps") return [metadata.name, count, age];
  const containers = status?.containerStatuses ?? [];
  const ready = containers.filter((one) => one.ready).length;
  const restarts = containers.reduce((sum, one) => sum + one.restartCount, 0);
  const none = "<none>";
  return [
    ...[metadata.name, `${ready}/${containers.length}`, status?.phase, String(restarts), age],
    ...[none, none, none, none],
  ];
}

function ageOf(time: string): string {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  return seconds < 120 ? `${seconds}s` : `${Math.floor(seconds / 60)}m`;
}

function eventLine(type: string, object: LightObject): string {
  return `${JSON.stringify({ type, object })}\n`;
}

function failure(code: number, reason: string, message: string, details: unknown): Answer {
  const value = {
    ...{ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason },
    ...{ details, code },
  };
  return { status: code, value };
}

function lightRequest({ headers, method = "", url = "" }: IncomingMessage): LightRequest {
  const one = (name: string) => headers[name]?.toString();
  return {
    ...{ method, path: url, impersonated: one("impersonate-user") },
    chain: one("impersonate-extra-custody-chain"),
  };
}
