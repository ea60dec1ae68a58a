import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startPostgres } from "../../../../conformance/support/postgres-server.ts";
import { effectsOf, openShop, type Shop, touchesOf } from "./classify-fixture.ts";
import type { QueryPlan } from "./plan.ts";

let shop: Shop;
before(async () => {
  shop = await openShop(await startPostgres({ databases: ["shop"] }));
});
after(async () => {
  await shop[Symbol.asyncDispose]();
});

function planOf(text: string): QueryPlan {
  const plan = shop.classify(text);
  assert.ok(!("unclassified" in plan), `${text}: ${"message" in plan ? plan.message : ""}`);
  return plan;
}

const ORDERS = "select table public.orders";
const CUSTOMERS = "select table public.customers";

/** statement, effects, touches */
const FOLLOWED: readonly (readonly [string, string, string])[] = [
  ["SELECT plus_one(1)", "execute +function public.plus_one", ""],
  ["SELECT order_count(3)", `execute +function public.order_count; ${ORDERS}`, ""],
  ["SELECT orders FROM counted", "see below", ""],
  ["SELECT address_of(1)", `execute +function public.address_of; ${CUSTOMERS}`, "inner email"],
  [
    "SELECT mail_again(1)",
    `execute +function public.address_of; execute +function public.mail_again; ${CUSTOMERS}`,
    "inner email",
  ],
  // What it is compared with may come from anywhere, so it is no match.
  ["SELECT finds('x')", `execute +function public.finds; ${CUSTOMERS}`, "inner email"],
  ["SELECT tells_mail()", `execute +function public.tells_mail; ${CUSTOMERS}`, "inner email"],
  // A default is part of the call.
  [
    "SELECT defaulted()",
    `execute +function public.address_of; execute +function public.defaulted; ${CUSTOMERS}`,
    "inner email",
  ],
  [
    "SELECT closes(1)",
    `execute +function public.closes; ${ORDERS}; update table public.orders`,
    "",
  ],
  // The whole row is an argument.
  [
    "SELECT named(c) FROM customers c",
    `execute +function public.named; ${CUSTOMERS}`,
    "inner email; inner email; inner phone",
  ],
  // Its owner's rights: a right of its own.
  ["SELECT counts_as_owner()", "execute function public.counts_as_owner", ""],
  ["SELECT elsewhere()", "execute +function public.elsewhere; select table internal.people", ""],
];

for (const [statement, effects, touches] of FOLLOWED)
  test(`followed: ${statement}`, () => {
    const plan = planOf(statement);
    if (effects !== "see below") assert.equal(effectsOf(plan), effects);
    else
      assert.match(
        effectsOf(plan),
        /execute \+function public.order_count; select table public.orders/,
      );
    for (const touch of touches.split("; "))
      assert.ok(touchesOf(plan).includes(touch), touchesOf(plan));
    if (touches === "") assert.equal(touchesOf(plan), "");
  });

test("a function that writes is no plain read, one that reads is", () => {
  assert.equal(planOf("SELECT closes(1)").plainRead, false);
  assert.equal(planOf("SELECT counts_as_owner()").plainRead, false);
});

test("what is not followed counts as touching everything and needs a permit", () => {
  for (const name of ["tuned()", "turns(3)", "defines()", "all_mails()"]) {
    const plan = planOf(`SELECT ${name}`);
    assert.match(effectsOf(plan), /execute function public\./, name);
    assert.match(touchesOf(plan), /inner email.*inner phone.*inner public\.base\.secret/, name);
  }
});

test("the server does what the plan says: a function's text is read in the session's path", async () => {
  const { rows } = await shop.client.query("SELECT mail_again(1) AS mail, elsewhere() AS people");
  assert.deepEqual(rows, [{ mail: "k4n4ry1@example.com", people: "1" }]);
});
