// Lists and watches of which a chain may see some items only (`@filter("items")` of a permit): each object
// is decided as a `get` of it by name would be, with the labels it has, and left out where that is not
// permitted. In a watch an object that is no longer to be seen is taken back by the DELETED event that the
// API server itself sends to a watch with a selector; one that was never shown is never named.
//
// Who owns the state: one a request; what was shown is the session's (http-session.ts).

import type { ResourceRequest } from "@custody/wire/kubernetes/request-info.ts";
import type { Operation } from "../../access/operation.ts";
import { GatewayError } from "../../base/errors.ts";
import type { SessionBook } from "../../session/session-book.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { labelsOf, NO_FACTS } from "./body-facts.ts";
import { isObject, type Json, type JsonObject, parseJson } from "./json-text.ts";
import { resourceOf } from "./operations.ts";

export interface ItemFilter {
  /** One element of a list or row of a table: whether it is shown. Throws for what is no JSON. */
  shows(bytes: Buffer): boolean;
  /** One event: what is handed on of it. Throws GatewayError "target_unavailable" for what is none. */
  event(bytes: Buffer): readonly Buffer[];
  readonly withheld: number;
}

export interface ItemFilterDeps {
  readonly target: KubernetesTarget;
  readonly info: ResourceRequest;
  readonly book: Pick<SessionBook, "decide">;
  /** Objects this session was shown, by their place. */
  readonly shown: ShownObjects;
}

/** Bounded: of the oldest it is forgotten that they were shown. */
export class ShownObjects {
  readonly #places = new Set<string>();

