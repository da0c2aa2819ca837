package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// What the tenants write.
const (
	insertProject = "INSERT INTO projects (key, name) VALUES ('APP', 'Relaunch')"
	insertIssues  = "INSERT INTO issues (project_id, title, estimate_minutes) SELECT id, title, 30 FROM projects, unnest(ARRAY['Plan it', 'Build it', 'Show it']) AS title WHERE key = 'APP'"
	insertImport  = "INSERT INTO projects (key, name) VALUES ('IMP', 'Imported')"
	insertBad     = "INSERT INTO issues (project_id, title, estimate_minutes) SELECT id, 'Imported without an estimate', -1 FROM projects WHERE key = 'IMP'"
	countIssues   = "SELECT count(*) FROM issues"
)

// issuesEach is how many issues insertIssues makes.
const issuesEach = 3

func (d *demo) work(ctx context.Context) (string, error) {
	err := inOrder(ctx, d.login, d.writeRows, d.importRows, d.countRows)
	return fmt.Sprintf("%d tenants write through logins of their own, and see only their rows", len(busy())), err
}

// login opens a session for each of the busy tenants.
func (d *demo) login(ctx context.Context) error {
	d.say("Applications ask Manor where a tenant lives, and log in there as that tenant.")
	if err := d.manor(ctx, "tenant", "dsn", importer); err != nil {
		return err
	}
	d.sessions = map[string]*session{}
	d.after(d.logout)
	var all errgroup.Group
	var mu sync.Mutex
	all.SetLimit(4)
	for _, slug := range busy() {
		all.Go(func() error {
			s, err := d.connect(ctx, slug, "")
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			d.sessions[slug] = s
			return nil
		})
	}
	return all.Wait()
}

func (d *demo) logout() error {
	var err error
	for _, s := range d.sessions {
		err = errors.Join(err, s.conn.Close(context.Background()))
	}
	return err
}

// writeRows lets one tenant write for all to see, the others unseen.
func (d *demo) writeRows(ctx context.Context) error {
	d.say("\nTwelve tenants get to work, each with a login of its own (--reveal has the password):\n")
	if err := d.show(ctx, d.sessions[nosy], insertProject); err != nil {
		return err
	}
	if err := d.show(ctx, d.sessions[nosy], insertIssues); err != nil {
		return err
	}
	for _, slug := range busy()[1:] {
		for _, sql := range []string{insertProject, insertIssues} {
			if _, err := d.sessions[slug].exec(ctx, sql); err != nil {
				return err
			}
		}
	}
	d.say("… and %d more.", len(busy())-1)
	return nil
}

// importRows makes the data that a later version will refuse.
func (d *demo) importRows(ctx context.Context) error {
	d.say("\nOne of them has imported issues from elsewhere, where -1 stood for \"not estimated\". Nothing forbids it, yet:\n")
	if err := d.show(ctx, d.sessions[importer], insertImport); err != nil {
		return err
	}
	return d.show(ctx, d.sessions[importer], insertBad)
}

// countRows sees that each tenant finds its own issues, and nobody else's.
func (d *demo) countRows(ctx context.Context) error {
	rows, err := d.issues(ctx)
	if err != nil {
		return err
	}
	d.rows = rows
	want := map[string]int{}
	for _, slug := range busy() {
		want[slug] = issuesEach
	}
	want[importer]++
	d.say("")
	return check(d.screen, fmt.Sprintf("each of the %d finds its own issues, and nobody else's", len(want)), counts(rows), counts(want))
}

// issues counts the issues of each busy tenant.
func (d *demo) issues(ctx context.Context) (map[string]int, error) {
	rows := map[string]int{}
	for slug, s := range d.sessions {
		n, err := s.count(ctx, countIssues)
		if err != nil {
			return nil, err
		}
		rows[slug] = n
	}
	return rows, nil
}

// counts writes a map of numbers so that two can be compared.
func counts(m map[string]int) string {
	text := ""
	for _, k := range slices.Sorted(maps.Keys(m)) {
		text += fmt.Sprintf("%s=%d ", k, m[k])
	}
	return text
}
