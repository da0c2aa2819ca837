package rollout

import (
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
)

func TestStatusNamesTheAlarmOfACluster(t *testing.T) {
	alarm := &controlplane.Alarm{Message: "the disk is full", Since: time.Now()}
	status := summarize(nil, []controlplane.Cluster{{Name: "east", Flow: controlplane.Flow{Alarm: alarm}}, {Name: "west"}})
	if len(status.Clusters) != 2 || status.Clusters[0].Alarm != alarm || status.Clusters[1].Alarm != nil {
		t.Errorf("the clusters are %+v", status.Clusters)
	}
}
