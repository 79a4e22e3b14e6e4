package sqltransport

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// Another configuration is needed: waiting would not end.
func TestStartup_DoesNotWaitAfterASwitchOfTheTransport(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tries := 0
	err := startup{slog.New(slog.DiscardHandler)}.retry(ctx, "renewing the lease", func(context.Context) error {
		tries++
		return errs.As(errs.Resource, store.SwitchedError{Now: "kafka", Configured: "postgres"})
	})
	require.ErrorContains(t, err, "messages travel by kafka in this database now")
	require.Equal(t, 1, tries)
}
