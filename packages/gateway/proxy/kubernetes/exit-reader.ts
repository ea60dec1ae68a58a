// The Status that ends a process, on the channel for errors: `details.causes` has its exit code. It is read once, at
// its end, in however many pieces it came.
//
// Who owns the state: one a command.

import { Gathered } from "@custody/wire/bytes/gathered.ts";
import { isObject, parseJson } from "./json-text.ts";

const MAX_STATUS_BYTES = 64 << 10;

export class ExitReader {
  /** Of all that passed, for who counts. */
  bytes = 0;
  readonly #said = new Gathered();
  #code: number | undefined;

  read(data: Buffer): void {
    if (this.#said.length + data.length <= MAX_STATUS_BYTES) this.#said.add(data);
  }

  /** undefined: it said none that is known. */
  get code(): number | undefined {
    if (this.#said.length > 0) this.#code = codeOf(this.#said.take());
    return this.#code;
  }
}

function codeOf(said: Buffer): number | undefined {
  try {
    const value = parseJson(said.toString("utf8"));
    if (!isObject(value)) return undefined;
    const details = isObject(value.details) ? value.details : {};
    const causes = Array.isArray(details.causes) ? details.causes : [];
    for (const cause of causes)
      if (isObject(cause) && cause.reason === "ExitCode") return Number(cause.message);
    return value.status === "Success" ? 0 : undefined;
  } catch {
    return undefined;
  }
}
