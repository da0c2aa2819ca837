package controlplane

import "slices"

// Severity says how much a [Warning] matters.
type Severity string

// The severities, the gravest first.
const (
	SeverityError   Severity = "error"   // `release push` refuses it, or it cannot be rolled out
	SeverityWarning Severity = "warning" // it may hold applications up, break them, lose data or fail on some tenants
	SeverityNote    Severity = "note"    // good to know
)

// Severities are all of them, the gravest first.
var Severities = []Severity{SeverityError, SeverityWarning, SeverityNote}

// WarningCode names a kind of warning. Codes are stable: scripts and
// atlas:nolint name them.
type WarningCode string

// The codes. [WarningKinds] says what each means.
const (
	WarnRefused             WarningCode = "refused"
	WarnSearchPath          WarningCode = "leads-out-of-tenant"
	WarnNeedsNoTransaction  WarningCode = "needs-txmode-none"
	WarnDirective           WarningCode = "directive-without-effect"
	WarnSum                 WarningCode = "atlas-sum"
	WarnOrphanDown          WarningCode = "down-without-version"
	WarnQualifiedName       WarningCode = "schema-qualified-name"
	WarnIndex               WarningCode = "index-without-concurrently"
	WarnIfNotExists         WarningCode = "concurrently-if-not-exists"
	WarnSeveralAlone        WarningCode = "several-statements-without-transaction"
	WarnRewrite             WarningCode = "table-rewrite"
	WarnScan                WarningCode = "constraint-without-not-valid"
	WarnValidate            WarningCode = "validate-in-same-transaction"
	WarnSetNotNull          WarningCode = "set-not-null-scans"
	WarnUniqueLocks         WarningCode = "constraint-without-using-index"
	WarnUniqueRows          WarningCode = "unique-on-existing-rows"
	WarnNotNullNoDefault    WarningCode = "not-null-without-default"
	WarnNotNullRows         WarningCode = "not-null-on-existing-rows"
	WarnRenameTable         WarningCode = "rename-table"
	WarnRenameColumn        WarningCode = "rename-column"
	WarnDropSchema          WarningCode = "drop-schema"
	WarnDropTable           WarningCode = "drop-table"
	WarnDropColumn          WarningCode = "drop-column"
	WarnDropObject          WarningCode = "drop-object"
	WarnDropConstraint      WarningCode = "drop-constraint"
	WarnDeleteAll           WarningCode = "delete-all-rows"
	WarnAllRowsWithDDL      WarningCode = "all-rows-with-ddl"
	WarnEnumValue           WarningCode = "enum-value-used-at-once"
	WarnNoWayBack           WarningCode = "no-way-back"
	WarnEditedAfterApply    WarningCode = "edited-after-apply"
	WarnExtensionNotAllowed WarningCode = "extension-missing"
	WarnRefusedOnCopy       WarningCode = "refused-on-copy"
	WarnUnprovedOnCopy      WarningCode = "unproved-on-copy"
)

// WarningKind is what all warnings of a code have in common.
type WarningKind struct {
	Code     WarningCode
	Severity Severity
	Sentence string   // what happens, to stand after a colon
	Hint     string   // what to write instead
	Atlas    []string // analyzer and codes of Atlas's for the same; atlas:nolint takes them too
}

// Link leads to the section about the kind in docs/warnings.md.
func (k *WarningKind) Link() string {
	return "https://github.com/manorhq/manor/blob/main/docs/warnings.md#" + string(k.Code)
}

// Names are what atlas:nolint may call the kind.
func (k *WarningKind) Names() []string { return append([]string{string(k.Code)}, k.Atlas...) }

