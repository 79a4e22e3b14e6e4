package app

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/modules/payment/gateway"
)

// TestSimulator_HasItsOwnSecret: callbacks that the simulator signed are refused
// where a real gateway is configured, and its secret can be read only with the
// data directory.
func TestSimulator_HasItsOwnSecret(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Payment.CallbackURL = "http://127.0.0.1:1/callbacks/gateway"
	secretIn := func(dir string) string {
		cfg.DataDir = dir
		a := &App{cfg: cfg, log: slog.New(slog.DiscardHandler)}
		out, err := a.openOutside([]string{"payment"})
		require.NoError(t, err)
		require.NoError(t, a.Close())
		secrets := callbackSecrets(cfg, out)
		require.Len(t, secrets, 1)
		return secrets[0]
	}
	dir := t.TempDir()
	own := secretIn(dir)
	require.Equal(t, own, secretIn(dir), "a later process signs what an earlier one left")
	require.NotEqual(t, own, secretIn(t.TempDir()))
	info, err := os.Stat(filepath.Join(dir, "simulator.secret"))
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	configured := cfg.Payment.Secrets[0].Reveal()
	derived := hmac.New(sha256.New, gateway.Secret(configured)) // how an earlier version derived the secret
	derived.Write([]byte("millrace gateway simulator"))
	require.NotEqual(t, derived.Sum(nil), gateway.Secret(own))
	require.NotEqual(t, configured, own)
	require.Empty(t, callbackSecrets(cfg, outside{}), "no process takes callbacks that everybody can sign")

	cfg.Payment.Gateway.URL = "http://127.0.0.1:1"
	cfg.Payment.Secrets = []config.Secret{config.Secret("whsec_" + base64.StdEncoding.EncodeToString([]byte("a gateway's own secret, for a test")))}
	require.Equal(t, []string{cfg.Payment.Secrets[0].Reveal()}, callbackSecrets(cfg, outside{simulatorSecret: own}))
}
