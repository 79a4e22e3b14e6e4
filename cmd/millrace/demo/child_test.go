package demo

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/config"
)

// Whatever the user set and the stage decided is what the child serves with;
// what the parent's environment says besides is not.
func TestTheChildServesWithTheSameConfiguration(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.DataDir = "elsewhere/demo"
	cfg.HTTP.Address = "127.0.0.1:4321"
	cfg.Database = config.Database{URL: "postgres://u:p@127.0.0.1/shop_demo", MaxConnsPerModule: 9}
	cfg.Bus = config.Bus{LeaseTTL: 3 * time.Second, Executors: 5, Backoff: []time.Duration{time.Second, 2 * time.Minute}}
	cfg.Payment.Gateway.URL, cfg.Payment.Gateway.Timeout, cfg.Payment.Gateway.Name = "http://127.0.0.1:4322", 70*time.Millisecond, "another"
	cfg.Payment.ChaseAfter = 11 * time.Second
	cfg.Delivery = config.Delivery{AutoProgress: false, AutoProgressAfter: 17 * time.Millisecond}
	cfg.Mail.From = "Shop <shop@shop.example>"
	cfg.Mail.SMTP.Host, cfg.Mail.SMTP.Port, cfg.Mail.SMTP.TLS = "127.0.0.1", 2525, "plaintext"
	cfg.DataPlatform = config.DataPlatform{Dir: "elsewhere/files", FlushRows: 12, FlushEvery: 3 * time.Second}
	cfg.Log = config.Log{Level: "warn", Format: "text"}

	got, err := config.Load("", environOf(cfg, []string{"PATH=/bin", "DATABASE_URL=postgres://wrong/one", "MILLRACE_CONFIG=x.yaml", "MILLRACE_MODULES=payment"}))
	require.NoError(t, err)
	require.Equal(t, cfg, got)
}
