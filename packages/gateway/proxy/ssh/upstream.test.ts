// Signing in to hosts that ask in their own ways.

import assert from "node:assert/strict";
import test from "node:test";
import type { SshConnection } from "@custody/wire/ssh/connection.ts";
import type { SshEvent } from "@custody/wire/ssh/events.ts";
import { publicKeyBlob, publicKeyLine } from "@custody/wire/ssh/keys.ts";
import { ed25519, startServer } from "@custody/wire/ssh/peer-harness.ts";
import { systemClock } from "../../base/clock.ts";
import { Secret } from "../../base/secret.ts";
import type { SshTarget } from "../../target/target.ts";
import type { SshPeer } from "./peer.ts";
import { connectUpstream } from "./upstream.ts";

type Prompt = { readonly text: string; readonly echo: boolean };
const PASSWORD: Prompt = { text: "Password: ", echo: false };
const faults: string[] = [];

/** A host that takes prompts only, these rounds of them, and what it was answered. */
async function signIn(
  rounds: readonly (readonly Prompt[])[],
  methods: readonly string[] = ["keyboard-interactive"],
): Promise<readonly string[]> {
  const answers: string[] = [];
  const left = [...rounds];
  const hostKey = ed25519();
  const ask = (connection: SshConnection): void => {
    const prompts = left.shift();
    if (prompts === undefined) connection.acceptAuth();
    else connection.askKeyboard({ name: "", instruction: "Welcome", prompts });
  };
  const server = await startServer({
    hostKeys: [{ privateKey: hostKey }],
    handle: (event: SshEvent, { connection }) => {
      if (event.kind === "auth-answers") {
        answers.push(event.answers.map(String).join(","));
        ask(connection);
      } else if (event.kind === "auth-request") {
        const asks = methods.includes("keyboard-interactive");
        if (asks && event.attempt.method === "keyboard-interactive") ask(connection);
        else connection.rejectAuth(methods);
      }
      return true;
    },
  });
  let peer: SshPeer | undefined;
  try {
    const target = {
      ...{ protocol: "ssh", name: "web-1", host: "127.0.0.1", port: server.port },
      hostKeys: [publicKeyLine(publicKeyBlob(hostKey))],
      ...{ hostAuthorities: [], hostNames: [], accounts: [], tags: {} },
    } satisfies SshTarget;
    const credential = { kind: "password", user: "web", password: new Secret("geheim") } as const;
    const deps = {
      ...{ clock: systemClock, connectTimeoutMs: 5000, software: "OpenSSH_test" },
      log: (message: string) => void faults.push(message),
    };
    peer = await connectUpstream(target, credential, deps);
  } finally {
    peer?.destroy();
    await server.close();
  }
  return answers;
}

test("a host that only says something before it asks, and after", async () => {
  assert.deepEqual(await signIn([[PASSWORD]]), ["geheim"]);
  assert.deepEqual(await signIn([[], [PASSWORD], []]), ["", "geheim", ""]);
});

test("a host that asks for more than a password, or twice, hears nothing more", async () => {
  const more = { code: "target_unavailable", message: /more than a password/ };
  await assert.rejects(signIn([[PASSWORD, { text: "Code: ", echo: false }]]), more);
  await assert.rejects(signIn([[PASSWORD], [PASSWORD]]), {
    code: "target_unavailable",
    message: /asks again/,
  });
});

test("a host that refuses and names no way in is given nothing more, and ends nothing but its connection", async () => {
  await assert.rejects(signIn([], []), {
    code: "target_unavailable",
    message: /does not let the gateway in/,
  });
  assert.deepEqual(faults, []);
});
