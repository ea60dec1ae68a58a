// What verification of a log finds wrong, each in words that name the shard and the record, or the file.

import { summarizeLeaf } from "../core/leaf.ts";

export interface LogProblem {
  /** "2027"; "" where the log is not in shards. */
  readonly shard: string;
  /** The record's place in its shard; undefined when it is about a file as a whole. */
  readonly index: number | undefined;
  /** `command.intent r-7f3k` */
  readonly record: string | undefined;
  readonly file: string;
  readonly what: string;
  /** All of it in one line: `record 17 (command.intent r-7f3k): …`, `record 2027/17 (…): …` */
  readonly message: string;
}

const MAX_PROBLEMS = 1000;

export class Findings {
  readonly problems: LogProblem[] = [];
  /** Beyond the first 1,000. */
  further = 0;
  hasTreeProblem = false;
  #shard = "";

  /** What is found from now on is about this shard. */
  enter(shard: string): void {
    this.#shard = shard;
    this.hasTreeProblem = false;
  }

  pathOf(file: string): string {
    return this.#shard === "" ? file : `${this.#shard}/${file}`;
  }

  add(problem: {
    index?: number;
    entry?: Uint8Array | undefined;
    file: string;
    what: string;
  }): void {
    if (this.problems.length === MAX_PROBLEMS) {
      this.further++;
      return;
    }
    const { index, what } = problem;
    const file = this.pathOf(problem.file);
    const record = problem.entry === undefined ? undefined : summarizeLeaf(problem.entry);
    const place = `record ${this.pathOf(String(index))}`;
    const name = record === undefined ? place : `${place} (${record})`;
    const message = index === undefined ? `${file}: ${what}` : `${name}: ${what}`;
    this.problems.push({ shard: this.#shard, index, record, file, what, message });
  }
}
