import assert from "node:assert/strict";
import { test } from "node:test";
import { createMatchBudget } from "./match-budget.ts";

function budgetOf(perHour: number, maxRoots?: number) {
  const clock = { now: 0, monotonicMs: () => clock.now };
  return { clock, budget: createMatchBudget(clock, perHour, maxRoots) };
}

test("a root has so many guesses of a class, whatever chain they come by", () => {
  const { budget } = budgetOf(2);
  assert.equal(budget("corp/erin").spend(["pii.email"]), true);
  assert.equal(budget("corp/erin").spend(["pii.email"]), true);
  assert.equal(budget("corp/erin").spend(["pii.email"]), false);
  assert.equal(budget("corp/erin").spend(["pii.phone"]), true);
  assert.equal(budget("corp/carol").spend(["pii.email"]), true);
});

test("what is refused takes nothing", () => {
  const { budget } = budgetOf(1);
  const guesses = budget("corp/erin");
  assert.equal(guesses.spend(["pii.email"]), true);
  assert.equal(guesses.spend(["pii.phone", "pii.email"]), false);
  assert.equal(guesses.spend(["pii.phone"]), true);
});

test("guesses come back evenly over an hour, and never more than there were", () => {
  const { budget, clock } = budgetOf(60);
  const guesses = budget("corp/erin");
  for (let guess = 0; guess < 60; guess++) assert.equal(guesses.spend(["pii.email"]), true);
  assert.equal(guesses.spend(["pii.email"]), false);
  clock.now += 60_000;
  assert.equal(guesses.spend(["pii.email"]), true);
  assert.equal(guesses.spend(["pii.email"]), false);
  clock.now += 100 * 3_600_000;
  for (let guess = 0; guess < 60; guess++) assert.equal(guesses.spend(["pii.email"]), true);
  assert.equal(guesses.spend(["pii.email"]), false);
});

test("who drew longest ago is forgotten first", () => {
  const { budget } = budgetOf(1, 2);
  const erin = budget("corp/erin");
  erin.spend(["pii.email"]);
  budget("corp/carol").spend(["pii.email"]);
  assert.equal(erin.spend(["pii.email"]), false);
  budget("corp/dan").spend(["pii.email"]);
  assert.equal(erin.spend(["pii.email"]), false);
  assert.equal(budget("corp/carol").spend(["pii.email"]), true);
});
