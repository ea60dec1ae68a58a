// What SSH requests do, as operations: effects on commands, paths, accounts and destinations. A command
// line is never in a resource's id, which goes into the log as it is: lines carry values. It is in the
// attributes that policies read and in the path that grants match.

import type { Effect, Operation, Resource } from "../../access/operation.ts";
import { attributesOf, type DecidedCommand } from "../../command/decide-command.ts";
import type { CommandEffect } from "../../command/scope.ts";
import { transferOf } from "./transfers.ts";

/** Where it happens. */
export interface Site {
  readonly target: string;
  readonly account: string;
}

export type PathAction = "sftp_list" | "sftp_read" | "sftp_write" | "sftp_remove";

export interface PathUse {
  readonly action: PathAction;
  /** Absolute and free of `.`, `..` and symbolic links. */
  readonly path: string;
}

const MAX_DEPTH = 128;

/** A command line that was read word by word. */
export function commandOperation(site: Site, command: DecidedCommand): Operation {
  const effects = command.effects.map((effect) => commandEffect(site, effect));
  const transfer = command.effects.find((effect) => transferOf(effect) !== undefined);
  return operation(
    [...effects, ...transferEffects(site, command)],
    transfer === undefined
      ? true
      : `${transfer.program} sends more than text; sftp reads files masked`,
  );
}

/** A line that only the host's shell reads: `line` as a whole. */
export function rawOperation(site: Site, effect: CommandEffect): Operation {
  return operation([commandEffect(site, effect)], true);
}

/** What concerns the account as a whole. */
export function accountOperation(
  site: Site,
  action: "shell" | "forward_agent" | "forward_x11",
): Operation {
  return operation([{ action: `ssh:${action}`, resource: accountOf(site) }]);
}

/** To speak SFTP is to be connected; each of its requests is an operation of its own. */
export function sftpOperation(): Operation {
  return { ...operation([], true), summary: "sftp" };
}

/** undefined: a path nested too deep to be judged. */
export function pathOperation(
  site: Site,
  uses: readonly PathUse[],
  maskable: true | string,
): Operation | undefined {
  const effects: Effect[] = [];
  for (const { action, path } of uses) {
    const resource = pathOf(site, path);
    if (resource === undefined) return undefined;
    effects.push({ action: `ssh:${action}`, resource });
  }
  return operation(effects, maskable);
}

export function destinationOperation(
  site: Site,
  action: "forward_local" | "forward_remote",
  host: string,
  port: number,
): Operation {
  const parent = accountOf(site);
  const path = `${host}:${port}`;
  return operation([
    {
      action: `ssh:${action}`,
      resource: {
        type: "SSH::Destination",
        id: `${parent.id}/${path}`,
        path,
        label: `destination ${path}`,
        parent,
        implied: false,
        attributes: { host, port },
      },
    },
  ]);
}

export function variableOperation(site: Site, name: string, value: string): Operation {
  const parent = accountOf(site);
  return operation(
    [
      {
        action: "ssh:setenv",
        resource: {
          type: "SSH::Variable",
          id: `${parent.id}/${name}`,
          path: name,
          label: `variable ${name}`,
          parent,
          implied: false,
          attributes: { name, value },
        },
      },
    ],
    true,
  );
}

function commandEffect(site: Site, effect: CommandEffect): Effect {
  const parent = accountOf(site);
  return {
    action: effect.kind === "exec_code" ? "ssh:exec_code" : "ssh:exec",
    resource: {
      type: "SSH::Command",
      id: `${parent.id}/${effect.program}`,
      path: effect.line,
      label: `command ${effect.program}`,
      parent,
      implied: false,
      attributes: attributesOf(effect),
    },
  };
}

// The server's side of scp, rsync and git moves files as SFTP does, so it is judged as both. Where the
// line does not tell which files, it is the account's files as a whole.
function transferEffects(site: Site, command: DecidedCommand): Effect[] {
  return command.effects.flatMap((effect) => {
    const transfer = transferOf(effect);
    if (transfer === undefined) return [];
    const uses: PathUse[] = [
      ...effect.reads.map((path) => ({ action: "sftp_read" as const, path })),
      ...effect.writes.map((path) => ({ action: "sftp_write" as const, path })),
    ];
    const known = uses.map(({ action, path }) => ({ action, resource: pathOf(site, path) }));
    if (!effect.pathsKnown || known.length === 0) {
      known.push({ action: transfer, resource: undefined });
    }
    return known.map(({ action, resource }) => ({
      action: `ssh:${action}`,
      resource: resource ?? accountOf(site),
    }));
  });
}

function accountOf({ target, account }: Site): Resource {
  return {
    type: "SSH::Account",
    id: `${target}/${account}`,
    path: account,
    label: `account ${account}`,
    parent: undefined,
    implied: false,
  };
}

function pathOf(site: Site, path: string): Resource | undefined {
  const names = path.split("/").filter((name) => name !== "");
  if (!path.startsWith("/") || names.length > MAX_DEPTH) return undefined;
  const account = accountOf(site);
  let resource = pathResource(account, "/", account);
  let at = "";
  for (const name of names) {
    at += `/${name}`;
    resource = pathResource(account, at, resource);
  }
  return resource;
}

function pathResource(account: Resource, path: string, parent: Resource): Resource {
  return {
    type: "SSH::Path",
    id: `${account.id}${path}`,
    path,
    label: path,
    parent,
    implied: false,
  };
}

function operation(effects: readonly Effect[], maskable?: true | string): Operation {
  const summary = effects
    .map(({ action, resource }) => `${action.slice("ssh:".length)} on ${resource.label}`)
    .join("; ");
  const masks = maskable === undefined ? {} : { maskable };
  return { protocol: "ssh", effects, touches: [], summary, ...masks };
}
