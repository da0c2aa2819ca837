package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

// session is a connection of a tenant's application, made with the tenant's own login.
type session struct {
	tenant string
	mu     sync.Mutex // a connection serves one statement at a time
	conn   *pgx.Conn
}

// connect asks Manor where the tenant lives and logs in there. Database overrides the tenant's own; it is for those
// that try another door.
func (d *demo) connect(ctx context.Context, tenant, database string) (*session, error) {
	var dsn controlplane.DSN
	if err := d.read(ctx, &dsn, "tenant", "dsn", tenant, "--reveal"); err != nil {
		return nil, err
	}
	if database == "" {
		database = dsn.Database
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(dsn.User, dsn.Password), Host: dsn.Hosts[0], Path: "/" + database,
		RawQuery: url.Values{"sslmode": {dsn.TLS.Mode}, "application_name": {"demo " + tenant}}.Encode(),
	}
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("the address of tenant %s cannot be used", tenant) // the cause could show the password
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing prepared that a migration could outdate
	conn, err := pgx.ConnectConfig(ctx, config)
	return &session{tenant: tenant, conn: conn}, err
}

// exec runs a statement unseen and returns how many rows it touched.
func (s *session) exec(ctx context.Context, sql string, args ...any) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tag, err := s.conn.Exec(ctx, sql, args...)
	if err != nil {
		return 0, fmt.Errorf("tenant %s: %w", s.tenant, err)
	}
	return int(tag.RowsAffected()), nil
}

// count runs a query unseen that answers with one number.
func (s *session) count(ctx context.Context, sql string) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.QueryRow(ctx, sql).Scan(&n); err != nil {
		return 0, fmt.Errorf("tenant %s: %w", s.tenant, err)
	}
	return n, nil
}

// show runs a statement before the user's eyes.
func (d *demo) show(ctx context.Context, s *session, sql string) error {
	d.statement(s.tenant, sql+";")
	s.mu.Lock()
	defer s.mu.Unlock()
	tag, err := s.conn.Exec(ctx, sql)
	if err != nil {
		return fmt.Errorf("tenant %s: %w", s.tenant, err)
	}
	d.say("%s", tag)
	return nil
}

// refused expects PostgreSQL to have refused for want of rights, and shows its words.
func (d *demo) refused(what string, err error) error {
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fmt.Errorf("not so: %s is refused: the answer is %v", what, err)
	}
	d.refusal(fmt.Sprintf("%s:  %s (SQLSTATE %s)", refusal.Severity, refusal.Message, refusal.Code))
	if refusal.Code != insufficientPrivilege {
		return fmt.Errorf("not so: %s is refused with SQLSTATE %s", what, insufficientPrivilege)
	}
	return nil
}

// SQLSTATEs of PostgreSQL.
const (
	insufficientPrivilege = "42501"
	checkViolation        = "23514"
)
