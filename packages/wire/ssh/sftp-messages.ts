// The messages of SFTP version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions (its PROTOCOL
// file, section 4), as types. Paths, handles and data are bytes: what they mean is the server's affair.
// sftp.ts reads and writes them.

export interface SftpAttributes {
  readonly size?: bigint;
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** File type and permission bits, as in st_mode. */
  readonly permissions?: number;
  /** Seconds since 1970. */
  readonly times?: { readonly accessed: number; readonly modified: number };
  readonly extended?: readonly SftpExtension[];
}

export interface SftpExtension {
  readonly name: Buffer;
  readonly data: Buffer;
}

export type SftpRequest =
  | {
      readonly kind: "init";
      readonly version: number;
      readonly extensions: readonly SftpExtension[];
    }
  | (WithId & SftpOperation);

/** `kind` of an extension is its name on the wire. */
export type SftpOperation =
  | {
      readonly kind: "open";
      readonly path: Buffer;
      /** OPEN_FLAGS. */
      readonly flags: number;
      readonly attributes: SftpAttributes;
    }
  | { readonly kind: "close" | "fstat" | "readdir"; readonly handle: Buffer }
  | {
      readonly kind: "read";
      readonly handle: Buffer;
      readonly offset: bigint;
      readonly length: number;
    }
  | {
      readonly kind: "write";
      readonly handle: Buffer;
      readonly offset: bigint;
      readonly data: Buffer;
    }
  | {
      readonly kind:
        | "lstat"
        | "opendir"
        | "remove"
        | "rmdir"
        | "realpath"
        | "stat"
        | "readlink"
        | "statvfs@openssh.com"
        | "expand-path@openssh.com";
      readonly path: Buffer;
    }
  | {
      readonly kind: "setstat" | "mkdir" | "lsetstat@openssh.com";
      readonly path: Buffer;
      readonly attributes: SftpAttributes;
    }
  | { readonly kind: "fsetstat"; readonly handle: Buffer; readonly attributes: SftpAttributes }
  | {
      readonly kind: "rename" | "posix-rename@openssh.com" | "hardlink@openssh.com";
      readonly from: Buffer;
      readonly to: Buffer;
    }
  /** In OpenSSH's order on the wire, which is not the draft's: first what the link says. */
  | { readonly kind: "symlink"; readonly target: Buffer; readonly path: Buffer }
  | { readonly kind: "fstatvfs@openssh.com" | "fsync@openssh.com"; readonly handle: Buffer }
  | { readonly kind: "limits@openssh.com" }
  | {
      readonly kind: "copy-data";
      readonly handle: Buffer;
      readonly offset: bigint;
      /** 0 is to the end. */
      readonly size: bigint;
      readonly toHandle: Buffer;
      readonly toOffset: bigint;
    }
  | { readonly kind: "home-directory"; readonly user: Buffer }
  | {
      readonly kind: "users-groups-by-id@openssh.com";
      /** 32-bit numbers, one behind the other. */
      readonly uids: Buffer;
      readonly gids: Buffer;
    }
  | { readonly kind: "extended"; readonly name: Buffer; readonly data: Buffer };

export type SftpResponse =
  | {
      readonly kind: "version";
      readonly version: number;
      readonly extensions: readonly SftpExtension[];
    }
  | (WithId &
      (
        | {
            readonly kind: "status";
            /** STATUS. */
            readonly code: number;
            readonly message: Buffer;
            readonly language: Buffer;
          }
        | { readonly kind: "handle"; readonly handle: Buffer }
        | { readonly kind: "data"; readonly data: Buffer }
        | { readonly kind: "name"; readonly names: readonly SftpName[] }
        | { readonly kind: "attrs"; readonly attributes: SftpAttributes }
        /** What it holds depends on the request. */
        | { readonly kind: "extended-reply"; readonly data: Buffer }
      ));

export interface SftpName {
  readonly name: Buffer;
  /** As "ls -l" shows it. */
  readonly line: Buffer;
  readonly attributes: SftpAttributes;
}

interface WithId {
  readonly id: number;
}

export const OPEN_FLAGS = {
  read: 0x01,
  write: 0x02,
  append: 0x04,
  create: 0x08,
  truncate: 0x10,
  exclusive: 0x20,
} as const;

export const STATUS = {
  ok: 0,
  eof: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  noConnection: 6,
  connectionLost: 7,
  unsupported: 8,
} as const;
