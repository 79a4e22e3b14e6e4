//go:build slow

package parity

import (
	"bytes"
	"context"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/demo"
	"millrace/cmd/millrace/terminal"
	"millrace/config"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// playBoth compares PostgreSQL with the fake broker in a small run.
func playBoth(t *testing.T, begin func(context.Context, demo.Scene) error) (Result, string, error) {
	t.Helper()
	cfg := config.Default()
	cfg.DataDir, cfg.Log.Level = t.TempDir(), "warn"
	server := pgtest.URL(t)
	cfg.Database.URL = config.Secret(server)
	t.Cleanup(func() {
		u, err := url.Parse(server)
		require.NoError(t, err)
		db, err := postgres.Open(context.Background(), postgres.Config{URL: server, MaxConns: 1})
		require.NoError(t, err)
		_, err = db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(filepath.Base(u.Path)+"_demo")+" WITH (FORCE)")
		require.NoError(t, err)
		require.NoError(t, db.Close())
	})
	var printed bytes.Buffer
	result, err := Run(t.Context(), Options{Count: 10, Seed: 1, Version: "test", Config: cfg, Out: terminal.New(&printed), Bar: &bytes.Buffer{}, begin: begin})
	return result, printed.String(), err
}

func TestRun_FakeBrokerEqualsPostgreSQL(t *testing.T) {
	result, printed, err := playBoth(t, nil)
	require.NoError(t, err, printed)
	require.True(t, result.OK)
	require.Zero(t, result.Different)
	require.Len(t, result.Binary, 64)
	seen := map[string]int{}
	for _, l := range result.Lines {
		seen[l.Name] = l.Rows
		require.True(t, l.Verdict != Adapted || len(l.Because) > 0, l.Name)
	}
	for _, line := range []string{
		"payment.payments", "delivery.history", "notification.notifications", "consultation.history", "inquiry.entry", "dataplatform.record",
		"handled by delivery", "handled by notification", "handled by dataplatform", "wire of payment.completed", "wire of consultation.changed",
		"wire of notification.send", "e-mails", "gateway: charges", "gateway: callbacks",
	} {
		require.Positive(t, seen[line], "%s: nothing was compared", line)
	}
	require.Contains(t, seen, "dead letters")
}

// The planted trigger changes a notification if a bridge delivered a message to the
// module. The demo's own checks do not notice that.
func TestRun_FindsHandlerThatDependsOnTransport(t *testing.T) {
	result, printed, err := playBoth(t, func(ctx context.Context, scene demo.Scene) error {
		_, err := scene.DB.ExecContext(ctx, `
			CREATE FUNCTION notification.depend() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF EXISTS (SELECT 1 FROM notification.inbound) THEN NEW.params = NEW.params || '{"planted": "yes"}'; END IF;
				RETURN NEW;
			END $$;
			CREATE TRIGGER planted BEFORE INSERT ON notification.notifications FOR EACH ROW EXECUTE FUNCTION notification.depend()`)
		return err
	})
	require.ErrorContains(t, err, "without a reason", printed)
	require.False(t, result.OK)
	for _, l := range result.Lines {
		if l.Name == "notification.notifications" {
			require.Equal(t, Different, l.Verdict)
			require.NotContains(t, l.Because[1], "planted")
			require.Contains(t, l.Because[2], "planted")
		}
	}
	require.Contains(t, printed, "different  notification.notifications")
}
