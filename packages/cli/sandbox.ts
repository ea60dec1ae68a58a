// A sandbox by bubblewrap around an agent's program: namespaces of its own, everything readable and
// nothing writable, no home, no network. The one way out is to the gateway: two sockets in the agent's
// private folder, at whose other end this process connects to the gateway's listeners and to nothing
// else. Inside, sandbox-inside.ts listens on loopback in their place and names resolve there, so that
// the clients' addresses and what they verify of TLS stay as they are outside.
//
// Owns the sockets and the connections through them.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, isIP, type Server, type Socket } from "node:net";
import { delimiter, join, relative, resolve } from "node:path";
import { pipeline } from "node:stream";

import { CliError } from "./faults.ts";

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface SandboxOptions {
  readonly bubblewrap: string;
  /** The agent's private folder; it is readable inside. */
  readonly directory: string;
  readonly gateway: Endpoint;
  readonly postgres: Endpoint | undefined;
  /** Folders that are hidden: the home, where credentials of ours are kept. */
  readonly hidden: readonly string[];
  readonly workingDirectory: string;
  readonly readable: readonly string[];
  readonly writable: readonly string[];
}

export interface Sandbox extends AsyncDisposable {
  /** Where the gateway's listeners are inside. */
  readonly gateway: Endpoint;
  readonly postgres: Endpoint | undefined;
  /** The command line that runs `program` inside. */
  command(program: string, args: readonly string[]): readonly [string, ...string[]];
}

const ISOLATED = [
  ...["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"],
  ...["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"],
];
/** Folders of sockets and of other programs' files. */
const EMPTIED = ["/tmp", "/var/tmp", "/run"];
const MAX_CONNECTIONS = 256;
/** Ports below it are for the privileged, who do not exist inside. */
const FIRST_FREE_PORT = 1024;
const MOVED_PORTS = 20_000;
const MAX_COVERED_SOCKETS = 512;

/** The program, tried. Throws CliError when it is not installed or may not make namespaces here. */
export function findBubblewrap(path: string | undefined): string {
  const found = (path ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, "bwrap"))
    .find((file) => existsSync(file));
  if (found === undefined)
    throw new CliError("refused", "--sandbox needs bubblewrap, which is not installed here", {
      hint: "install the package bubblewrap (Linux only); without --sandbox the program runs unconfined",
    });
  const tried = spawnSync(found, [...ISOLATED, "--", "/bin/true"], { encoding: "utf8" });
  if (tried.status === 0) return found;
  throw new CliError(
    "refused",
    "--sandbox: bubblewrap is installed and may not make a sandbox here",
    {
      hint: `${tried.stderr.trim() || "no reason given"}; unprivileged user namespaces have to be allowed`,
    },
  );
}

