// A session between a real client and a host that a test drives, over sockets; what decides is a stand-in.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { SshConnection } from "@custody/wire/ssh/connection.ts";
import type { SshEvent } from "@custody/wire/ssh/events.ts";
import { publicKeyBlob, publicKeyLine } from "@custody/wire/ssh/keys.ts";
import { type Driven, ed25519, nowMs, startServer } from "@custody/wire/ssh/peer-harness.ts";
import { systemClock } from "../../base/clock.ts";
import { Secret } from "../../base/secret.ts";
import { loadGrammars } from "../../command/load-grammars.ts";
import type { Recorder } from "../../recording/recorder.ts";
import { CommandConnections } from "./command-connections.ts";
import { SshPeer } from "./peer.ts";
import { Relay, type RelayDeps } from "./relay.ts";
import { connectUpstream } from "./upstream.ts";

export interface Staged extends AsyncDisposable {
  readonly client: SshConnection;
  readonly relay: Relay;
  readonly ended: Promise<string>;
  /** Why the client was disconnected. */
  readonly told: Promise<string>;
  readonly faults: readonly string[];
  readonly outcomes: readonly string[];
  /** What the client was given: data, requests and ends of channels. */
  readonly got: readonly string[];
  flush(): void;
}

/** `misbehave`: true for an event of the host's that it deals with itself. */
export async function staged(
  misbehave: (event: SshEvent, host: Driven) => boolean,
  recorder?: Recorder,
): Promise<Staged> {
  await using parts = new AsyncDisposableStack();
  const hostKey = ed25519();
  const host = await startServer({
    hostKeys: [{ privateKey: hostKey }],
    handle(event, driven) {
      if (event.kind !== "auth-request") return misbehave(event, driven);
      driven.connection.acceptAuth();
      return true;
    },
  });
  parts.defer(() => host.close());
  const faults: string[] = [];
  const outcomes: string[] = [];
  const got: string[] = [];
  const log = (message: string, error?: unknown) => void faults.push(`${message}: ${error}`);
  const upstream = await connectUpstream(
    {
      ...{ protocol: "ssh", name: "web-1", host: "127.0.0.1", port: host.port },
      hostKeys: [publicKeyLine(publicKeyBlob(hostKey))],
      ...{ hostAuthorities: [], hostNames: [], accounts: [], tags: {} },
    },
    { kind: "password", user: "web", password: new Secret("geheim") },
    { clock: systemClock, connectTimeoutMs: 60_000, software: "OpenSSH_test", log },
  );
  const [door, wire] = await pairOfSockets();
  parts.defer(() => void wire.destroy());
  const server = new SshConnection({
    ...{ role: "server", software: "OpenSSH_test", nowMs },
    hostKeys: [{ privateKey: ed25519() }],
  });
  const inside = new SshPeer(door, server, log);
  const client = new SshConnection({
    ...{ role: "client", software: "OpenSSH_test", user: "web", nowMs },
    hostKeyAccepted: () => true,
  });
  const isIn = Promise.withResolvers<void>();
  const told = Promise.withResolvers<string>();
  const outside = new SshPeer(wire, client, log);
  outside.handle({
    onEvent(event) {
      if (event.kind === "auth-wanted") client.authenticateNone();
      if (event.kind === "authenticated") isIn.resolve();
      if (event.kind === "disconnected") told.resolve(event.text);
      if (event.kind === "channel-open") client.acceptChannel(event.channel);
      if (event.kind === "channel-data") got.push(event.data.toString());
      if (event.kind === "channel-request") got.push(event.request.kind);
      if (event.kind === "channel-refused") got.push(`refused: ${event.text}`);
      if (event.kind === "channel-eof" || event.kind === "channel-closed") got.push(event.kind);
    },
    onGone: told.resolve,
  });
  inside.handle({
    onEvent(event) {
      if (event.kind === "auth-request") server.acceptAuth();
      if (event.kind === "authenticated") inside.pause();
    },
    onGone: () => undefined,
  });
  await isIn.promise;
  const relay = new Relay(inside, upstream, {
    ...standIns(outcomes),
    ...(recorder === undefined ? {} : { recorder }),
    log,
  });
  const ended = relay.run();
  const all = parts.move();
  return {
    ...{ client, relay, ended, told: told.promise, faults, outcomes, got },
    flush: () => outside.touch(),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

export async function untilOpen({ client }: Staged, channel: number): Promise<void> {
  for (;;) {
    try {
      client.sendableBytes(channel);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

function standIns(outcomes: string[]): Omit<RelayDeps, "log"> {
  const permitted = { verdict: "permit", requestId: "r-1", permit: { obligations: {} }, masks: [] };
  const book = { endCommand: ({ outcome }: { outcome: string }) => void outcomes.push(outcome) };
  return {
    site: { target: "web-1", account: "deploy" },
    shell: "bash",
    holdToRun: false,
    judge: { book, judge: async () => permitted, mayBe: () => true } as never,
    recorder: {
      ...{ room: () => true, delivery: () => true },
      ...{ typed: () => undefined, data: () => undefined },
    } as never,
    grammars: loadGrammars(),
    clock: systemClock,
    isOwnTarget: async () => false,
    commandConnections: new CommandConnections({
      credentialFor: async () => undefined,
      connect: async () => assert.fail("nothing was approved"),
    }),
    showParticipant: () => undefined,
  };
}

async function pairOfSockets(): Promise<readonly [Socket, Socket]> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const accepting = once(listener, "connection") as Promise<[Socket]>;
  const socket = connect((listener.address() as AddressInfo).port, "127.0.0.1");
  const [accepted] = await accepting;
  listener.close();
  return [accepted, socket];
}
