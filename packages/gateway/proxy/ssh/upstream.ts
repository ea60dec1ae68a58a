// To the target: its host key as the configuration has it, never learned, and a sign-in with what the
// broker leased. Afterwards the connection is the relay's.

import { connect, type Socket } from "node:net";
import {
  certificateType,
  isCertificate,
  parseCertificate,
  verifyCertificate,
} from "@custody/wire/ssh/certificate.ts";
import { SshConnection } from "@custody/wire/ssh/connection.ts";
import { SshError } from "@custody/wire/ssh/errors.ts";
import type { SshEvent } from "@custody/wire/ssh/events.ts";
import {
  algorithmsOfKey,
  fingerprint,
  parsePublicKey,
  parsePublicKeyLine,
  publicKeyBlob,
  SIGNATURE_ALGORITHMS,
  signBlob,
} from "@custody/wire/ssh/keys.ts";
import type { HostKeyOffer } from "@custody/wire/ssh/options.ts";
import type { Clock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import type { UpstreamCredential } from "../../session/control.ts";
import type { SshTarget } from "../../target/target.ts";
import { type LogFault, SshPeer } from "./peer.ts";
import { parsePrivateKey } from "./private-key.ts";
import { plain } from "./wording.ts";

export interface UpstreamDeps {
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** What the gateway calls itself in its version line. */
  readonly software: string;
  readonly log: LogFault;
}

/** Signed in; nothing handles its events yet. Throws GatewayError "target_unavailable". */
export async function connectUpstream(
  target: SshTarget,
  credential: UpstreamCredential,
  deps: UpstreamDeps,
): Promise<SshPeer> {
  let hostProblem: string | undefined;
  let peer: SshPeer | undefined;
  try {
    const attempts = attemptsWith(credential);
    const connection = new SshConnection({
      role: "client",
      software: deps.software,
      user: credential.user,
      algorithms: { hostKey: hostKeyAlgorithms(target) },
      nowMs: () => deps.clock.monotonicMs(),
      hostKeyAccepted: (offer) => {
        hostProblem = hostKeyProblem(target, offer, deps.clock);
        return hostProblem === undefined;
      },
    });
    peer = new SshPeer(await open(target, deps.connectTimeoutMs), connection, deps.log);
    await signIn(peer, attempts, deps.connectTimeoutMs);
    return peer;
  } catch (thrown) {
    peer?.destroy();
    throw unavailable(target, hostProblem, thrown);
  }
}

const PROMPT_ANSWER = "the answer to its prompt";

type Attempt = {
  readonly method: string;
  readonly try: (connection: SshConnection) => void;
};

/** What cannot be told to a client goes into the cause. */
function unavailable(target: SshTarget, hostProblem: string | undefined, thrown: unknown) {
  if (thrown instanceof GatewayError && thrown.code !== "target_unavailable") return thrown;
  const why =
    hostProblem ??
    (thrown instanceof GatewayError || thrown instanceof SshError
      ? plain(thrown.message)
      : "cannot be reached");
  return new GatewayError("target_unavailable", `target ${target.name}: ${why}`, {
    cause: thrown,
    ...(thrown instanceof GatewayError && thrown.hint !== undefined ? { hint: thrown.hint } : {}),
  });
}

function open({ host, port }: SshTarget, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, keepAlive: true });
    const timer = setTimeout(
      () => socket.destroy(new Error("connecting took too long")),
      timeoutMs,
    );
    socket.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}

