// A gateway as a process: arguments → configuration → compose → run → dispose. `custody serve` calls it.

import { pino } from "pino";
import { systemClock } from "./base/clock.ts";
import { GatewayError } from "./base/errors.ts";
import type { Address } from "./compose/listeners.ts";
import { compose, type Gateway } from "./compose.ts";
import { describeProblem } from "./config/config.ts";
import { watchConfig } from "./config/watch.ts";
import { loadSettings, needsRestart, type Settings } from "./live.ts";

export interface ListeningAddresses {
  readonly postgres: Address | undefined;
  readonly ssh: Address | undefined;
  readonly kubernetes: Address | undefined;
  readonly https: Address;
  readonly admin: Address | undefined;
  /** SHA-256 of the CA that clients are to trust. */
  readonly fingerprint: string;
}

export interface ServeOptions {
  readonly configPath: string;
  /** Processes for clients' connections; undefined: as the configuration says. */
  readonly workers?: number | undefined;
  readonly onReady?: (listening: ListeningAddresses) => void;
}

/**
 * Runs until SIGINT or SIGTERM, or until it must not go on; the process's exit code. Throws GatewayError
 * "configuration" when it cannot start.
 */
export async function serve(options: ServeOptions): Promise<number> {
  const logger = pino({ name: "custody", base: null }, pino.destination({ dest: 2, sync: true }));
  const log = (message: string, error?: unknown) =>
    error === undefined
      ? logger.info(message)
      : logger.warn({ cause: describeCause(error) }, message);
  const ended = Promise.withResolvers<number>();
  const settings = await load(options);
  const gateway = await compose(settings, {
    clock: systemClock,
    environment: process.env,
    log,
    onFault: (thrown) => log("a fault that nobody waited for", thrown),
    onFailure(error) {
      // Not even the way out may forward anything: what is not in the journal did not happen.
      logger.fatal({ cause: describeCause(error) }, error.message);
      process.exit(70);
    },
  });
  let running = settings;
  const reload = reloader(options, settings, gateway, log, (applied) => {
    running = applied;
  });
  const watch = watchConfig(
    settings.config.file,
    settings.config.policiesDirectory,
    () => void reload(),
    () => running.config.grammars.map(({ name }) => name),
  );
  const stop = () => ended.resolve(0);
  const hangUp = () => void reload();
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  process.on("SIGHUP", hangUp);
  const { postgres, ssh, kubernetes, https, admin, fingerprint } = gateway;
  options.onReady?.({ postgres, ssh, kubernetes, https, admin, fingerprint });
  const code = await ended.promise;
  watch[Symbol.dispose]();
  process.off("SIGINT", stop);
  process.off("SIGTERM", stop);
  process.off("SIGHUP", hangUp);
  await gateway[Symbol.asyncDispose]();
  return code;
}

async function load({ configPath, workers }: ServeOptions): Promise<Settings> {
  const loaded = await loadSettings(configPath, workers);
  if (loaded.ok) return loaded;
  throw new GatewayError("configuration", loaded.problems.map(describeProblem).join("\n"), {
    hint: "custody check",
  });
}

/** One at a time; a change that comes during one is seen by the next. */
function reloader(
  { configPath, workers }: ServeOptions,
  first: Settings,
  gateway: Gateway,
  log: (message: string, error?: unknown) => void,
  onApplied: (settings: Settings) => void,
): () => Promise<void> {
  let current = first;
  let last: Promise<void> = Promise.resolve();
  const once = async () => {
    const loaded = await loadSettings(configPath, workers);
    if (!loaded.ok) {
      const problems = loaded.problems.map(describeProblem).join("\n");
      log(`the new configuration was refused, the running one stays:\n${problems}`);
      gateway.refuse(loaded.problems.length);
      return;
    }
    const fixed = needsRestart(current.config, loaded.config);
    if (fixed !== undefined) {
      log(`the new configuration changes \`${fixed}\`, which needs a restart; nothing was changed`);
      gateway.refuse(1);
      return;
    }
    try {
      await gateway.apply(loaded);
    } catch (thrown) {
      if (!(thrown instanceof GatewayError) || thrown.code !== "configuration") throw thrown;
      log(`the new configuration was refused, the running one stays: ${thrown.message}`, thrown);
      gateway.refuse(1);
      return;
    }
    current = loaded;
    onApplied(loaded);
    log(`configuration loaded, policies version ${loaded.policies.version}`);
  };
  return () => {
    last = last
      .then(once, once)
      .catch((error) => log("the configuration could not be read", error));
    return last;
  };
}

/** For the operator's log: messages of the chain of causes; a driver's error can carry nothing more. */
function describeCause(error: unknown): string {
  const messages: string[] = [];
  for (let at: unknown = error; at instanceof Error && messages.length < 5; at = at.cause)
    messages.push(`${at.name}: ${at.message}`);
  return messages.length === 0 ? String(error) : messages.join(" ← ");
}
