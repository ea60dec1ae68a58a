// The hunt for canaries by a generator: random requests for random objects, every byte that comes back
// searched. That it can find is shown by chains that may see one class: of that one, and of no other, it finds.

import { randomBytes } from "node:crypto";
import type { KubernetesStage } from "../../kubernetes/stage.ts";
import { type Attacked, exchange, leaks } from "./attack.ts";
import {
  type CanaryClass,
  type Dice,
  diceOf,
  type Planted,
  plantRandom,
} from "./random-objects.ts";
import { randomRequest } from "./random-requests.ts";

export interface HuntOptions {
  readonly seed: number;
  readonly requests: number;
  readonly objects: number;
}

export interface HuntReport {
  /** What is wrong, a sentence each. */
  readonly wrong: readonly string[];
  /** How many of the checks there were. */
  readonly checks: number;
  readonly summary: string;
}

const CLASSES: readonly CanaryClass[] = ["secret.k8s", "secret.k8s.env", "secret.token"];
const AT_ONCE = 4;
/** Enough for each class to be met many times. */
const UNMASKED_REQUESTS = 120;

export async function hunt(
  stage: KubernetesStage,
  at: Omit<Attacked, "canaries">,
  { objects, requests, seed }: HuntOptions,
): Promise<HuntReport> {
  const canaries = Object.fromEntries(
    CLASSES.map((name) => [name, `canary${randomBytes(12).toString("hex")}`]),
  ) as Record<CanaryClass, string>;
  const dice = diceOf(seed);
  const planted = await plantRandom(stage.cluster, dice, objects, canaries);
  const all = Object.values(canaries);
  const masked = await search({ at: { ...at, canaries: all }, dice, planted, requests });
  const wrong = [...masked.found.entries()].map(([id, what]) => `${id}: ${what}`);
  if (masked.answered < requests / 3)
    wrong.push(
      `only ${masked.answered} of ${requests} requests were answered: too little was searched`,
    );
  for (const name of CLASSES) {
    const token = await stage.delegate("engineer", "sees-one", "k8s:*", "*", ["--unmask", name]);
    const others = all.filter((one) => one !== canaries[name]);
    const again = { dice: diceOf(seed), planted, requests: UNMASKED_REQUESTS };
    const seen = await search({ ...again, at: { ...at, token, canaries: [canaries[name]] } });
    if (seen.found.size === 0) wrong.push(`with ${name} unmasked nothing of it is found`);
    const hidden = await search({
      ...again,
      dice: diceOf(seed),
      at: { ...at, token, canaries: others },
    });
    for (const [id, what] of hidden.found) wrong.push(`with ${name} unmasked, ${id}: ${what}`);
  }
  return {
    wrong,
    checks: requests + CLASSES.length * 2,
    summary: `seed ${seed}: ${requests} requests for ${planted.length} objects, ${masked.answered} answered, ${Math.round(masked.bytes / 1024)} KiB searched`,
  };
}

interface Search {
  readonly at: Attacked;
  readonly dice: Dice;
  readonly planted: readonly Planted[];
  readonly requests: number;
}

async function search({ at, dice, planted, requests }: Search) {
  const found = new Map<string, string>();
  const left = Array.from({ length: requests }, (_, index) => randomRequest(dice, planted, index));
  let answered = 0;
  let bytes = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let one = left.shift(); one !== undefined; one = left.shift()) {
        const answer = await exchange(at, one).catch(() => Buffer.alloc(0));
        if (/^HTTP\/1\.1 2\d\d/.test(answer.toString("latin1", 0, 12))) answered++;
        bytes += answer.length;
        const [leak] = leaks(answer, at.canaries);
        if (leak !== undefined) found.set(one.id, leak);
      }
    }),
  );
  return { found, answered, bytes };
}
