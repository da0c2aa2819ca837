package migrator

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane/pg"
)

// value is the nth value for a column as SQL: of its kind, or, for a tame one,
// the candidate that is in use.
func (c *column) value(kind rowKind, n int) string {
	var value string
	var known bool
	switch {
	case kind == low || kind == high:
		value, known = c.extreme(kind, n)
	case c.pick > 0:
		value, known = c.candidate(c.pick, n)
	}
	if !known {
		value, known = c.plain(n)
	}
	switch {
	case known:
		return c.wrap(value)
	case c.fallback:
		return "DEFAULT"
	}
	return "NULL" // where it may not be, PostgreSQL says so
}

// wrap is a text as the SQL of a value of the column.
func (c *column) wrap(text string) string {
	if c.array {
		return "ARRAY[" + pg.Literal(text) + "]::" + c.declared
	}
	return pg.Literal(text)
}

// plain is an ordinary value: small, positive, another for every n.
func (c *column) plain(n int) (text string, known bool) {
	if len(c.labels) > 0 {
		return c.labels[n%len(c.labels)], true
	}
	switch c.base {
	case "int2", "int4", "int8", "oid", "float4", "float8", "money":
		return strconv.Itoa(n % 32000), true
	case "numeric":
		return c.numeric(n), true
	case "text", "varchar", "bpchar", "citext", "name":
		return c.fit(fmt.Sprintf("Some %s %d", c.name, n), n), true
	case "char":
		return string(rune('a' + n%26)), true
	case "bool":
		return strconv.FormatBool(n%2 == 0), true
	case "bit", "varbit":
		return fmt.Sprintf("%0*b", c.width(1), n%(1<<min(c.width(1), 20))), true
	}
	if format, ok := formats[c.base]; ok {
		return format(n), true
	}
	return "", false
}

// formats are values of types by name, from a number.
var formats = map[string]func(n int) string{
	"date":           func(n int) string { return firstDay.AddDate(0, 0, n%10000).Format(time.DateOnly) },
	"timestamp":      moment,
	"timestamptz":    moment,
	"time":           func(n int) string { return fmt.Sprintf("%02d:%02d:00", n/60%24, n%60) },
	"timetz":         func(n int) string { return fmt.Sprintf("%02d:%02d:00+00", n/60%24, n%60) },
	"interval":       counted("%d minutes"),
	"uuid":           counted("00000000-0000-4000-8000-%012d"),
	"bytea":          counted(`\x%08d`),
	"json":           counted(`{"n": %d}`),
	"jsonb":          counted(`{"n": %d}`),
	"jsonpath":       counted("$.n%d"),
	"xml":            counted("<n>%d</n>"),
	"inet":           func(n int) string { return fmt.Sprintf("10.0.%d.%d", n/256%256, n%256) },
	"cidr":           func(n int) string { return fmt.Sprintf("10.%d.%d.0/24", n/256%256, n%256) },
	"macaddr":        func(n int) string { return fmt.Sprintf("00:00:00:00:%02x:%02x", n/256%256, n%256) },
	"macaddr8":       func(n int) string { return fmt.Sprintf("00:00:00:00:00:00:%02x:%02x", n/256%256, n%256) },
	"point":          counted("(%d,0)"),
	"box":            counted("(%d,1),(0,0)"),
	"circle":         counted("<(0,0),%d>"),
	"line":           counted("{1,1,%d}"),
	"lseg":           counted("[(0,0),(%d,1)]"),
	"path":           counted("[(0,0),(%d,1)]"),
	"polygon":        counted("((0,0),(0,1),(%d,0))"),
	"tsvector":       counted("w%d"),
	"tsquery":        counted("w%d"),
	"pg_lsn":         counted("0/%d"),
	"hstore":         counted("n=>%d"),
	"ltree":          counted("a.n%d"),
	"int4range":      counted("[%d,1000000)"),
	"int8range":      counted("[%d,1000000)"),
	"numrange":       counted("[%d,1000000)"),
	"int4multirange": counted("{[%d,1000000)}"),
	"int8multirange": counted("{[%d,1000000)}"),
	"nummultirange":  counted("{[%d,1000000)}"),
	"daterange":      func(n int) string { return "[" + firstDay.AddDate(0, 0, n%10000).Format(time.DateOnly) + ",)" },
	"tsrange":        func(n int) string { return "[" + moment(n) + ",)" },
	"tstzrange":      func(n int) string { return "[" + moment(n) + ",)" },
}

var firstDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func moment(n int) string { return firstDay.Add(time.Duration(n) * time.Minute).Format(time.DateTime) }

func counted(format string) func(int) string {
	return func(n int) string { return fmt.Sprintf(format, n) }
}

// extremes are values that migrations stumble over, by type: a low and a high one.
var extremes = map[string][2]func(n int) string{
	"int2":        {counted("-%d"), func(n int) string { return strconv.Itoa(32000 + n%700) }},
	"int4":        {counted("-%d"), func(n int) string { return strconv.Itoa(1_000_000 + n) }},
	"int8":        {counted("-%d"), func(n int) string { return strconv.Itoa(3_000_000_000 + n) }},
	"float4":      {counted("-%d.5"), counted("%d.25")},
	"float8":      {counted("-%d.5"), func(n int) string { return fmt.Sprintf("%d.0625", 3_000_000_000+n) }},
	"bool":        {func(int) string { return "false" }, func(int) string { return "true" }},
	"date":        {func(int) string { return "1969-12-31" }, func(int) string { return "2199-12-31" }},
	"timestamp":   {func(int) string { return "1969-12-31 23:59:59.123456" }, func(int) string { return "2199-12-31 23:59:59.123456" }},
	"timestamptz": {func(int) string { return "1969-12-31 23:59:59.123456Z" }, func(int) string { return "2199-12-31 23:59:59.123456Z" }},
	"interval":    {counted("-%d days"), counted("%d years")},
	"json":        {func(int) string { return "null" }, counted(`{"a": [1, {"b": %d}]}`)},
	"jsonb":       {func(int) string { return "null" }, counted(`{"a": [1, {"b": %d}]}`)},
}

