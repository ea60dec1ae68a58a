import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ACTIONS } from "../delegation/actions.ts";
import { entityKey, SCHEMA_ACTIONS } from "./schema.ts";

/** Asked by the gateway itself; no effect and no grant can name them. */
const OWN = ["approve", "administer", "delegate", "match", "join", "moderate", "replay", "unmask"];

describe("the policy schema", () => {
  it("has exactly the actions that can be asked", () => {
    const expected = [
      ...ACTIONS.map((action) => entityKey(action.cedar)),
      ...OWN.map((id) => entityKey({ type: "Custody::Action", id })),
    ];
    assert.deepEqual([...SCHEMA_ACTIONS.keys()].toSorted(), expected.toSorted());
  });

  it("groups them as grants do", () => {
    for (const action of ACTIONS) {
      const inSchema = SCHEMA_ACTIONS.get(entityKey(action.cedar))?.groups ?? [];
      const ofProtocol = inSchema
        .filter((group) => group.type === action.cedar.type && action.name.includes(":"))
        .map((group) => `${action.name.split(":", 1)[0]}:${group.id}`);
      assert.deepEqual(ofProtocol.toSorted(), action.groups.toSorted(), action.name);
    }
  });

  it("gives agents connect and the data actions in one group, and nothing else", () => {
    const inherited = [...SCHEMA_ACTIONS.values()]
      .filter((action) =>
        action.groups.some((group) => group.type === "Custody::Action" && group.id === "data"),
      )
      .map((action) => action.uid.id);
    const data = ACTIONS.filter(({ groups }) => groups.some((group) => group.endsWith(":data")));
    assert.deepEqual(
      inherited.toSorted(),
      ["connect", ...data.map((action) => action.cedar.id)].toSorted(),
    );
  });
});
