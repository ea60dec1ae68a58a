// RSA public keys that anybody can sign with, whoever published them: an exponent of 1, and moduli of the
// shape that a widely sold chip made (CVE-2017-15361, "ROCA": M. Nemec and others, ACM CCS 2017), which can
// be factored.
//
// Such a modulus is a power of 65537 modulo every small prime; another one is by chance once in 2^27.

/** `n` and `e` of a JWK (RFC 7518 section 6.3.1), base64url. */
export function isWeakRsa(n: unknown, e: unknown): boolean {
  const exponent = numberOf(e);
  const modulus = numberOf(n);
  if (exponent === undefined || modulus === undefined) return true;
  return exponent < 3n || exponent % 2n === 0n || hasRocaShape(modulus);
}

const GENERATOR = 65_537n;
const LARGEST_PRIME = 167;

/** By prime: which remainders are powers of the generator. */
const POWERS: readonly (readonly [bigint, ReadonlySet<bigint>])[] = smallPrimes().map((prime) => {
  const powers = new Set<bigint>();
  for (let power = 1n; !powers.has(power); power = (power * GENERATOR) % prime) powers.add(power);
  return [prime, powers];
});

function hasRocaShape(modulus: bigint): boolean {
  return POWERS.every(([prime, powers]) => powers.has(modulus % prime));
}

function smallPrimes(): bigint[] {
  const primes: bigint[] = [];
  for (let candidate = 3n; candidate <= LARGEST_PRIME; candidate += 2n)
    if (primes.every((prime) => candidate % prime !== 0n)) primes.push(candidate);
  return primes;
}

function numberOf(text: unknown): bigint | undefined {
  if (typeof text !== "string" || !/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
  const hex = Buffer.from(text, "base64url").toString("hex");
  return hex === "" ? undefined : BigInt(`0x${hex}`);
}
