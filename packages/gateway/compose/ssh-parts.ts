// What the control API needs for SSH clients: their certificates and the authorities around them.

import { SshError } from "@custody/wire/ssh/errors.ts";
import {
  fingerprint,
  parsePublicKey,
  parsePublicKeyLine,
  publicKeyLine,
} from "@custody/wire/ssh/keys.ts";
import type { SshParts } from "../api/deps.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import type { SshKeys } from "../credential/ssh-keys.ts";
import { describeChain, expiryOf, leafOf } from "../delegation/chain.ts";
import { clientCertificate, publicLine } from "../proxy/ssh/certificates.ts";

export function sshParts(keys: SshKeys, clock: Clock): SshParts {
  return {
    authorities: {
      host: publicLine(keys.hostCa, "custody-host-authority"),
      target: publicLine(keys.targetCa, "custody-target-authority"),
    },
    async certify(line, chain) {
      const publicKey = parsedKey(line);
      const expiresAtMs = expiryOf(chain);
      const certificate = await clientCertificate({ clock, random: systemRandom }, keys.userCa, {
        delegationId: leafOf(chain).delegationId,
        keyId: describeChain(chain),
        publicKey,
        notAfterMs: expiresAtMs,
      });
      return {
        certificate: publicKeyLine(certificate, "custody"),
        fingerprint: fingerprint(publicKey),
        expiresAtMs,
      };
    },
  };
}

function parsedKey(line: string): Buffer {
  try {
    return parsePublicKey(parsePublicKeyLine(line)).blob;
  } catch (cause) {
    if (!(cause instanceof SshError)) throw cause;
    throw new GatewayError("invalid", "this is no public key that can be certified", {
      hint: "ssh-keygen -t ed25519 makes one",
      cause,
    });
  }
}
