// The control side as the data side sees it (session/control.ts), put together from its parts.

import type { Approvals } from "../approval/approvals.ts";
import type { Control } from "./control.ts";
import type { DoorSignIns } from "./door-sign-ins.ts";
import type { Participants } from "./participants.ts";
import type { RecentDenials } from "./recent-denials.ts";
import type { Sessions } from "./sessions.ts";

export function createControl(
  sessions: Sessions,
  approvals: Approvals,
  denials: Pick<RecentDenials, "note">,
  signIns: DoorSignIns,
  participants: Pick<Participants, "show" | "sessionClosed">,
): Control {
  return {
    openSession: sessions.openSession,
    beginSignIn: signIns.begin,
    finishSignIn: signIns.finish,
    endSignIn: signIns.end,
    attachBackend: sessions.attachBackend,
    commandCredential: sessions.commandCredential,
    async closeSession(sessionId, reason, recording) {
      approvals.leaveAll(sessionId);
      participants.sessionClosed(sessionId);
      await sessions.closeSession(sessionId, reason, recording);
    },
    requestApproval: approvals.request,
    leaveHold: approvals.leave,
    spendApproval: approvals.spend,
    showParticipant: participants.show,
    noteDenial: denials.note,
  };
}
