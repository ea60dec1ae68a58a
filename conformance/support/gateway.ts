// The real gateway for the demo and the conformance suites: `custody init` makes its authority and
// starter policies, `custody serve` runs it in a process of its own.

import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { CUSTODY, runCustody, userEnvironment } from "./command-line.ts";
import { startWatched, type WatchedProcess } from "./watched-process.ts";

export interface GatewayOptions {
  /** An empty folder for its configuration and data. */
  readonly folder: string;
  /** The text of custody.yaml; `data`, `policies` and `listen` are put in front of it. */
  readonly configuration: string;
  /** true: the SSH door too. */
  readonly ssh?: boolean;
  /** true: the door for clients of Kubernetes too. */
  readonly kubernetes?: boolean;
  /** A data folder whose SSH keys it gets, which a target knows already. */
  readonly sshKeysOf?: string;
  /** true: health and metrics too. */
  readonly admin?: boolean;
  /** More policies beside the starter's: file name → text. */
  readonly policies?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Processes for clients' connections; CUSTODY_TEST_WORKERS where it is left out, else one for all. */
  readonly workers?: number;
}

export interface TestGateway extends AsyncDisposable {
  readonly postgres: { readonly host: string; readonly port: number };
  /** Where the configuration listens for it. */
  readonly ssh: { readonly host: string; readonly port: number } | undefined;
  readonly kubernetes: { readonly host: string; readonly port: number } | undefined;
  /** `https://127.0.0.1:<port>` */
  readonly url: string;
  /** `https://127.0.0.1:<port>` of health and metrics, where the configuration listens for them. */
  readonly adminUrl: string | undefined;
  readonly caFile: string;
  /** As `custody login --ca-fingerprint` takes it. */
  readonly fingerprint: string;
  readonly configFile: string;
  readonly dataFolder: string;
  readonly process: WatchedProcess;
  readonly pid: number;
  /** All it wrote to stdout and stderr so far. */
  output(): string;
}

const READY_TIMEOUT_MS = 120_000;
const HEADER = `version: 1
data: ./data
policies: ./policies
`;
const LISTEN = "postgres: 127.0.0.1:0, https: 127.0.0.1:0";

/** Initialises a folder and serves from it. */
export async function startGateway(options: GatewayOptions): Promise<TestGateway> {
  const { folder } = options;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const init = await runCustody(["init", folder, "--json"], { home: folder });
  if (init.exitCode !== 0) throw new Error(`custody init failed:\n${init.stderr}${init.stdout}`);
  if (options.sshKeysOf !== undefined)
    for (const name of readdirSync(join(options.sshKeysOf, "keys")))
      copyFileSync(join(options.sshKeysOf, "keys", name), join(folder, "data", "keys", name));
  const configFile = join(folder, "custody.yaml");
  const more = (["ssh", "kubernetes", "admin"] as const).filter((name) => options[name] === true);
  const listen = [LISTEN, ...more.map((name) => `${name}: 127.0.0.1:0`)].join(", ");
  writeFileSync(configFile, `${HEADER}listen: { ${listen} }\n${options.configuration}`);
  for (const [name, text] of Object.entries(options.policies ?? {}))
    writeFileSync(join(folder, "policies", name), text);
  return await serve(configFile, folder, options.env ?? {}, options.workers);
}

/** Serves from a folder that `startGateway` has initialised, after that gateway ended. */
export async function restartGateway(
  folder: string,
  env: Readonly<Record<string, string>> = {},
  workers?: number,
): Promise<TestGateway> {
  return await serve(join(folder, "custody.yaml"), folder, env, workers);
}

interface ReadyLine {
  readonly postgres: { readonly host: string; readonly port: number };
  readonly ssh?: { readonly host: string; readonly port: number };
  readonly kubernetes?: { readonly host: string; readonly port: number };
  readonly https: { readonly host: string; readonly port: number };
  readonly fingerprint: string;
  readonly admin?: { readonly host: string; readonly port: number };
}

async function serve(
  configFile: string,
  folder: string,
  env: Readonly<Record<string, string>>,
  workers = Number(process.env.CUSTODY_TEST_WORKERS ?? 1),
): Promise<TestGateway> {
  const shared = workers === 1 ? [] : ["--workers", String(workers)];
  const watched = startWatched(
    [process.execPath, CUSTODY, "serve", "--config", configFile, "--json", ...shared],
    { env: userEnvironment(folder, env), cwd: folder },
  );
  let output = "";
  const ready = Promise.withResolvers<ReadyLine>();
  const { stdout, stderr } = watched.child;
  stderr?.on("data", (chunk) => {
    output += chunk;
  });
  if (stdout !== null)
    createInterface({ input: stdout }).on("line", (line) => {
      output += `${line}\n`;
      const found = readyLine(line);
      if (found !== undefined) ready.resolve(found);
    });
  const timer = setTimeout(() => ready.reject(new Error("it took too long")), READY_TIMEOUT_MS);
  watched.exited.then((code) => ready.reject(new Error(`it ended with ${code}`)));
  try {
    const { postgres, ssh, kubernetes, https, admin, fingerprint } = await ready.promise;
    return {
      postgres,
      ssh,
      kubernetes,
      url: `https://${https.host}:${https.port}`,
      adminUrl: admin === undefined ? undefined : `https://${admin.host}:${admin.port}`,
      caFile: join(folder, "data", "ca", "ca.pem"),
      fingerprint,
      configFile,
      dataFolder: join(folder, "data"),
      process: watched,
      pid: await watched.pid,
      output: () => output,
      async [Symbol.asyncDispose]() {
        await watched.stop();
      },
    };
  } catch (error) {
    await watched.stop();
    throw new Error(`the gateway did not start: ${(error as Error).message}\n${output}`);
  } finally {
    clearTimeout(timer);
  }
}

/** The line `custody serve --json` prints when it listens; undefined for any other line. */
function readyLine(line: string): ReadyLine | undefined {
  if (!line.startsWith("{")) return undefined;
  const value = JSON.parse(line);
  return value.https === undefined ? undefined : value;
}