/** Throws CliError for what cannot be shown inside without showing what is hidden. */
export async function openSandbox(options: SandboxOptions): Promise<Sandbox> {
  await using stack = new AsyncDisposableStack();
  const { directory } = options;
  const names = new Map<string, string>();
  const forwards: { host: string; port: number; socket: string }[] = [];
  const place = async (outside: Endpoint, socketName: string): Promise<Endpoint> => {
    const inside = insideOf(outside, names);
    const socket = join(directory, socketName);
    stack.use(await openWay(socket, outside));
    forwards.push({ host: inside.address, port: inside.port, socket });
    return { host: outside.host, port: inside.port };
  };
  const gateway = await place(options.gateway, "gateway");
  const postgres =
    options.postgres === undefined ? undefined : await place(options.postgres, "postgres");
  const hosts = join(directory, "hosts");
  writeFileSync(hosts, hostsFile(names), { mode: 0o600 });
  const mounts = mountsOf(options, hosts);
  const kept = stack.move();
  return {
    gateway,
    postgres,
    command: (program, args) => [
      options.bubblewrap,
      ...[...ISOLATED, ...mounts, "--chdir", options.workingDirectory, "--"],
      ...[process.execPath, "--disable-warning=ExperimentalWarning", INSIDE],
      ...[JSON.stringify({ forwards }), program, ...args],
    ],
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

const INSIDE = join(import.meta.dirname, "sandbox-inside.ts");
/** What `custody` itself and sandbox-inside.ts are read from. */
const OWN_FILES = resolve(import.meta.dirname, "../..");

/** An address of the sandbox's own loopback for it; `names` gets what resolves there. */
function insideOf(outside: Endpoint, names: Map<string, string>) {
  const { host } = outside;
  const port = outside.port < FIRST_FREE_PORT ? outside.port + MOVED_PORTS : outside.port;
  if (isIP(host) !== 0) {
    if (host !== "::1" && !host.startsWith("127."))
      throw new CliError("refused", `--sandbox: the gateway is known by the address ${host} only`, {
        hint: "use it by a name that its certificate carries: hostnames in custody.yaml",
      });
    return { address: host, port };
  }
  const known = names.get(host);
  const address = known ?? `127.0.0.${names.size + 1}`;
  names.set(host, address);
  return { address, port };
}

function hostsFile(names: ReadonlyMap<string, string>): string {
  const lines = [...names].map(([name, address]) => `${address} ${name}\n`);
  return `${names.has("localhost") ? "" : "127.0.0.1 localhost\n"}${lines.join("")}`;
}

/** A socket whose every connection goes to one endpoint. */
async function openWay(path: string, to: Endpoint): Promise<AsyncDisposable> {
  const open = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (inside) => {
    const outside = connect({ ...to, allowHalfOpen: true });
    for (const socket of [inside, outside]) {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
    }
    pipeline(inside, outside, () => undefined);
    pipeline(outside, inside, () => undefined);
  });
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((done, failed) => {
    server.once("error", failed);
    server.listen(path, done);
  });
  return {
    async [Symbol.asyncDispose]() {
      const closed = new Promise((done) => server.close(done));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

/** In order: what is emptied, then what of it is shown again. */
function mountsOf(options: SandboxOptions, hosts: string): string[] {
  const hidden = [...EMPTIED, ...options.hidden]
    .filter(existsSync)
    .map((path) => realpathSync(path));
  const show = (option: string, path: string, how: "--ro-bind" | "--bind") => {
    const real = existingFolder(option, path);
    const inside = hidden.find((one) => isWithin(one, real) && real !== "/");
    if (real === "/" || inside !== undefined)
      throw new CliError("usage", `${option} ${path} would show ${inside ?? "everything"}`, {
        hint: "name a folder below it",
      });
    return [how, real, real];
  };
  const here = realpathSync(options.workingDirectory);
  const workable = !hidden.some((one) => isWithin(one, here));
  const shown = [
    ...[process.execPath, OWN_FILES].flatMap((path) => ["--ro-bind", path, path]),
    ...hidden.filter((path) => isWithin(path, OWN_FILES)).flatMap((path) => ["--tmpfs", path]),
    ...(workable ? ["--ro-bind", here, here] : []),
    ...options.readable.flatMap((path) => show("--readable", path, "--ro-bind")),
    ...options.writable.flatMap((path) => show("--writable", path, "--bind")),
  ];
  const isVisible = (path: string) =>
    !hidden.some((one) => isWithin(path, one)) || shown.some((one) => isWithin(path, one));
  return [
    ...hidden.flatMap((path) => ["--tmpfs", path]),
    ...shown,
    ...coveredSockets((path) => isVisible(path) && !isWithin(path, options.directory)),
    ...["--ro-bind", options.directory, options.directory],
    ...(existsSync("/etc/hosts") ? ["--ro-bind", hosts, "/etc/hosts"] : []),
  ];
}

/**
 * Network namespaces do not part sockets in the file system: a database's or a container engine's that
 * lies where the sandbox can see it is covered.
 */
function coveredSockets(isVisible: (path: string) => boolean): string[] {
  const paths = new Set<string>();
  for (const line of readFileSync("/proc/net/unix", "utf8").split("\n")) {
    const path = / (\/.*)$/.exec(line)?.[1];
    const socket = path === undefined ? undefined : reachableSocket(path);
    if (socket !== undefined) paths.add(socket);
  }
  const visible = [...paths].filter(isVisible);
  if (visible.length <= MAX_COVERED_SOCKETS)
    return visible.flatMap((path) => ["--ro-bind", "/dev/null", path]);
  throw new CliError(
    "refused",
    `--sandbox: ${visible.length} sockets would have to be covered, more than ${MAX_COVERED_SOCKETS}`,
  );
}

/** Its real path; undefined when it is gone, or lies where we, and so the program, may not look. */
function reachableSocket(path: string): string | undefined {
  try {
    return statSync(path).isSocket() ? realpathSync(path) : undefined;
  } catch {
    return undefined;
  }
}

function existingFolder(option: string, path: string): string {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw new CliError("usage", `${option} ${path}: there is no such folder`);
  return realpathSync(path);
}

/** Is `path` at or below `folder`? */
function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== ".." && !way.startsWith("../");
}
