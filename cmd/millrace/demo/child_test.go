package demo

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/config"
)

// The child gets every setting of the user and of the stage. Other settings in the
// parent's environment do not reach it.
func TestChild_GetsTheSameConfiguration(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.DataDir = "elsewhere/demo"
	cfg.HTTP.Address = "127.0.0.1:4321"
	cfg.Database = config.Database{URL: "postgres://u:p@127.0.0.1/shop_demo", MaxConnsPerModule: 9}
	cfg.Bus = config.Bus{LeaseTTL: 3 * time.Second, Workers: 5, Backoff: []time.Duration{time.Second, 2 * time.Minute}}
	cfg.Payment.Gateway.URL, cfg.Payment.Gateway.Timeout, cfg.Payment.Gateway.Name = "http://127.0.0.1:4322", 70*time.Millisecond, "another"
	cfg.Payment.StatusCheckAfter = 11 * time.Second
	cfg.Delivery = config.Delivery{AutoProgress: false, AutoProgressAfter: 17 * time.Millisecond}
	cfg.Mail.From = "Shop <shop@shop.example>"
	cfg.Mail.SMTP.Host, cfg.Mail.SMTP.Port, cfg.Mail.SMTP.TLS = "127.0.0.1", 2525, "plaintext"
	cfg.DataPlatform = config.DataPlatform{Dir: "elsewhere/files", FlushRows: 12, FlushEvery: 3 * time.Second}
	cfg.Log = config.Log{Level: "warn", Format: "text"}

	got, err := config.Load("", environOf(cfg, []string{"PATH=/bin", "DATABASE_URL=postgres://wrong/one", "MILLRACE_CONFIG=x.yaml", "MILLRACE_MODULES=payment", "PGHOSTADDR=203.0.113.1", "PGSSLMODE=prefer"}))
	require.NoError(t, err)
	require.Equal(t, cfg, got)
}

func TestChild_ReportsTheProcessesError(t *testing.T) {
	t.Parallel()
	log, err := os.Create(filepath.Join(t.TempDir(), "serve.log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	c := &child{executable: "/bin/sh", log: log, url: "http://127.0.0.1:9", ended: make(chan struct{})}
	require.Empty(t, c.complaint())
	for _, line := range []string{`{"msg":"listening"}`, "millrace: an earlier one", "millrace: http.address: 127.0.0.1:9 is taken"} {
		_, err := log.WriteString(line + "\n")
		require.NoError(t, err)
	}
	close(c.ended)
	require.ErrorContains(t, c.ready(t.Context()), "ended before it was ready: http.address: 127.0.0.1:9 is taken: see "+log.Name())
}
