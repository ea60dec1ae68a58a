// Whether a command is the server's half of a file transfer or of git, as scp, rsync, sftp and git start it
// over SSH: the door can then watch what goes over it.

import type { DecidedCommand } from "./decide-command.ts";

const PROGRAMS = [
  "scp",
  "rsync",
  "sftp-server",
  "internal-sftp",
  "git-upload-pack",
  "git-receive-pack",
  "git-upload-archive",
] as const;

export interface ServerCommand {
  readonly program: (typeof PROGRAMS)[number];
  /** Files of the target are written. */
  readonly writes: boolean;
}

/** undefined: any other command, these beside others included. */
export function serverCommand({ effects }: DecidedCommand): ServerCommand | undefined {
  const [effect, ...others] = effects;
  if (effect === undefined || others.length > 0) return undefined;
  const program = PROGRAMS.find((name) => name === effect.program);
  if (program === undefined) return undefined;
  const [first] = effect.arguments;
  if (program === "scp" && !effect.arguments.some(isScpServer)) return undefined;
  if (program === "rsync" && first !== "--server") return undefined;
  if (program === "scp") return { program, writes: effect.arguments.some(isScpSink) };
  if (program === "rsync")
    return { program, writes: !effect.arguments.includes("--sender") || effect.writes.length > 0 };
  return { program, writes: program === "git-receive-pack" || program.includes("sftp") };
}

function isScpServer(word: string): boolean {
  return /^-[a-zA-Z]*[tf]/.test(word);
}

/** -t: to the target. Where it is given, whatever else is, the server writes. */
function isScpSink(word: string): boolean {
  return /^-[a-zA-Z]*t/.test(word);
}
