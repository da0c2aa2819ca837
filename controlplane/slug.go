package controlplane

import (
	"regexp"
	"slices"
	"strings"
)

var slugPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{1,38}[a-z0-9]$`)

// reservedSlugs would be confusing as a tenant's host name or path, or mean
// something else to PostgreSQL and its pg_hba.conf.
var reservedSlugs = []string{
	"admin", "all", "api", "app", "auth", "console", "docs", "health", "help", "information-schema", "localhost",
	"login", "mail", "manor", "metrics", "new", "none", "null", "postgres", "public", "replication", "root",
	"sameuser", "samerole", "static", "status", "support", "system", "template0", "template1", "tenant", "tenants", "user", "www",
}

// ValidateSlug says whether a tenant may be called slug: 3 to 40 characters,
// lower case, starting with a letter, not reserved.
func ValidateSlug(slug string) error {
	switch {
	case !slugPattern.MatchString(slug):
		return Errorf(Invalid, "slug %q is not valid", slug).
			WithHint("use 3 to 40 characters a-z, 0-9 and -, starting with a letter and not ending with -")
	case slices.Contains(reservedSlugs, slug), strings.HasPrefix(slug, "pg-"), strings.HasPrefix(slug, "current-"):
		return Errorf(Invalid, "slug %q is reserved", slug).WithHint("choose another slug")
	}
	return nil
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ValidateName says whether a cluster, region, tier or release may be called name.
func ValidateName(what, name string) error {
	if !namePattern.MatchString(name) {
		return Errorf(Invalid, "%s name %q is not valid", what, name).
			WithHint("use 1 to 63 characters a-z, 0-9, '.', '_' and '-', starting with a letter or digit")
	}
	return nil
}

var labelKeyPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Labels are an operator's own words about a tenant or a cluster. Keys are
// identifiers, so that a selector can say tenant.labels.ring.
type Labels map[string]string

// Validate names the first label that is not valid.
func (l Labels) Validate() error {
	for key, value := range l {
		if !labelKeyPattern.MatchString(key) {
			return Errorf(Invalid, "label key %q is not valid", key).
				WithHint("use 1 to 63 characters a-z, 0-9 and _, starting with a letter")
		}
		if len(value) > 255 {
			return Errorf(Invalid, "label %s is longer than 255 characters", key)
		}
	}
	return nil
}
