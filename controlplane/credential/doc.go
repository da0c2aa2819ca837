// Package credential keeps the passwords of the tenants' logins.
//
// Owns: Credential. May import: fleet, access, audit and the ground.
// Bricks: [Issue] makes a tenant's two logins' passwords, [Passwords] opens
// them. Passwords are sealed at rest; PostgreSQL is given verifiers only.
package credential
