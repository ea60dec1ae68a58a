// The value that opens the way upstream. It is genuine because this module remembers having made it:
// an object of the same shape is no permit.

import type { Access, Operation, Permit } from "./operation.ts";

const genuine = new WeakSet<Permit>();

/** For authorize.ts alone. */
export function issuePermit(permit: Permit): Permit {
  const issued = Object.freeze({
    operation: permit.operation,
    obligations: Object.freeze({ ...permit.obligations }),
    policyIds: Object.freeze([...permit.policyIds]),
    policyVersion: permit.policyVersion,
  });
  genuine.add(issued);
  return issued;
}

export function isPermit(value: unknown): value is Permit {
  return typeof value === "object" && value !== null && genuine.has(value as Permit);
}

/** Good for this very operation, under the policies that hold now. */
export function isCurrent(permit: Permit, operation: Operation, access: Access): boolean {
  return (
    isPermit(permit) &&
    permit.operation === operation &&
    permit.policyVersion === access.policyVersion
  );
}
