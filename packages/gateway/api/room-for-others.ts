// Connections of a listener, no more than so many. When there are, the oldest goes on which nothing is being
// answered: whoever opens many and leaves them, or sends a request a byte at a time, keeps nobody else out.
//
// Owns the list of connections; they are the server's.

import type { Server, Socket } from "node:net";

type Place = Pick<Socket, "remoteAddress" | "remotePort">;

export interface RoomForOthers {
  /** From its whole request on. */
  answering(connection: Place): void;
  answered(connection: Place): void;
}

export function makeRoom(server: Server, most: number): RoomForOthers {
  // In the order they came. What TLS makes of a connection is another object at the same place.
  const open = new Map<string, Socket>();
  const busy = new Set<string>();
  server.on("connection", (socket: Socket) => {
    const place = placeOf(socket);
    open.set(place, socket);
    socket.once("close", () => {
      if (open.get(place) !== socket) return;
      open.delete(place);
      busy.delete(place);
    });
    if (open.size <= most) return;
    const oldest = open.keys().find((one) => !busy.has(one) && one !== place) ?? place;
    open.get(oldest)?.destroy();
    open.delete(oldest);
  });
  return {
    answering(connection) {
      const place = placeOf(connection);
      if (open.has(place)) busy.add(place);
    },
    answered: (connection) => void busy.delete(placeOf(connection)),
  };
}

function placeOf({ remoteAddress, remotePort }: Place): string {
  return `${remoteAddress} ${remotePort}`;
}
