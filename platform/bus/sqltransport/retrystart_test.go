package sqltransport

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

// Another configuration is needed: waiting would not end.
func TestRetryStart_DoesNotWaitAfterASwitchOfTheTransport(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tr := &Transport{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	tries := 0
	err := tr.retryStart(ctx, "renewing the lease", func(context.Context) error {
		tries++
		return errs.As(errs.Resource, switchedError{"kafka", "postgres"})
	})
	require.ErrorContains(t, err, "messages travel by kafka in this database now")
	require.Equal(t, 1, tries)
}
