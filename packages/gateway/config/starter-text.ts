// The custody.yaml that `custody init` writes: valid as it is, with everything a first target needs in
// comments beside its place.

export const STARTER_CONFIG = `# Custody: what this gateway stands before, and who may come through.
# Every key, limit and default: docs/reference/configuration.md. Check with: custody check
version: 1

# Everything the gateway keeps: its CA, keys, store, journal, log and recordings. Back it up.
data: ./data

# The policies: every .cedar file in this folder, validated as one set.
policies: ./policies

# Loopback unless you say otherwise. Names clients use besides these go to \`hostnames\`.
listen:
  postgres: 127.0.0.1:7432
  https: 127.0.0.1:7443
#  ssh: 127.0.0.1:7422
# hostnames: [custody.example.com]

# Who vouches for people and workloads. The name is the prefix of every id: corp/ann@example.com
providers: {}
#  corp:
#    oidc:
#      issuer: https://id.example.com
#      audience: custody
#      kind: users
#      username: email
#      groups: groups
#  github:
#    oidc:
#      preset: github
#      audience: custody
#      claims: { repository_id: "123456", repository_owner_id: "7890" }

# Which accounts are one human. Who is not here cannot approve.
people: {}
#  Ann Example: [corp/ann@example.com, corp/ann-admin@example.com]

targets: {}
#  orders:                                  # clients say: psql "user=orders ..." or user=ro~orders
#    postgres:
#      host: db.internal
#      tls: verify-full                     # or { caFile: ./db-ca.pem }
#      accounts:
#        ro:
#          credential:
#            session-role:                  # a role made for each session; custody target setup
#              profile: custody_ro
#              admin: { user: custody_gateway, password: "env:ORDERS_ADMIN", database: shop }
#    classify:
#      - { column: public.customers.email, class: pii.email }
#    tags: { env: prod }
#  web-1:                                   # clients say: ssh web-1 (custody ssh-config)
#    ssh:
#      host: web-1.internal
#      # /etc/ssh/ssh_host_ed25519_key.pub of the host; a key is never learned
#      hostKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFJ1bGVzIGFyZSB0aGUgb25seSB3YXkgdG8gYmUgdXNl"]
#      accounts:
#        deploy:
#          shell: bash
#          credential: { certificate: {} }  # custody ssh-ca; custody target setup web-1
#    tags: { env: prod }

# What replaces a value of a class: redact (default), null, email-domain, last4.
masks: {}
#  pii.email: email-domain

# Durations: 90s, 1h30m; sizes: 64MiB.
limits: {}
#  holdWait: 5m
#  delegationDepth: 8
`;
