// A secret that cannot be printed by accident: every way an object becomes text gives "[secret]".
// Whoever needs the value says so with `reveal`, which is easy to search for in a review.

import { inspect } from "node:util";

export class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return "[secret]";
  }
  toJSON(): string {
    return "[secret]";
  }
  [inspect.custom](): string {
    return "[secret]";
  }
}
