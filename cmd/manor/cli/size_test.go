package cli

import "testing"

func TestSizeIsReadInUnitsOf1024(t *testing.T) {
	for text, want := range map[string]int64{"10GB": 10 << 30, "512 mb": 512 << 20, "1.5kB": 1536, "4096": 4096, "7B": 7, "2TB": 2 << 40} {
		var b byteSize
		if err := b.Set(text); err != nil || int64(b) != want {
			t.Errorf("%q: %d, %v, want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "GB", "0", "-1GB", "ten", "1PB", "NaN", "9000000TB"} {
		var b byteSize
		if err := b.Set(text); err == nil {
			t.Errorf("%q is %d", text, b)
		}
	}
}
