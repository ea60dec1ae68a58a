// What every command has: where to print, whether for people or programs, and which gateway as whom.
//
// The gateway comes from CUSTODY_URL and CUSTODY_CA (a PEM file), else from a context (--context,
// CUSTODY_CONTEXT, the current one). The credential is CUSTODY_TOKEN, else the context's: an agent is
// given the first and needs no files.

import { readFileSync } from "node:fs";

import type { Command } from "commander";

import { type Client, type ClientOptions, createClient } from "./client.ts";
import { type ContextStore, openContexts } from "./contexts.ts";
import { CliError, EXIT_CODES } from "./faults.ts";
import { type HolderKey, readHolderKey } from "./holder-key.ts";
import { type Io, jsonLine, type Palette, paletteOf } from "./output.ts";

export interface Gateway {
  /** undefined: from the environment. */
  readonly contextName: string | undefined;
  readonly url: string;
  /** PEM; null: the system's CAs. */
  readonly ca: string | null;
  readonly caFile: string | undefined;
  readonly token: string | undefined;
  /** CUSTODY_KEY: the key that the token is bound to. */
  readonly key: HolderKey | undefined;
}

export interface Invocation {
  readonly io: Io;
  readonly json: boolean;
  readonly palette: Palette;
  readonly contexts: ContextStore;
  /** As `--context` says. */
  readonly chosenContext: string | undefined;
  gateway(): Gateway;
  /** With the gateway's client, closed afterwards. */
  withClient<Result>(
    use: (client: Client) => Promise<Result>,
    options?: Pick<ClientOptions, "bindTo">,
  ): Promise<Result>;
  /** `value` as JSON with `--json`, else what `people` makes of it. */
  print(value: unknown, people: () => string): void;
  /** What there is to say has been printed; only the exit code is left. */
  exit(code: keyof typeof EXIT_CODES | number): never;
}

/** Ends a command whose result is a failure that was printed already. */
export class SaidExit extends Error {
  readonly exit: number;
  constructor(exit: keyof typeof EXIT_CODES | number) {
    super(`exit: ${exit}`);
    this.exit = typeof exit === "number" ? exit : EXIT_CODES[exit];
  }
}

/** The handler of a command: its arguments, its options, then this. */
export function invocationOf(command: Command, io: Io): Invocation {
  const global = command.optsWithGlobals<{ json?: boolean; context?: string }>();
  const contexts = openContexts(io.environment);
  const gateway = () => resolveGateway(io, contexts, global.context);
  return {
    io,
    json: global.json === true,
    palette: paletteOf(io),
    contexts,
    chosenContext: global.context,
    gateway,
    withClient: async (use, options = {}) => {
      const client = createClient({ ...gateway(), ...options });
      try {
        return await use(client);
      } finally {
        await client.close();
      }
    },
    print: (value, people) => {
      io.stdout(global.json === true ? jsonLine(value) : people());
    },
    exit: (code) => {
      throw new SaidExit(code);
    },
  };
}

function resolveGateway(io: Io, contexts: ContextStore, chosen: string | undefined): Gateway {
  const { CUSTODY_URL, CUSTODY_CA, CUSTODY_CONTEXT, CUSTODY_TOKEN } = io.environment;
  if (CUSTODY_URL !== undefined && chosen === undefined)
    return {
      contextName: undefined,
      url: CUSTODY_URL,
      ca: CUSTODY_CA === undefined ? null : readCa(CUSTODY_CA),
      caFile: CUSTODY_CA,
      token: CUSTODY_TOKEN,
      key: holderKeyOf(io),
    };
  const contextName = chosen ?? CUSTODY_CONTEXT ?? contexts.currentName();
  if (contextName === undefined)
    throw new CliError("unauthenticated", "no gateway is known here", {
      hint: "custody login https://HOST:7443 --ca-fingerprint …",
    });
  const context = contexts.read(contextName);
  if (context === undefined) {
    const known = contexts.names();
    throw new CliError("usage", `there is no context "${contextName}"`, {
      hint: known.length > 0 ? `there are: ${known.join(", ")}` : "custody login makes one",
    });
  }
  return {
    contextName,
    url: context.url,
    ca: context.ca,
    caFile: contexts.caFile(contextName),
    token: CUSTODY_TOKEN ?? context.token ?? undefined,
    key: holderKeyOf(io),
  };
}

/** The key of CUSTODY_KEY's file; undefined: there is none, and delegations are bearers. */
export function holderKeyOf(io: Io): HolderKey | undefined {
  const { CUSTODY_KEY } = io.environment;
  return CUSTODY_KEY === undefined ? undefined : readHolderKey(CUSTODY_KEY);
}

function readCa(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new CliError("usage", `CUSTODY_CA names ${path}, which cannot be read`, { cause: error });
  }
}
