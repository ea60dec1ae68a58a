// What an agent asks of a cluster: with kubectl where the machine has one that is not too old, else by the
// requests kubectl would send, over plain HTTPS and a WebSocket, and then says so.

import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import {
  CHANNEL_ERROR,
  OPCODE_BINARY,
  OPCODE_CLOSE,
  WebSocketReader,
} from "@custody/wire/kubernetes/websocket.ts";
import { Agent, fetch } from "undici";
import { CUSTODY, userEnvironment } from "../conformance/support/command-line.ts";
import { type Actor, agentVariables, custodyJson, type Play } from "./play.ts";
import { CLUSTER } from "./stage.ts";

export interface ClusterAgent {
  /** kubectl's own words, or what an HTTPS client gets. Runs as long as the gateway lets it wait. */
  run(what: ClusterRequest): Promise<{ readonly succeeded: boolean; readonly output: string }>;
  close(): Promise<void>;
}

/** One thing that is asked, in both ways. */
export interface ClusterRequest {
  readonly kubectl: readonly string[];
  readonly method: "GET" | "DELETE";
  readonly path: string;
  /** A command in a container; the request is an upgrade then. */
  readonly isExec?: boolean;
}

/** The oldest that `npm run conformance:kubernetes` has been run with. */
const OLDEST_KUBECTL = 27;
const PATIENCE_MS = 60_000;

/** The kubeconfig of this agent, and what it is used with. */
export async function openClusterAgent(play: Play, who: Actor): Promise<ClusterAgent> {
  const config = await custodyJson<Kubeconfig>(play, who, [
    ...["kubeconfig", CLUSTER, "--namespace", "shop", "--command", pluginOf(play)],
  ]);
  const kubectl = await kubectlOnPath();
  return kubectl === undefined
    ? httpsAgent(play, who, config)
    : kubectlAgent(play, who, config, kubectl);
}

interface Kubeconfig {
  readonly clusters: readonly [
    {
      readonly cluster: { readonly server: string; readonly "certificate-authority-data"?: string };
    },
  ];
}

/** The command line under a path without blanks or a `#!` that this machine may not follow. */
function pluginOf({ stage }: Play): string {
  const file = join(stage.folder, "custody");
  writeFileSync(file, `#!/bin/sh\nexec '${process.execPath}' '${CUSTODY}' "$@"\n`);
  chmodSync(file, 0o755);
  return file;
}

function kubectlAgent(play: Play, who: Actor, config: Kubeconfig, program: string): ClusterAgent {
  const file = join(who.home, "kubeconfig");
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  return {
    async run({ kubectl }) {
      play.screen.asked(who.name, `$ kubectl ${kubectl.map(quoted).join(" ")}`);
      const child = spawn(program, ["--kubeconfig", file, ...kubectl], {
        env: userEnvironment(who.home, agentVariables(play.stage, who)),
        stdio: ["ignore", "pipe", "pipe"],
        timeout: PATIENCE_MS,
      });
      let output = "";
      for (const stream of [child.stdout, child.stderr])
        stream.on("data", (chunk) => {
          output += chunk;
        });
      const [code] = await once(child, "close");
      return answered(play, who, { succeeded: code === 0, output: output.trim() });
    },
    close: async () => undefined,
  };
}

function httpsAgent(play: Play, who: Actor, config: Kubeconfig): ClusterAgent {
  const { server } = config.clusters[0].cluster;
  const ca = readFileSync(play.stage.gateway.caFile, "utf8");
  const dispatcher = new Agent({ connect: { ca } });
  const authorization = `Bearer ${who.handle}`;
  return {
    async run({ isExec = false, method, path }) {
      play.screen.asked(who.name, `https> ${isExec ? "exec: " : ""}${method} ${path}`);
      if (isExec)
        return answered(
          play,
          who,
          await execOverWebSocket(new URL(server + path), ca, authorization),
        );
      // As kubectl takes it: told to come again, it does.
      for (const deadline = Date.now() + PATIENCE_MS; ; ) {
        const answer = await fetch(server + path, {
          ...{ method, dispatcher },
          headers: { authorization, accept: "application/json" },
        });
        const output = await answer.text();
        if (answer.status !== 429 || Date.now() > deadline)
          return answered(play, who, { succeeded: answer.ok, output: shortened(output) });
      }
    },
    close: () => dispatcher.destroy(),
  };
}

