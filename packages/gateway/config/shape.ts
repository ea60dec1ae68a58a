// Looking into a zod schema: which keys an object at a path may have (for suggestions), and what a
// field is (for the reference). Only the kinds schema.ts uses are known; a new kind fails the tests.

import { z } from "zod";

/** Without optional, default, prefault, transform: what the writer writes. */
export function written(schema: z.core.$ZodType): z.core.$ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  )
    return written(schema.def.innerType);
  if (schema instanceof z.ZodPipe) return written(schema.def.in);
  return schema;
}

/** Keys of the object at `path`, its array indexes and names included. Empty where there is none. */
export function allowedKeys(
  schema: z.core.$ZodType,
  path: readonly (string | number)[],
): readonly string[] {
  const inner = written(schema);
  const [first, ...rest] = path;
  if (inner instanceof z.ZodUnion)
    return inner.def.options.flatMap((option) => allowedKeys(option, path));
  if (first === undefined) return inner instanceof z.ZodObject ? Object.keys(inner.def.shape) : [];
  if (inner instanceof z.ZodObject) {
    const field = inner.def.shape[first];
    return field === undefined ? [] : allowedKeys(field, rest);
  }
  if (inner instanceof z.ZodRecord) return allowedKeys(inner.def.valueType, rest);
  if (inner instanceof z.ZodArray) return allowedKeys(inner.def.element, rest);
  return [];
}

/** The description nearest to the outside: `.describe()` may come before or after `.optional()`. */
export function descriptionOf(schema: z.core.$ZodType): string | undefined {
  if (schema instanceof z.ZodType && schema.description !== undefined) return schema.description;
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  )
    return descriptionOf(schema.def.innerType);
  if (schema instanceof z.ZodPipe) return descriptionOf(schema.def.in);
  return undefined;
}

/** What applies when it is left out; undefined: nothing does. */
export function defaultOf(schema: z.core.$ZodType): unknown {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return schema.def.defaultValue;
  if (schema instanceof z.ZodPipe) return defaultOf(schema.def.in);
  return undefined;
}

export function isOptional(schema: z.core.$ZodType): boolean {
  return (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    (schema instanceof z.ZodPipe && isOptional(schema.def.in))
  );
}
