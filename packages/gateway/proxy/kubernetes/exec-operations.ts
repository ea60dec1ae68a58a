// What running a command in a container, attaching to one and forwarding a port do, as operations. A
// command is judged word by word, by the grammars that judge commands over SSH; one that cannot be read so
// is code nobody has read.

import { isTrue, parameters, type ResourceRequest } from "@custody/wire/kubernetes/request-info.ts";
import type { RequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import type { Effect, Operation, Resource } from "../../access/operation.ts";
import { attributesOf, readArgv } from "../../command/decide-command.ts";
import type { Grammars } from "../../command/load-grammars.ts";
import type { CommandEffect } from "../../command/scope.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { NO_FACTS } from "./body-facts.ts";
import { resourceOf, type StreamKind } from "./operations.ts";

export interface JudgedStream {
  readonly operation: Operation;
  /** What is sent: the words as they were decided. */
  readonly url: RequestUrl;
  readonly argv: readonly string[];
  readonly container: string;
  readonly isTerminal: boolean;
  /** Why it was not read word by word; undefined: it was. */
  readonly unread: string | undefined;
}

/** What the API server takes for each (k8s.io/api/core/v1, PodExecOptions and its like). */
const PARAMETERS: Readonly<Record<StreamKind, ReadonlySet<string>>> = {
  exec: new Set(["command", "container", "stdin", "stdout", "stderr", "tty"]),
  attach: new Set(["container", "stdin", "stdout", "stderr", "tty"]),
  portforward: new Set(["ports"]),
};

/** undefined: it has a parameter that is not known, one twice, or no command. */
export function judgeStream(
  target: KubernetesTarget,
  info: ResourceRequest,
  kind: StreamKind,
  url: RequestUrl,
  grammars: Grammars,
): JudgedStream | undefined {
  const names = url.query.map(([name]) => name).filter((name) => name !== "command");
  if (names.length !== new Set(names).size) return undefined;
  if (url.query.some(([name]) => !PARAMETERS[kind].has(name))) return undefined;
  const container = parameters(url, "container")[0] ?? "";
  const isTerminal = isTrue(parameters(url, "tty"));
  const resource = resourceOf(target, info, NO_FACTS, false);
  const shared = { url, container, isTerminal, argv: [], unread: undefined };
  if (kind !== "exec")
    return {
      ...shared,
      operation: operationOf([{ action: `k8s:${kind}`, resource }], resource, kind),
    };
  const argv = parameters(url, "command");
  if (argv.length === 0) return undefined;
  const reading = readArgv(
    argv.map((word) => Buffer.from(word)),
    grammars,
  );
  const effects = reading.ok ? reading.command.effects : [unreadEffect(argv)];
  const sent = reading.ok ? (reading.command.argv ?? argv) : argv;
  const others = url.query.filter(([name]) => name !== "command");
  const commands = sent.map((word) => ["command", word] as const);
  return {
    ...shared,
    operation: operationOf(
      effects.map((effect) => commandEffect(resource, info, container, effect)),
      resource,
      "exec",
    ),
    url: { ...url, query: [...commands, ...others] },
    argv: sent,
    unread: reading.ok ? undefined : reading.refusal.message,
  };
}

export function portOperation(
  target: KubernetesTarget,
  info: ResourceRequest,
  port: number,
): Operation {
  const resource = resourceOf(target, info, NO_FACTS, false, port);
  return operationOf([{ action: "k8s:portforward", resource }], resource, "portforward");
}

function operationOf(effects: readonly Effect[], on: Resource, action: string): Operation {
  const summary = `${action} on ${on.label}`;
  // Of a forwarded port nobody knows what it speaks.
  const maskable = action === "portforward" ? {} : { maskable: true as const };
  return { protocol: "kubernetes", effects, touches: [], summary, ...maskable };
}

function commandEffect(
  parent: Resource,
  { name, namespace }: ResourceRequest,
  container: string,
  effect: CommandEffect,
): Effect {
  return {
    action: effect.kind === "exec_code" ? "k8s:exec_code" : "k8s:exec",
    resource: {
      type: "K8s::Command",
      // The line may hold values, and an id goes into the log.
      id: `${parent.id}/${effect.program}`,
      path: `${parent.path}/${effect.line}`,
      label: `command ${effect.program} in pod ${name} of namespace ${namespace}`,
      parent,
      implied: false,
      attributes: { ...attributesOf(effect), namespace, pod: name, container },
    },
  };
}

function unreadEffect(argv: readonly string[]): CommandEffect {
  const line = argv
    .map((word) => JSON.stringify(word))
    .join(" ")
    .slice(0, 4096);
  return {
    ...{ kind: "exec_code", program: argv[0] ?? "", arguments: argv.slice(1) },
    ...{ subcommand: undefined, options: [], line, user: undefined, host: undefined },
    ...{ reads: [], writes: [], pathsKnown: false, known: false, open: false, environment: [] },
    ...{ depth: 0, launchers: [], background: true },
  };
}
