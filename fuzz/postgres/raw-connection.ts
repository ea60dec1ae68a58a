// A PostgreSQL connection of bare frames, signed in with the codec's own SCRAM client: for tests that
// look at every message. TLS when the server's certificate authority is given, with channel binding.

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { decodeAuthentication, decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import {
  encodeSaslInitialResponse,
  encodeSaslResponse,
  password,
  terminate,
} from "@custody/wire/postgres/frontend.ts";
import { type ScramClient, scramClient } from "@custody/wire/postgres/scram.ts";
import { encodeSslRequest, encodeStartup } from "@custody/wire/postgres/startup.ts";

export interface RawTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly ssl: false | { readonly ca: string; readonly servername: string };
}

export interface RawOptions {
  /** Instead of the hash of the server's certificate: to see that a wrong one is refused. */
  readonly certificateHash?: Buffer;
  /** The password itself may be sent, inside TLS: to a gateway, whose password is a token. */
  readonly cleartext?: boolean;
  /** More of the start-up packet. */
  readonly parameters?: Readonly<Record<string, string>>;
}

export interface RawConnection extends AsyncDisposable {
  readonly socket: Socket;
  readonly cursor: FrameCursor;
  /** The SCRAM mechanism used. */
  readonly mechanism: string;
}

const MAX_FRAME_BYTES = 1 << 24;

/** Rejects with the server's message when it refuses. */
export async function connectRaw(
  target: RawTarget,
  options: RawOptions = {},
): Promise<RawConnection> {
  const { socket, certificateHash } = await openSocket(target);
  const cursor = new FrameCursor({ maxFrameBytes: MAX_FRAME_BYTES });
  const { user, database } = target;
  const parameters = { user, database, client_encoding: "UTF8", ...options.parameters };
  socket.write(encodeStartup(Object.entries(parameters), { major: 3, minor: 2 }));
  const chunks = socket.iterator({ destroyOnReturn: false });
  let scram: ScramClient | undefined;
  for (;;) {
    while (!cursor.next()) {
      const { value, done } = await chunks.next();
      if (done === true) throw new Error("the server closed the connection");
      cursor.push(value);
    }
    const { type, buffer, start, end } = cursor;
    if (type === 0x45) {
      socket.destroy();
      throw new Error(decodeErrorFields(buffer, start, end).get("M"));
    }
    if (type === 0x5a) break;
    if (type !== 0x52) continue;
    const step = decodeAuthentication(buffer, start, end);
    if (step.kind === "sasl") {
      scram = scramClient({
        password: target.password,
        nonce: randomBytes(18).toString("base64"),
        mechanisms: step.mechanisms,
        certificateHash: options.certificateHash ?? certificateHash,
      });
      socket.write(encodeSaslInitialResponse(scram.mechanism, scram.initialResponse));
    } else if (step.kind === "sasl-continue" && scram !== undefined) {
      socket.write(encodeSaslResponse(await scram.respond(step.data)));
    } else if (step.kind === "sasl-final" && scram !== undefined) {
      scram.verify(step.data);
    } else if (step.kind === "cleartext-password" && options.cleartext === true) {
      socket.write(password(target.password));
    } else if (step.kind !== "ok" || (scram?.verified !== true && options.cleartext !== true)) {
      throw new Error(`signed in without SCRAM: ${step.kind}`);
    }
  }
  await chunks.return?.();
  return {
    socket,
    cursor,
    mechanism: scram?.mechanism ?? "",
    async [Symbol.asyncDispose]() {
      if (!socket.writable) socket.destroy();
      if (socket.destroyed) return;
      const closed = once(socket, "close");
      socket.resume();
      socket.end(terminate());
      await closed;
    },
  };
}

async function openSocket(
  target: RawTarget,
): Promise<{ socket: Socket; certificateHash: Buffer | undefined }> {
  const plain = connectTcp({ host: target.host, port: target.port, noDelay: true });
  await once(plain, "connect");
  if (target.ssl === false) return { socket: plain, certificateHash: undefined };
  plain.write(encodeSslRequest());
  const [answer] = (await once(plain, "data")) as [Buffer];
  if (answer.toString("latin1") !== "S") throw new Error("the server offers no TLS");
  plain.pause();
  const secure = connectTls({ socket: plain, ...target.ssl });
  await once(secure, "secureConnect");
  // Test servers sign with SHA-256, so that is the hash of tls-server-end-point too.
  const certificateHash = createHash("sha256").update(secure.getPeerCertificate().raw).digest();
  return { socket: secure, certificateHash };
}
