// Command catalogdiff writes the catalog's next migration: what leads from
// migrations/catalog to ent/schema. It needs a PostgreSQL only for a moment and
// starts its own.
//
//	go run ./internal/catalogdiff add_labels   writes migrations/catalog/<now>_add_labels.sql
//	go run ./internal/catalogdiff -check       fails when something is missing there
//
// Run `go generate ./ent` before. What ent cannot say (the sequence of epochs)
// is written by hand, then `atlas migrate hash`, or -hash here.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"

	"ariga.io/atlas/sql/migrate"
	atlas "ariga.io/atlas/sql/schema"
	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"

	entmigrate "github.com/manorhq/manor/ent/migrate"
	"github.com/manorhq/manor/internal/devpg"
)

const directory = "migrations/catalog"

func main() {
	check := flag.Bool("check", false, "write nothing; fail when the migrations are behind ent/schema")
	hash := flag.Bool("hash", false, "write atlas.sum anew after an edit by hand")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *check, *hash, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "catalogdiff:", err)
		os.Exit(1)
	}
}

var migrationName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func run(ctx context.Context, check, hash bool, args []string) error {
	switch {
	case hash:
		return rehash(directory)
	case check:
		return withDatabase(ctx, func(url string) error { return verify(ctx, directory, url) })
	case len(args) == 1 && migrationName.MatchString(args[0]):
		return withDatabase(ctx, func(url string) error { return diff(ctx, directory, url, args[0]) })
	}
	return errors.New("say -check, -hash or the name of the new migration, such as add_labels")
}

// withDatabase lends an empty database on a server that lives as long as f.
func withDatabase(ctx context.Context, f func(url string) error) error {
	server, err := devpg.Start(ctx, devpg.Config{})
	if err != nil {
		return err
	}
	return errors.Join(f(server.URL("postgres")), server.Stop())
}

// diff writes the next migration into dir. url is of an empty database; nil
// when there is nothing to write.
func diff(ctx context.Context, dir, url, name string) error {
	local, err := migrate.NewLocalDir(dir)
	if err != nil {
		return err
	}
	err = plan(ctx, local, url, name)
	if errors.Is(err, migrate.ErrNoPlan) {
		fmt.Println(dir, "has all of ent/schema")
		return nil
	}
	return err
}

// verify fails when ent/schema has what the migrations in dir have not.
func verify(ctx context.Context, dir, url string) error {
	var scratch migrate.MemDir
	if err := copyInto(&scratch, dir); err != nil {
		return err
	}
	err := plan(ctx, &scratch, url, "missing")
	switch {
	case errors.Is(err, migrate.ErrNoPlan):
		return nil
	case errors.Is(err, migrate.ErrChecksumMismatch):
		return fmt.Errorf("%s: atlas.sum does not fit the files: go run ./internal/catalogdiff -hash", dir)
	case err != nil:
		return err
	}
	return fmt.Errorf("%s is behind ent/schema: go run ./internal/catalogdiff NAME would write\n%s", dir, newest(&scratch))
}

func copyInto(scratch *migrate.MemDir, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	root := os.DirFS(dir).(interface{ ReadFile(string) ([]byte, error) })
	for _, entry := range entries {
		if !sqlOrSum.MatchString(entry.Name()) {
			continue
		}
		b, err := root.ReadFile(entry.Name())
		if err != nil {
			return err
		}
		if err := scratch.WriteFile(entry.Name(), b); err != nil {
			return err
		}
	}
	return nil
}

var sqlOrSum = regexp.MustCompile(`\.sql$|^atlas\.sum$`)

func newest(dir migrate.Dir) []byte {
	files, err := dir.Files()
	if err != nil || len(files) == 0 {
		return nil
	}
	return files[len(files)-1].Bytes()
}

// plan replays dir on an empty database, compares it with the ent schema and
// writes the difference into dir; [migrate.ErrNoPlan] when there is none.
func plan(ctx context.Context, dir migrate.Dir, url, name string) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer db.Close()
	m, err := schema.NewMigrate(entsql.OpenDB(dialect.Postgres, db),
		schema.WithDir(dir), schema.WithMigrationMode(schema.ModeReplay), schema.WithDialect(dialect.Postgres),
		schema.WithFormatter(migrate.DefaultFormatter),
		schema.WithDiffOptions(atlas.DiffNormalized()), // else a CHECK of the same name counts as the same
		schema.WithDropColumn(true), schema.WithDropIndex(true), schema.WithErrNoPlan(true))
	if err != nil {
		return err
	}
	return m.NamedDiff(ctx, name, entmigrate.Tables...)
}

func rehash(dir string) error {
	local, err := migrate.NewLocalDir(dir)
	if err != nil {
		return err
	}
	sum, err := local.Checksum()
	if err != nil {
		return err
	}
	return migrate.WriteSumFile(local, sum)
}
