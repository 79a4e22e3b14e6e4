package simulator

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
)

func TestKeptSecret_IsRandomAndStable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "simulator.secret")
	one, err := KeptSecret(path)
	require.NoError(t, err)
	require.Len(t, gateway.Secret(one), 32)
	again, err := KeptSecret(path)
	require.NoError(t, err)
	require.Equal(t, one, again)
	other, err := KeptSecret(filepath.Join(t.TempDir(), "simulator.secret"))
	require.NoError(t, err)
	require.NotEqual(t, one, other)
}

// No temporary files are left either.
func TestKeptSecret_ConcurrentProcessesGetTheSameSecret(t *testing.T) {
	t.Parallel()
	for range 50 {
		dir := t.TempDir()
		secrets, faults := make([]string, 16), make([]error, 16)
		var all sync.WaitGroup
		for i := range secrets {
			all.Go(func() { secrets[i], faults[i] = KeptSecret(filepath.Join(dir, "simulator.secret")) })
		}
		all.Wait()
		for i := range secrets {
			require.NoError(t, faults[i])
			require.Equal(t, secrets[0], secrets[i])
		}
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	}
}

func TestKeptSecret_RejectsMalformedFile(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty": "", "text": "canary", "short": "whsec_" + base64.StdEncoding.EncodeToString([]byte("canary")), "no base64": "whsec_canary!", "long": "whsec_" + strings.Repeat("canary00", 10_000),
	} {
		path := filepath.Join(t.TempDir(), "simulator.secret")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := KeptSecret(path)
		require.ErrorContains(t, err, path, name)
		require.NotContains(t, err.Error(), "canary", name)
	}
}
