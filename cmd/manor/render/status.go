package render

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Status shows the fleet by version, cluster and rollout.
func (p *Printer) Status(s *controlplane.FleetStatus) error {
	return p.print(s, func() string {
		return blocks(p.statusHead(s), p.statusAlarms(s), p.statusVersions(s), p.statusClusters(s), p.rolloutGridOrNothing(s.Rollouts))
	})
}

func (p *Printer) rolloutGridOrNothing(rollouts []controlplane.Rollout) string {
	if len(rollouts) == 0 {
		return ""
	}
	return p.rolloutGrid(rollouts)
}

// statusHead is the state of the fleet in two lines.
func (p *Printer) statusHead(s *controlplane.FleetStatus) string {
	if s.Tenants == 0 && len(s.Clusters) == 0 {
		return "An empty fleet. `manor cluster add` is the first step, `manor release push` the second, `manor tenant create` the third.\n"
	}
	var states []string
	for _, st := range controlplane.TenantStates {
		if n := s.States[st]; n > 0 && st != controlplane.TenantDeleted {
			states = append(states, itoa(n)+" "+p.style.state(string(st)))
		}
	}
	text := p.style.bold(plural(s.Tenants, "tenant")) + " on " + plural(len(s.Clusters), "cluster")
	if len(states) > 0 {
		text += ": " + strings.Join(states, ", ")
	}
	return text + "\n" + p.statusDefault(s)
}

func (p *Printer) statusDefault(s *controlplane.FleetStatus) string {
	if s.Default == "" {
		return "No release yet: new tenants start empty.\n"
	}
	text := fmt.Sprintf("New tenants start at release %s, version %s", p.style.bold(s.Default), s.Version)
	if s.Behind > 0 {
		return text + "; " + p.style.paint(yellow, plural(s.Behind, "tenant")+" behind") + ".\n"
	}
	return text + "; " + p.style.paint(green, "nobody is behind") + ".\n"
}

// alarmed is what nobody is to overlook.
var alarmed = red.Bold(true).Reverse(true)

// statusAlarms says on which clusters nothing is started, why, since when, and
// when the next tenant is tried.
func (p *Printer) statusAlarms(s *controlplane.FleetStatus) string {
	var b strings.Builder
	for _, c := range s.Clusters {
		if a := c.Alarm; a != nil {
			b.WriteString(p.style.paint(alarmed, "ALARM") + " " + p.style.bad("cluster "+c.Cluster+": "+alarmText(a)) + "\n")
			b.WriteString("      since " + p.age(a.Since) + ", " + p.metBy(a) + "; " + p.nextTry(a) + "\n")
		}
	}
	return b.String()
}

func alarmText(a *controlplane.Alarm) string {
	if a.SQLState == "" {
		return a.Message
	}
	return a.Message + " (SQLSTATE " + a.SQLState + ")"
}

// metBy says who has met an alarm.
func (p *Printer) metBy(a *controlplane.Alarm) string {
	if a.Tenant != "" && a.Tries > 1 {
		return "only tenant " + a.Tenant + " met it, " + plural(a.Tries, "time")
	}
	return plural(a.Tries, "tenant") + " met it"
}

// nextTry is when an alarm is put to the test.
func (p *Printer) nextTry(a *controlplane.Alarm) string {
	if wait := a.Until.Sub(p.Now()); wait > 0 {
		return "one tenant is tried again in " + span(wait)
	}
	return "one tenant is being tried again"
}

const barWidth = 24

// statusVersions draws the share of each version, newest first. Fingerprints are
// shown where tenants of one version differ.
func (p *Printer) statusVersions(s *controlplane.FleetStatus) string {
	versions := slices.Clone(s.Versions)
	slices.SortFunc(versions, func(a, b controlplane.VersionStatus) int { return strings.Compare(b.Version, a.Version) })
	columns := []string{"VERSION", "RELEASE", ">TENANTS", "SHARE", ">FAILED", ">IN PROGRESS"}
	differ := slices.ContainsFunc(versions, func(v controlplane.VersionStatus) bool { return len(v.Fingerprints) > 1 })
	if differ {
		columns = append(columns, "BY FINGERPRINT")
	}
	g := p.grid(columns...)
	for _, v := range versions {
		row := []any{p.versionMark(v.Version, s.Version), v.Release, v.Tenants, p.share(v.Tenants, s.Tenants),
			p.style.count(v.Failed, red), p.style.count(v.Running, cyan)}
		if differ {
			row = append(row, byFingerprint(v.Fingerprints))
		}
		g.row(row...)
	}
	return g.String()
}

// byFingerprint is "97 1f0e9d2c, 1 77ab01e9", the most first.
func byFingerprint(tenants map[string]int) string {
	prints := slices.SortedFunc(maps.Keys(tenants), func(a, b string) int {
		return cmp.Or(cmp.Compare(tenants[b], tenants[a]), cmp.Compare(a, b))
	})
	const named = 3
	var texts []string
	for _, print := range prints[:min(len(prints), named)] {
		texts = append(texts, itoa(tenants[print])+" "+short(print, 8))
	}
	if more := len(prints) - named; more > 0 {
		texts = append(texts, itoa(more)+" others")
	}
	return strings.Join(texts, ", ")
}

func (p *Printer) versionMark(version, current string) string {
	if version == current && version != "" {
		return p.style.bold(version) + " *"
	}
	return orEmptyHome(version)
}

// share is a bar of blocks, in eighths; a tenth of a per cent is still seen.
func (p *Printer) share(part, whole int) string {
	if whole <= 0 || part <= 0 {
		return ""
	}
	eighths := max(1, part*barWidth*8/whole)
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return p.style.paint(green, bar) + " " + percent(part, whole)
}

// percent never rounds to nobody or everybody.
func percent(part, whole int) string {
	switch n := (part*200 + whole) / (2 * whole); {
	case n == 0 && part > 0:
		return "<1%"
	case n == 100 && part < whole:
		return ">99%"
	default:
		return itoa(n) + "%"
	}
}

func (p *Printer) statusClusters(s *controlplane.FleetStatus) string {
	g := p.grid("CLUSTER", "STATE", ">TENANTS", ">CAPACITY", "VERSIONS")
	for _, c := range s.Clusters {
		g.row(c.Cluster, p.clusterState(c), c.Tenants, capacity(c.Capacity), versionCounts(c.Versions))
	}
	return g.String()
}

func (p *Printer) clusterState(c controlplane.ClusterStatus) string {
	state := p.style.state(string(c.State))
	if c.Alarm != nil {
		state += ", " + p.style.bad("alarm")
	}
	return state
}

// versionCounts writes "110 at 20261012090000, 1 at 20260907090000", newest first.
func versionCounts(counts map[string]int) string {
	versions := slices.Sorted(maps.Keys(counts))
	slices.Reverse(versions)
	var parts []string
	for _, v := range versions {
		parts = append(parts, fmt.Sprintf("%d at %s", counts[v], orEmptyHome(v)))
	}
	return strings.Join(parts, ", ")
}
