package fleet

import (
	"errors"
	"testing"

	"github.com/manorhq/manor/controlplane"
)

func TestChoose(t *testing.T) {
	down := errors.New("down")
	clusters := []controlplane.Cluster{
		{Name: "full", Region: "eu", State: controlplane.ClusterActive, Capacity: 2, Tenants: 2},
		{Name: "busy", Region: "eu", State: controlplane.ClusterActive, Tenants: 9},
		{Name: "idle", Region: "eu", State: controlplane.ClusterActive, Tenants: 1},
		{Name: "gone", Region: "eu", State: controlplane.ClusterActive},
		{Name: "draining", Region: "us", State: controlplane.ClusterDraining},
		{Name: "packed", Region: "ap", State: controlplane.ClusterActive, Capacity: 1, Tenants: 1},
	}
	for name, c := range map[string]struct {
		clusters []controlplane.Cluster
		wish     Wish
		want     string
		code     controlplane.Code
	}{
		"the emptiest that answers": {clusters, Wish{}, "idle", ""},
		"of the region":             {clusters, Wish{Region: "eu"}, "idle", ""},
		"the named one":             {clusters, Wish{Cluster: "busy"}, "busy", ""},
		"named, other region":       {clusters, Wish{Cluster: "busy", Region: "us"}, "", controlplane.Refused},
		"named, unknown":            {clusters, Wish{Cluster: "nowhere"}, "", controlplane.NotFound},
		"named, full":               {clusters, Wish{Cluster: "full"}, "", controlplane.Refused},
		"named, draining":           {clusters, Wish{Cluster: "draining"}, "", controlplane.Refused},
		"named, down":               {clusters, Wish{Cluster: "gone"}, "", controlplane.Internal},
		"a region nobody serves":    {clusters, Wish{Region: "mars"}, "", controlplane.Refused},
		"a region that is drained":  {clusters, Wish{Region: "us"}, "", controlplane.Unavailable},
		"a region that is full":     {clusters, Wish{Region: "ap"}, "", controlplane.Refused},
		"no cluster":                {nil, Wish{}, "", controlplane.Refused},
	} {
		got, err := Choose(c.clusters, map[string]error{"gone": down}, c.wish)
		switch {
		case c.want != "" && (err != nil || got.Name != c.want):
			t.Errorf("%s: %v, %v", name, got, err)
		case c.want == "" && controlplane.CodeOf(err) != c.code:
			t.Errorf("%s: %v", name, err)
		}
	}
}