// WarningKinds are all of them: the only place that says what a code means.
var WarningKinds = []WarningKind{
	{WarnRefused, SeverityError, "`release push` refuses the file",
		"", nil},
	{WarnSearchPath, SeverityError, "the statement would lead out of the tenant it runs for, so `release push` refuses it",
		"name no schema and no role: every statement runs in the tenant's own schema, as the owner of its database", nil},
	{WarnNeedsNoTransaction, SeverityError, "PostgreSQL runs the statement in no transaction, and the file has one",
		"begin the file with the line `-- atlas:txmode none` and a blank line", []string{"concurrent_index", "PG103"}},
	{WarnDirective, SeverityWarning, "the directive has no effect",
		"file directives stand at the top of the file, with a blank line after them", nil},
	{WarnSum, SeverityError, "atlas.sum does not fit the files, so `release push` refuses the directory",
		"run `atlas migrate hash`", nil},
	{WarnOrphanDown, SeverityError, "the down file undoes no migration, so `release push` refuses the directory",
		"give it the name of the migration that it undoes", nil},
	{WarnQualifiedName, SeverityWarning, "a name with a schema reaches the same place for every tenant, or none",
		"leave out the schema: names are found in the tenant's own", nil},
	{WarnIndex, SeverityWarning, "nobody can write to the table while the index is built",
		"write CREATE INDEX CONCURRENTLY, in a file of its own that begins with `-- atlas:txmode none` and a blank line", []string{"concurrent_index", "PG101"}},
	{WarnIfNotExists, SeverityNote, "IF NOT EXISTS takes the invalid index of an interrupted build for the finished one",
		"leave it out: Manor drops what is left of an interrupted build and builds it again", nil},
	{WarnSeveralAlone, SeverityNote, "a failure leaves the file half done: what ran before it stays",
		"give each statement that needs no transaction a file of its own, and the others a file with one", nil},
	{WarnRewrite, SeverityWarning, "the table is written anew while nobody can read it or write to it",
		"build the new beside the old, such as a column without a volatile default, fill it in batches, and switch over", []string{"PG302"}},
	{WarnScan, SeverityWarning, "all rows are checked under a lock that keeps others from writing",
		"add the constraint NOT VALID, and VALIDATE it in a file after this one", []string{"PG305", "PG306"}},
	{WarnValidate, SeverityWarning, "all rows are checked while the lock of the ALTER TABLE before it is still held",
		"move VALIDATE CONSTRAINT to a file of its own: there it keeps nobody from reading or writing", nil},
	{WarnSetNotNull, SeverityWarning, "all rows are checked while nobody can read the table or write to it",
		"add CHECK (… IS NOT NULL) NOT VALID, validate it in the next file, then SET NOT NULL, which checks nothing any more", []string{"PG303"}},
	{WarnUniqueLocks, SeverityWarning, "the index behind the constraint is built while nobody can write to the table or read it",
		"build it by CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX", []string{"PG104", "PG105"}},
	{WarnUniqueRows, SeverityWarning, "it fails for every tenant that has duplicates",
		"merge or delete duplicates in a file before this one", []string{"data_depend", "MF101", "MF102"}},
	{WarnNotNullNoDefault, SeverityWarning, "it fails for every tenant that has rows in the table",
		"give the column a DEFAULT, or add it nullable, fill it and then SET NOT NULL", []string{"data_depend", "MF103"}},
	{WarnNotNullRows, SeverityWarning, "it fails for every tenant that has a NULL there",
		"fill the column in an UPDATE before", []string{"data_depend", "MF104"}},
	{WarnRenameTable, SeverityWarning, "applications that use the old name fail from now on, those that use the new one after a rollback",
		"leave a view of the old name until no application uses it", []string{"incompatible", "BC101"}},
	{WarnRenameColumn, SeverityWarning, "applications that use the old name fail from now on, those that use the new one after a rollback",
		"add the new column, write both, move readers, and drop the old one in a later release", []string{"incompatible", "BC102"}},
	{WarnDropSchema, SeverityWarning, "all that is in the schema is lost",
		"take it out of use first, and drop it in a later release", []string{"destructive", "DS101"}},
	{WarnDropTable, SeverityWarning, "its rows are lost, unless the down file can make them again",
		"take it out of use first, and drop it in a later release", []string{"destructive", "DS102"}},
	{WarnDropColumn, SeverityWarning, "what is in it is lost, unless the down file can make it again",
		"take it out of use first, and drop it in a later release", []string{"destructive", "DS103"}},
	{WarnDropObject, SeverityWarning, "applications that still use it fail from now on",
		"take it out of use first, and drop it in a later release", nil},
	{WarnDropConstraint, SeverityWarning, "rows that break the constraint may come in, and it cannot come back while they are there",
		"make sure that nothing relies on it, and write a down file", []string{"condrop", "CD101"}},
	{WarnDeleteAll, SeverityWarning, "all rows are lost, unless the down file can make them again",
		"say by WHERE which rows are meant", nil},
	{WarnAllRowsWithDDL, SeverityWarning, "all rows are written while the locks of the transaction's DDL are held",
		"move it to a file of its own; rows that are many, in batches", nil},
	{WarnEnumValue, SeverityWarning, "PostgreSQL lets nobody use a new value before the transaction that added it has ended (55P04)",
		"use it in a file after the one that adds it", nil},
	{WarnNoWayBack, SeverityNote, "a rollout of this version cannot be rolled back",
		"write down/<the same name>.sql", nil},
	{WarnEditedAfterApply, SeverityError, "the file was changed after tenants had got it",
		"put it back as it was, and write the change as a new version", nil},
	{WarnExtensionNotAllowed, SeverityError, "the release needs an extension that a cluster does not have",
		"`manor cluster set NAME --extension EXTENSION` installs it", nil},
	{WarnRefusedOnCopy, SeverityWarning, "the rollout would fail for this tenant",
		"mend its rows, or have the version take them", nil},
	{WarnUnprovedOnCopy, SeverityWarning, "a rollback would not give the tenant back what it had",
		"write a down file that does, or one that loses nothing", nil},
}

