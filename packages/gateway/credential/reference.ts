// Where a secret is, never what it is: `env:NAME`, `file:/path`, `exec:/path args`, `sealed:…`.

export type SecretReference =
  | { readonly from: "env"; readonly name: string }
  | { readonly from: "file"; readonly path: string }
  | { readonly from: "exec"; readonly command: readonly string[] }
  | { readonly from: "sealed"; readonly box: string };