  add(place: string): void {
    this.#places.add(place);
    if (this.#places.size <= MAX_SHOWN) return;
    for (const oldest of this.#places) if (this.#places.delete(oldest)) break;
  }

  /** True when it was there. */
  take(place: string): boolean {
    return this.#places.delete(place);
  }
}

const MAX_SHOWN = 20_000;
const MAX_REMEMBERED = 4096;
const MAX_NAME_LENGTH = 512;

export function createItemFilter(deps: ItemFilterDeps): ItemFilter {
  return new Filter(deps);
}

class Filter implements ItemFilter {
  withheld = 0;
  readonly #deps: ItemFilterDeps;
  /** Decisions are cached by an operation's identity. */
  readonly #operations = new Map<string, Operation>();
  /** Of tables, which come with the first event only. */
  #columns: Json | undefined;

  constructor(deps: ItemFilterDeps) {
    this.#deps = deps;
  }

  shows(bytes: Buffer): boolean {
    return this.#isShown(parseJson(bytes.toString("utf8")));
  }

  event(bytes: Buffer): readonly Buffer[] {
    const event = eventOf(bytes);
    const { object, type } = event;
    if (type === "ERROR" && object.kind === "Status") return [bytes];
    if (type === "BOOKMARK") return [text({ type, object: bookmark(object) })];
    if (type !== "ADDED" && type !== "MODIFIED" && type !== "DELETED") throw unfilterable();
    const isTable = object.kind === "Table" && Array.isArray(object.rows);
    if (!isTable) return this.#object(bytes, type, object);
    return this.#table(type, object, object.rows as readonly Json[]);
  }

  #object(bytes: Buffer, type: string, object: JsonObject): readonly Buffer[] {
    const place = this.#place(object);
    const isShown = this.#isShown(object);
    if (isShown) {
      if (type === "DELETED") this.#deps.shown.take(place);
      return [bytes];
    }
    if (!this.#deps.shown.take(place)) return [];
    return [text({ type: "DELETED", object: named(object) })];
  }

  #table(type: string, table: JsonObject, rows: readonly Json[]): readonly Buffer[] {
    this.#columns = hasColumns(table) ? table.columnDefinitions : this.#columns;
    const [kept, gone]: [Json[], Json[]] = [[], []];
    for (const row of rows) {
      const place = this.#place(row);
      if (this.#isShown(row)) {
        if (type === "DELETED") this.#deps.shown.take(place);
        kept.push(row);
      } else if (this.#deps.shown.take(place)) gone.push(emptied(row));
    }
    const out: Buffer[] = [];
    const { columnDefinitions: _, ...bare } = table;
    for (const [kind, some] of [
      [type, kept],
      ["DELETED", gone],
    ] as const) {
      if (some.length === 0) continue;
      const columns = this.#columns === undefined ? {} : { columnDefinitions: this.#columns };
      this.#columns = undefined;
      out.push(text({ type: kind, object: { ...bare, ...columns, rows: some } }));
    }
    return out;
  }

  #isShown(item: Json): boolean {
    const { labels, name, namespace } = identityOf(item, this.#deps.info);
    const operation = name === "" ? undefined : this.#operation(namespace, name, labels);
    if (operation === undefined || this.#deps.book.decide(operation).verdict !== "permit") {
      this.withheld++;
      return false;
    }
    this.#deps.shown.add(this.#place(item));
    return true;
  }

  #place(item: Json): string {
    const { info } = this.#deps;
    const { name, namespace } = identityOf(item, info);
    return [info.group, info.resource, namespace, name].join("/");
  }

  #operation(namespace: string, name: string, labels: readonly string[]): Operation {
    const key = JSON.stringify([namespace, name, labels]);
    const known = this.#operations.get(key);
    if (known !== undefined) return known;
    const { info, target } = this.#deps;
    const asked = { ...info, verb: "get", namespace, name, subresource: "" };
    const resource = resourceOf(target, asked, { ...NO_FACTS, labels }, false);
    const made: Operation = {
      protocol: "kubernetes",
      effects: [{ action: "k8s:get", resource }],
      touches: [],
      summary: `get on ${resource.label}`,
    };
    if (this.#operations.size >= MAX_REMEMBERED) this.#operations.clear();
    this.#operations.set(key, made);
    return made;
  }
}

/** Of an object, or of a table's row, whose object is in it. */
function identityOf(item: Json, info: ResourceRequest) {
  const object = isObject(item) && Array.isArray(item.cells) ? item.object : item;
  const metadata = isObject(object) && isObject(object.metadata) ? object.metadata : {};
  const { labels, namespace } = metadata;
  const name = typeof metadata.name === "string" ? shortName(metadata.name) : "";
  const within = typeof namespace === "string" ? shortName(namespace) : info.namespace;
  // A namespace is in itself, by the API server's own rules for the path of one.
  const isNamespace = info.group === "" && info.resource === "namespaces";
  return { name, namespace: isNamespace ? name : within, labels: labelsOf(labels) };
}

/** What is longer is no name in Kubernetes, and would be kept with all that was shown. */
function shortName(name: string): string {
  return name.length <= MAX_NAME_LENGTH ? name : "";
}

function eventOf(bytes: Buffer): { readonly type: string; readonly object: JsonObject } {
  const event = parseJson(bytes.toString("utf8"));
  if (!isObject(event) || typeof event.type !== "string" || !isObject(event.object))
    throw unfilterable();
  return { type: event.type, object: event.object };
}

/** How far the watch is; of no object. */
function bookmark(object: JsonObject): Json {
  const metadata = isObject(object.metadata) ? object.metadata : {};
  if (!Array.isArray(object.rows)) return { ...head(object), metadata: progress(metadata) };
  const rows = (object.rows as readonly Json[]).map((row) => {
    const inner = isObject(row) && isObject(row.object) ? row.object : {};
    const own = isObject(inner.metadata) ? inner.metadata : {};
    return { cells: [], object: { ...head(inner), metadata: progress(own) } };
  });
  return { ...head(object), metadata: progress(metadata), rows };
}

function progress({ resourceVersion, annotations }: JsonObject): JsonObject {
  const end = isObject(annotations) ? annotations[INITIAL_EVENTS_END] : undefined;
  return {
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(end === undefined ? {} : { annotations: { [INITIAL_EVENTS_END]: end } }),
  };
}

const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

function head({ kind, apiVersion }: JsonObject): JsonObject {
  return {
    ...(kind === undefined ? {} : { kind }),
    ...(apiVersion === undefined ? {} : { apiVersion }),
  };
}

/** What a client that was shown it needs to forget it, and nothing of what it has become. */
function named(object: JsonObject): JsonObject {
  const metadata = isObject(object.metadata) ? object.metadata : {};
  const kept = ["name", "namespace", "uid", "resourceVersion"].flatMap((name) =>
    metadata[name] === undefined ? [] : [[name, metadata[name]] as const],
  );
  return { ...head(object), metadata: Object.fromEntries(kept) as JsonObject };
}

function emptied(row: Json): Json {
  if (!isObject(row)) return row;
  const cells = Array.isArray(row.cells) ? (row.cells as readonly Json[]) : [];
  const object = isObject(row.object) ? named(row.object) : {};
  return { cells: cells.map(() => ""), object };
}

function hasColumns(table: JsonObject): boolean {
  return Array.isArray(table.columnDefinitions) && table.columnDefinitions.length > 0;
}

function text(event: Json): Buffer {
  return Buffer.from(JSON.stringify(event));
}

export function unfilterable(): GatewayError {
  return new GatewayError(
    "target_unavailable",
    "the API server answers in a form that cannot be judged item by item",
  );
}
