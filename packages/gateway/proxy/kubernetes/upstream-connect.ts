// A connection to an API server: TLS, with what its session shows and nothing else.

import { isIP, type OnReadOpts } from "node:net";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";

export interface ConnectAt {
  /** `https://host:port` */
  readonly server: string;
  readonly tls: ConnectionOptions;
  readonly connectTimeoutMs: number;
}

const KEEP_ALIVE_MS = 30_000;

/**
 * `more`: the protocols to agree on, a TLS session to go on with. Rejects with whatever was in the way, the
 * signal's reason too.
 */
export function connected(
  at: ConnectAt,
  more: ConnectionOptions & { readonly onread?: OnReadOpts },
  signal?: AbortSignal,
): Promise<TLSSocket> {
  const { hostname, port } = new URL(at.server);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...at.tls,
      ...more,
      host,
      port: port === "" ? 443 : Number(port),
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    const timer = setTimeout(() => socket.destroy(new Error("timed out")), at.connectTimeoutMs);
    const abort = () => socket.destroy(signal?.reason);
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    signal?.addEventListener("abort", abort);
    // For good: who gets the socket listens a moment later.
    socket.on("error", reject);
    socket.once("close", settle);
    socket.once("secureConnect", () => {
      settle();
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      resolve(socket);
    });
  });
}
