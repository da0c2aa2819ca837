package catalog

import "testing"

func TestStandbyThatTookOverIsTheSamePlace(t *testing.T) {
	primary := parsePlace("7412/16384")
	for text, same := range map[string]bool{
		"7412/16384": true,  // the system identifier and the oids are the standby's too
		"/16384":     true,  // the server hides its identifier
		"7412/16385": false, // restored into another database of the server
		"7413/16384": false, // restored into another server
		"/16385":     false,
	} {
		if p := parsePlace(text); p.same(primary) != same || primary.same(p) != same || p.String() != text {
			t.Errorf("%s is the same place as %s: %t, want %t", p, primary, p.same(primary), same)
		}
	}
}
