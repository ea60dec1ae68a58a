// The schema policies are written against: custody.cedarschema, shipped with the gateway. What an
// action can be asked on and which groups it is in are read from it, so that the file is the only
// place that says so.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { getCedarVersion, schemaToJson } from "@cedar-policy/cedar-wasm/nodejs";
import { GatewayError } from "../base/errors.ts";

/** A Cedar entity: `{ type: "SQL::Table", id: "orders/shop/public/customers" }`. */
export interface EntityUid {
  readonly type: string;
  readonly id: string;
}

export interface SchemaAction {
  readonly uid: EntityUid;
  /** Groups it is in, itself not. */
  readonly groups: readonly EntityUid[];
  readonly principalTypes: ReadonlySet<string>;
  readonly resourceTypes: ReadonlySet<string>;
}

export const SCHEMA_TEXT: string = readFileSync(
  new URL("./custody.cedarschema", import.meta.url),
  "utf8",
);

/** Part of every policy version: the same policies under another schema or engine are others. */
export const SCHEMA_VERSION: string = createHash("sha256")
  .update(`${getCedarVersion()}\n${SCHEMA_TEXT}`)
  .digest("hex")
  .slice(0, 12);

/** Every action that can be asked, by `entityKey`; groups are not in it. */
export const SCHEMA_ACTIONS: ReadonlyMap<string, SchemaAction> = readActions();

/** One string an entity; types contain no NUL. */
export function entityKey(uid: EntityUid): string {
  return `${uid.type}\0${uid.id}`;
}

/** For messages: `SQL::Action::"select"`. */
export function describeEntity(uid: EntityUid): string {
  return `${uid.type}::${JSON.stringify(uid.id)}`;
}

function readActions(): ReadonlyMap<string, SchemaAction> {
  const answer = schemaToJson(SCHEMA_TEXT);
  if (answer.type === "failure") {
    throw new GatewayError("internal", "the gateway's own policy schema is invalid", {
      cause: answer.errors,
    });
  }
  const parents = new Map<string, readonly EntityUid[]>();
  for (const [namespace, { actions }] of Object.entries(answer.json)) {
    for (const [id, action] of Object.entries(actions)) {
      const own = { type: `${namespace}::Action`, id };
      const groups = (action.memberOf ?? []).map((group) => ({
        type: group.type ?? own.type,
        id: group.id,
      }));
      parents.set(entityKey(own), groups);
    }
  }
  const actions = new Map<string, SchemaAction>();
  for (const [namespace, definition] of Object.entries(answer.json)) {
    const qualify = (name: string) => (name.includes("::") ? name : `${namespace}::${name}`);
    for (const [id, action] of Object.entries(definition.actions)) {
      const uid = { type: `${namespace}::Action`, id };
      // A group stands for its members and is never asked itself.
      if (action.appliesTo === undefined || action.appliesTo.resourceTypes.length === 0) continue;
      actions.set(entityKey(uid), {
        uid,
        groups: ancestorsOf(uid, parents),
        principalTypes: new Set(action.appliesTo.principalTypes.map(qualify)),
        resourceTypes: new Set(action.appliesTo.resourceTypes.map(qualify)),
      });
    }
  }
  return actions;
}

function ancestorsOf(
  uid: EntityUid,
  parents: ReadonlyMap<string, readonly EntityUid[]>,
): readonly EntityUid[] {
  const found = new Map<string, EntityUid>();
  const open = [uid];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const parent of parents.get(entityKey(next)) ?? []) {
      if (!found.has(entityKey(parent))) open.push(parent);
      found.set(entityKey(parent), parent);
    }
  }
  return [...found.values()];
}
