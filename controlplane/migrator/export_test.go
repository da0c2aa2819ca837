package migrator

// Scan splits a file as Atlas does.
func Scan(sql string) ([]string, error) {
	stmts, err := scanner().Scan(sql)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(stmts))
	for i, s := range stmts {
		texts[i] = s.Text
	}
	return texts, nil
}

// Masked is a query as people are shown it.
func Masked(query string) string { return masked(query) }
