//go:build chaos && !race

package chaos_test

const race = false