async function signIn(
  peer: SshPeer,
  attempts: readonly Attempt[],
  timeoutMs: number,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (why: string, hint?: string) =>
    reject(new GatewayError("target_unavailable", why, hint === undefined ? {} : { hint }));
  const timer = setTimeout(() => fail("signing in took too long"), timeoutMs);
  const left = [...attempts];
  let isFirst = true;
  const { connection } = peer;
  peer.handle({
    onEvent(event: SshEvent) {
      switch (event.kind) {
        case "authenticated":
          // What comes behind it is for whoever has the connection next.
          peer.pause();
          resolve();
          return;
        case "auth-prompts":
          // Only what asks for one hidden word can be for the password.
          if (event.prompts.prompts.length > 1) return fail("it asks for more than a password");
          // RFC 4256 section 3.2: a server may only want to say something; that is answered too.
          if (event.prompts.prompts.length === 0) return connection.answerPrompts([]);
          if (left[0]?.method !== PROMPT_ANSWER) return fail("it asks again");
          left.shift()?.try(connection);
          return;
        case "auth-wanted": {
          // Before the first attempt a host has said nothing of its methods.
          const { methods } = event;
          const next = left.findIndex(({ method }) => isFirst || methods.includes(method));
          isFirst = false;
          const attempt = left[next];
          if (attempt === undefined)
            return fail(
              "it does not let the gateway in",
              "custody target setup shows what it needs",
            );
          left.splice(0, next + 1);
          attempt.try(connection);
          return;
        }
        default:
      }
    },
    onGone: fail,
  });
  try {
    await promise;
    if (peer.isGone) throw new GatewayError("target_unavailable", "it ended the connection");
  } finally {
    clearTimeout(timer);
    peer.pause();
  }
}

function attemptsWith(credential: UpstreamCredential): readonly Attempt[] {
  switch (credential.kind) {
    case "password": {
      const password = () => Buffer.from(credential.password.reveal(), "utf8");
      return [
        { method: "password", try: (connection) => connection.authenticatePassword(password()) },
        // Some hosts take passwords by way of prompts only (RFC 4256).
        { method: "keyboard-interactive", try: (connection) => connection.authenticateKeyboard() },
        {
          method: PROMPT_ANSWER,
          try: (connection) => connection.answerPrompts([password()]),
        },
      ];
    }
    case "ssh-key": {
      const key = parsePrivateKey(credential.privateKey.reveal());
      const blob = publicKeyBlob(key);
      return algorithmsOfKey(parsePublicKey(blob).type).map((algorithm) => ({
        method: "publickey",
        try: (connection) =>
          connection.authenticateKey(
            algorithm,
            blob,
            signBlob(key, algorithm, connection.signedPart(algorithm, blob)),
          ),
      }));
    }
    case "ssh-certificate": {
      const key = parsePrivateKey(credential.privateKey.reveal());
      const blob = Buffer.from(credential.certificate, "base64");
      const algorithm = certificateType("ssh-ed25519");
      return [
        {
          method: "publickey",
          try: (connection) =>
            connection.authenticateKey(
              algorithm,
              blob,
              // PROTOCOL.certkeys: the inner signature is the plain key's.
              signBlob(key, "ssh-ed25519", connection.signedPart(algorithm, blob)),
            ),
        },
      ];
    }
    default:
      throw new GatewayError("internal", "a credential of another protocol");
  }
}

/** What to ask the host for: only what can be checked. */
function hostKeyAlgorithms(target: SshTarget): readonly string[] {
  const certificates = target.hostAuthorities.length > 0 ? SIGNATURE_ALGORITHMS : [];
  const pinned = target.hostKeys.map((line) => parsePublicKey(parsePublicKeyLine(line)).type);
  return [...new Set([...certificates.map(certificateType), ...pinned.flatMap(algorithmsOfKey)])];
}

function hostKeyProblem(
  target: SshTarget,
  offer: HostKeyOffer,
  clock: Pick<Clock, "nowMs">,
): string | undefined {
  if (!isCertificate(offer.key)) {
    const known = target.hostKeys.some((line) => parsePublicKeyLine(line).equals(offer.key));
    return known ? undefined : `its host key ${fingerprint(offer.key)} is not the configured one`;
  }
  const certificate = parseCertificate(offer.key);
  const authorities = target.hostAuthorities.map(parsePublicKeyLine);
  let problem = "";
  for (const principal of target.hostNames) {
    const verdict = verifyCertificate(certificate, {
      role: "host",
      principal,
      authorities,
      nowSeconds: clock.nowMs() / 1000,
      criticalOptions: [],
    });
    if (verdict.valid) return undefined;
    problem = verdict.problem;
  }
  return `its host certificate is not accepted (${problem})`;
}
