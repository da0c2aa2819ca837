// Package ent is the catalog's client, generated from ent/schema. Only
// catalog, work, event and the rooms' store.go and service.go import it.
package ent

//go:generate go run ./gen
