// What a codec of this folder throws: bytes that are not what they claim to be, or beyond a limit. The
// message is fit for the peer.

export class KubernetesWireError extends Error {
  override readonly name = "KubernetesWireError";
}
