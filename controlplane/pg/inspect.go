package pg

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Facts are what a session can find out about its server and its own role.
type Facts struct {
	Version    int    // server_version_num, such as 150018
	SystemID   string // of the cluster, the same on its standbys; "" where it may not be read
	Superuser  bool
	CreateDB   bool
	CreateRole bool
	NoInherit  bool // the role does not use the rights of roles it is a member of
}

// Inspect asks the server.
func Inspect(ctx context.Context, conn *pgx.Conn) (Facts, error) {
	var f Facts
	err := conn.QueryRow(ctx, `
		SELECT current_setting('server_version_num')::int, rolsuper, rolcreatedb, rolcreaterole, NOT rolinherit
		FROM pg_roles WHERE rolname = current_user`).
		Scan(&f.Version, &f.Superuser, &f.CreateDB, &f.CreateRole, &f.NoInherit)
	if err != nil {
		return Facts{}, fault(err, "read the server's version and the login's rights")
	}
	err = conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&f.SystemID)
	if err != nil && !hasState(err, "42501", "0A000", "42883") { // some managed services hide it
		return Facts{}, fault(err, "read the server's system identifier")
	}
	return f, nil
}

// Check says whether a server with these facts can be a cluster of Manor's,
// with this login as its control login. The hint has the SQL that makes it so.
func (f Facts) Check(login string) error {
	if f.Version < controlplane.MinServerVersion {
		return controlplane.Errorf(controlplane.Refused, "PostgreSQL %s is too old: Manor works on %d and newer",
			controlplane.VersionString(f.Version), controlplane.MinServerVersion/10000).WithHint("upgrade the server")
	}
	if f.Superuser {
		return nil
	}
	var missing []string
	if !f.CreateDB {
		missing = append(missing, "CREATEDB")
	}
	if !f.CreateRole {
		missing = append(missing, "CREATEROLE")
	}
	if f.NoInherit && f.Version < 160000 { // from 16 on, INHERIT is a property of each grant
		missing = append(missing, "INHERIT")
	}
	if len(missing) == 0 {
		return nil
	}
	return controlplane.Errorf(controlplane.Refused, "the control login %s lacks %s", login, strings.Join(missing, " and ")).
		WithHint("ALTER ROLE %s %s;", Quote(login), strings.Join(missing, " "))
}
