package module_test

import (
	"context"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/platform/module"
)

// idle is a module with nothing but a name.
type idle struct{ module.Base }

func (idle) Name() string { return "idle" }

var _ module.Module = idle{}

func TestBase_DeclaresNothing(t *testing.T) {
	t.Parallel()
	var m idle
	require.Empty(t, m.Publishes())
	require.Empty(t, m.Sends())
	require.Empty(t, m.Subscriptions())
	require.Empty(t, m.Checks())
	require.Empty(t, m.Metrics())
	files, err := fs.Glob(m.Migrations(), "*")
	require.NoError(t, err)
	require.Empty(t, files)
}

func TestBase_RunsUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- idle{}.Run(ctx) }()
	select {
	case err := <-ended:
		t.Fatal("ended by itself", err)
	default:
	}
	cancel()
	require.NoError(t, <-ended)
}

// A module with only a name can be migrated, routed and served.
func TestBase_CanBeHosted(t *testing.T) {
	t.Parallel()
	h := bustest.Start(t, func(*bus.DB) bustest.Module { return idle{} })
	h.ThenNothing()
	require.Equal(t, 404, h.Do("GET /anything", "").Code)
}