function answered<Result extends { succeeded: boolean; output: string }>(
  play: Play,
  who: Actor,
  result: Result,
): Result {
  const bytes = Buffer.from(result.output);
  play.seenByAgents.push({ name: `what the cluster answered ${who.name}`, bytes });
  for (const line of result.output.split("\n").slice(0, 8)) play.screen.answer(line);
  return result;
}

/** RFC 6455, with the channels of v5.channel.k8s.io: a Status on the error channel is how it ended. */
async function execOverWebSocket(url: URL, ca: string, authorization: string) {
  const socket = connect({
    ...{ host: url.hostname, port: Number(url.port), ca, ALPNProtocols: ["http/1.1"] },
  });
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error("no answer to an exec")));
  await once(socket, "secureConnect");
  const lines = [
    `GET ${url.pathname}${url.search} HTTP/1.1`,
    ...[`host: ${url.host}`, `authorization: ${authorization}`],
    ...["connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13"],
    `sec-websocket-key: ${randomBytes(16).toString("base64")}`,
    "sec-websocket-protocol: v5.channel.k8s.io",
  ];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  try {
    return await readExec(socket);
  } finally {
    socket.destroy();
  }
}

async function readExec(socket: TLSSocket): Promise<{ succeeded: boolean; output: string }> {
  const reader = new WebSocketReader("server", 1 << 20);
  let head: Buffer | undefined = Buffer.alloc(0);
  let output = "";
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    let bytes = chunk;
    if (head !== undefined) {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) continue;
      if (!head.toString("latin1").startsWith("HTTP/1.1 101"))
        return { succeeded: false, output: head.toString("utf8") };
      bytes = head.subarray(end + 4);
      head = undefined;
    }
    for (const { opcode, payload } of reader.push(bytes)) {
      if (opcode === OPCODE_CLOSE) return { succeeded: false, output };
      if (opcode !== OPCODE_BINARY) continue;
      const text = payload.subarray(1).toString("utf8");
      if (payload[0] !== CHANNEL_ERROR) output += text;
      else {
        const status = JSON.parse(text) as { status: string; message?: string };
        return { succeeded: status.status === "Success", output: status.message ?? output };
      }
    }
  }
  return { succeeded: false, output };
}

/** An object without what kubectl does not show either. */
function shortened(text: string): string {
  const value = JSON.parse(text, (key, one) => (key === "managedFields" ? undefined : one));
  if (value.kind === "Status") return value.message ?? `${value.status}: ${value.details?.name}`;
  if (!Array.isArray(value.items)) return JSON.stringify(value);
  return value.items
    .map(
      ({ metadata, status }: { metadata: { name: string }; status?: { phase: string } }) =>
        `${metadata.name} ${status?.phase ?? ""}`,
    )
    .join("\n");
}

/** Debian's own is too old; one that does not even say its version is none. */
async function kubectlOnPath(): Promise<string | undefined> {
  const program = (process.env.PATH ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "kubectl"))
    .find((path) => existsSync(path));
  if (program === undefined) return undefined;
  try {
    const { stdout } = await promisify(execFile)(program, ["version", "--client", "-o", "json"], {
      env: { PATH: dirname(program), HOME: "/nonexistent" },
      timeout: PATIENCE_MS,
    });
    const [, minor] = /"gitVersion": "v1\.(\d+)/.exec(stdout) ?? [];
    return Number(minor) >= OLDEST_KUBECTL ? program : undefined;
  } catch {
    return undefined;
  }
}

function quoted(word: string): string {
  return /[\s'";|$]/.test(word) ? `'${word}'` : word;
}