// extreme is the nth value of that kind, where the type has one.
func (c *column) extreme(kind rowKind, n int) (text string, known bool) {
	i := 0
	if kind == high {
		i = 1
	}
	if found, ok := extremes[c.base]; ok {
		return found[i](n), true
	}
	switch {
	case len(c.labels) > 0:
		return c.labels[i*(len(c.labels)-1)], true // the first and the last
	case c.base == "numeric" && kind == low:
		return "-" + c.numeric(n), true
	case c.base == "numeric":
		return strings.Repeat("9", max(c.digits(), 0)) + "." + strings.Repeat("9", c.scale()), true
	case c.isText() && kind == low:
		return "", true
	case c.isText():
		return c.fit("  Größer' "+strings.Repeat("Long ", 50)+strconv.Itoa(n)+" ", n), true
	}
	return "", false
}

func (c *column) isText() bool {
	return c.base == "text" || c.base == "varchar" || c.base == "bpchar" || c.base == "citext"
}

func (c *column) isNumber() bool {
	return c.base == "numeric" || strings.HasPrefix(c.base, "int") && c.base != "interval" || strings.HasPrefix(c.base, "float")
}

// numeric is a number with as many digits as the column has room for.
func (c *column) numeric(n int) string {
	if d := c.digits(); d <= 0 {
		n = 0
	} else if d < 5 {
		n %= []int{1, 10, 100, 1000, 10000}[d]
	}
	if c.scale() <= 0 {
		return strconv.Itoa(n)
	}
	return strconv.Itoa(n) + "." + strings.Repeat("7", c.scale())
}

// scale is the number of digits after the point, digits that before it.
func (c *column) scale() int {
	switch len(c.size) {
	case 0:
		return 3
	case 1:
		return 0
	}
	return c.size[1]
}

func (c *column) digits() int {
	if len(c.size) == 0 {
		return 12
	}
	return c.size[0] - max(c.scale(), 0)
}

// width is the size of the type, or another where it has none.
func (c *column) width(otherwise int) int {
	if len(c.size) == 0 {
		return otherwise
	}
	return c.size[0]
}

// fit cuts a text to the size of the column, so that it still tells n.
func (c *column) fit(text string, n int) string {
	size := c.width(300)
	if c.base == "name" {
		size = 60
	}
	runes, tail := []rune(text), letters(n)
	switch {
	case len(runes) <= size:
		return text
	case len(tail) >= size:
		return tail[len(tail)-size:]
	}
	return string(runes[:size-len(tail)]) + tail
}

// letters writes a number in lower case letters.
func letters(n int) string {
	text := ""
	for ; n > 0 || text == ""; n /= 26 {
		text = string(rune('a'+n%26)) + text
	}
	return text
}

// likely are texts that CHECKs ask for; $ is a number, ~ the same in letters.
var likely = []string{"~", "a~", "A~", "a-~", "~$", "a$@example.com", "https://example.com/$", "#00aabb", "AB-$", "2026-01-01", "$", "+4912345$", "/a/$"}

var (
	constants = regexp.MustCompile(`'((?:[^']|'')*)'`)
	numbers   = regexp.MustCompile(`-?\b\d+(?:\.\d+)?\b`)
)

// candidates is how many values there are for a column with CHECKs; the first
// is the plain one.
func (c *column) candidates() int { return 1 + len(c.others(0)) }

// candidate is the ith of the values, made for row n.
func (c *column) candidate(i, n int) (text string, known bool) {
	others := c.others(n)
	if i-1 < len(others) {
		return others[i-1], true
	}
	return "", false
}

// others are values that the column's CHECKs suggest.
func (c *column) others(n int) []string {
	var found []string
	definition := strings.Join(c.hints, " ")
	strs := constants.FindAllStringSubmatch(definition, -1)
	if len(strs) > 0 && c.isText() {
		found = append(found, unquoted(strs[n%len(strs)][1])) // so that rows differ
	}
	for _, s := range strs {
		found = append(found, unquoted(s[1]))
	}
	for _, s := range numbers.FindAllString(constants.ReplaceAllString(definition, ""), -1) {
		number, err := strconv.ParseFloat(s, 64)
		switch {
		case err != nil:
		case c.isText() && number >= 1 && number <= 300: // a length
			found = append(found, exactly(int(number), n))
		case c.isNumber():
			for _, off := range []float64{0, 1, -1} {
				found = append(found, strconv.FormatFloat(number+off, 'f', -1, 64))
			}
		}
	}
	if c.isText() {
		for _, text := range likely {
			text = strings.NewReplacer("$", strconv.Itoa(n), "~", letters(n)).Replace(text)
			found = append(found, c.fit(text, n))
		}
	}
	return found
}

func unquoted(s string) string { return strings.ReplaceAll(s, "''", "'") }

// exactly is a text of that many letters.
func exactly(length, n int) string {
	text := strings.Repeat("a", length) + letters(n)
	return text[len(text)-length:]
}