// KindOf returns what all warnings of a code have in common. An unknown code
// has a kind without words.
func KindOf(code WarningCode) WarningKind {
	i := slices.IndexFunc(WarningKinds, func(k WarningKind) bool { return k.Code == code })
	if i < 0 {
		return WarningKind{Code: code, Severity: SeverityWarning}
	}
	return WarningKinds[i]
}

// Warning is one thing about a release that its author should know. It comes
// from reading the files; a rehearsal adds what it has observed.
type Warning struct {
	Code      WarningCode `json:"code"`
	Severity  Severity    `json:"severity"`
	Message   string      `json:"message"`        // what this statement does
	Hint      string      `json:"hint,omitempty"` // what to write instead
	Link      string      `json:"link"`
	Version   string      `json:"version,omitempty"`
	File      string      `json:"file"`                // relative to the migration directory
	Statement int         `json:"statement,omitempty"` // of the file, from 1; 0: the file as a whole
	Line      int         `json:"line,omitempty"`      // of the file, from 1; 0: the file as a whole
	SQL       string      `json:"sql,omitempty"`       // of the statement
}

// NewWarning makes a warning of a code: what is done, such as "CREATE INDEX on
// issues", followed by what all of the kind have in common.
func NewWarning(code WarningCode, what string) Warning {
	kind := KindOf(code)
	return Warning{Code: code, Severity: kind.Severity, Message: what + ": " + kind.Sentence, Hint: kind.Hint, Link: kind.Link()}
}

// Lint is what reading the files of a migration directory has found.
type Lint struct {
	Files    int       `json:"files"`           // looked at, down files not counted
	Since    string    `json:"since,omitempty"` // the version after which they begin
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
	Notes    int       `json:"notes"`
	Silenced int       `json:"silenced"` // by atlas:nolint; not among the items
	Items    []Warning `json:"items"`    // in the order of the files
}

// Add adds a warning and counts it.
func (l *Lint) Add(w Warning) {
	switch w.Severity {
	case SeverityError:
		l.Errors++
	case SeverityWarning:
		l.Warnings++
	default:
		l.Notes++
	}
	l.Items = append(l.Items, w)
}

// Has reports whether there is a warning of at least this severity.
func (l *Lint) Has(least Severity) bool {
	at := slices.Index(Severities, least)
	return slices.ContainsFunc(l.Items, func(w Warning) bool { return slices.Index(Severities, w.Severity) <= at })
}
