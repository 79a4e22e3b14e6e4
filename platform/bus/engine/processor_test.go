package engine

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
)

func TestProcessor_OnlyPartitionsWithoutFailuresShareABatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*partition)
		shares bool
	}{
		"Plain":             {func(*partition) {}, true},
		"ParkedMessagesDue": {func(t *partition) { t.due = true }, false},
		"OneIsolated":       {func(t *partition) { t.isolate(1) }, false},
		"AllIsolated":       {func(t *partition) { t.all = true }, false},
		"OneFailed":         {func(t *partition) { t.fail(1, errors.New("fails")) }, false},
		"BatchIsOver": {func(t *partition) {
			t.isolate(1)
			t.fail(1, errors.New("fails"))
			t.end()
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &processor{partitions: map[string]*[store.Partitions]partition{"shop.events": {}}}
			w := &work.Partition{Stream: "shop.events", Number: 7}
			c.change(p.of(w))
			require.Equal(t, c.shares, p.plain(w))
		})
	}
}
