// Redirections that shells of one language do not all carry out alike.

import { type Pipeline, type Refusal, refuse, type Script } from "./script.ts";

/** bash opens a connection for these names, whatever is quoted (its manual, "Redirections"). */
const NETWORK = /^\/dev\/(tcp|udp)\//;

/** What is wrong with the redirections of a script, if anything. */
export function redirectionRefusal(script: Script): Refusal | undefined {
  for (const { pipelines } of script.lists)
    for (const pipeline of pipelines) {
      const found = refusalOf(pipeline);
      if (found !== undefined) return refuse("syntax", found).refusal;
    }
  return undefined;
}

function refusalOf({ commands }: Pipeline): string | undefined {
  for (const [index, { redirects }] of commands.entries()) {
    const used = new Set<number>();
    // A pipe is a redirection too: where a file is given beside it, zsh uses both.
    if (index > 0) used.add(0);
    if (index < commands.length - 1) used.add(1);
    for (const one of redirects) {
      if (used.has(one.fd))
        return `descriptor ${one.fd} goes to two places, which shells do not all read alike`;
      used.add(one.fd);
      if (one.kind === "file" && NETWORK.test(one.path))
        return "a redirection to /dev/tcp or /dev/udp is a connection in bash";
    }
  }
  return undefined;
}
