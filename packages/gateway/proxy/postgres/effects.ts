// The effects of a statement as it is taken apart: actions on resources, each once, in order.
//
// Names of a database may contain anything, "/" and "*" too; in a resource's id and path they are
// percent-encoded, so that one path never means two things and never is a pattern.

import type { Effect, Resource } from "../../access/operation.ts";

export type SqlAction =
  | "select"
  | "insert"
  | "update"
  | "delete"
  | "truncate"
  | "create"
  | "alter"
  | "drop"
  | "grant"
  | "execute"
  | "copy_in"
  | "copy_out"
  | "lock"
  | "notify"
  | "maintain"
  | "unsafe_io"
  | "unknown";

/** Where a database is: the first two parts of every resource's id. */
export interface Place {
  readonly target: string;
  readonly database: string;
}

export class EffectList {
  readonly #effects = new Map<string, Effect>();

  add(action: SqlAction, resource: Resource): void {
    this.addAll([{ action: `sql:${action}`, resource }]);
  }

  /** Of what is judged by something else: `Effect.byWay`. */
  addByWay(action: SqlAction, resource: Resource): void {
    this.addAll([{ action: `sql:${action}`, resource, byWay: true }]);
  }

  addAll(effects: Iterable<Effect>): void {
    for (const effect of effects) {
      const { action, resource, byWay } = effect;
      const key = `${action}\0${resource.type}\0${resource.id}\0${resource.implied}\0${byWay}`;
      if (!this.#effects.has(key)) this.#effects.set(key, effect);
    }
  }

  list(): readonly Effect[] {
    return [...this.#effects.values()];
  }
}

export function databaseResource(place: Place): Resource {
  const path = encodeName(place.database);
  return {
    type: "SQL::Schema",
    id: `${place.target}/${path}`,
    path,
    label: `database ${place.database}`,
    parent: undefined,
    implied: false,
  };
}

export function schemaResource(place: Place, schema: string): Resource {
  const path = `${encodeName(place.database)}/${encodeName(schema)}`;
  return {
    type: "SQL::Schema",
    id: `${place.target}/${path}`,
    path,
    label: `schema ${schema}`,
    parent: undefined,
    implied: false,
  };
}

/** `kind` is the word people use: table, view, sequence, … */
export function tableResource(
  place: Place,
  kind: string,
  schema: string,
  name: string,
  implied = false,
): Resource {
  return under("SQL::Table", schemaResource(place, schema), kind, schema, name, implied);
}

export function functionResource(place: Place, schema: string, name: string): Resource {
  return under("SQL::Function", schemaResource(place, schema), "function", schema, name, false);
}

/** `select, delete on table public.orders`: what people are asked about. Never contains a value. */
export function summarise(effects: readonly Effect[]): string {
  const shown = effects.filter(({ resource, byWay }) => !resource.implied && byWay === undefined);
  if (shown.length === 0) return "no effect on data";
  const byResource = new Map<string, string[]>();
  for (const { action, resource } of shown) {
    const actions = byResource.get(resource.label) ?? [];
    actions.push(action.slice("sql:".length));
    byResource.set(resource.label, actions);
  }
  const parts = [...byResource].map(([label, actions]) => {
    // Reading what is changed goes without saying.
    const told = actions.length > 1 ? actions.filter((action) => action !== "select") : actions;
    return `${told.join(", ")} on ${label}`;
  });
  const limit = 6;
  if (parts.length <= limit) return parts.join("; ");
  return `${parts.slice(0, limit).join("; ")}; and ${parts.length - limit} more`;
}

function under(
  type: string,
  parent: Resource,
  kind: string,
  schema: string,
  name: string,
  implied: boolean,
): Resource {
  const path = `${parent.path}/${encodeName(name)}`;
  const id = `${parent.id}/${encodeName(name)}`;
  return { type, id, path, label: `${kind} ${schema}.${name}`, parent, implied };
}

function encodeName(name: string): string {
  return name.replaceAll(/[%/*\p{Cc}]/gu, (character) =>
    [...Buffer.from(character)].map((b) => `%${b.toString(16).padStart(2, "0")}`).join(""),
  );
}
