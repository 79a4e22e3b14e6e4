package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
)

const presets = "../../../config"

func TestEveryPresetIsAccepted(t *testing.T) {
	t.Parallel()
	found := 0
	for _, pattern := range []string{"*.yaml", "split/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(presets, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			c, err := config.Load(path, nil)
			require.NoError(t, err, path)
			require.NoError(t, c.Validate(Modules()), path)
			found++
		}
	}
	require.Equal(t, 2+len(Modules())+2, found, "dev, kafka, one for each module, the front door, and the operator")
}

// TestThePresetsOfASplitFitEachOther: each module is hosted once, on an address
// and with files of its own, and the front door knows where.
func TestThePresetsOfASplitFitEachOther(t *testing.T) {
	t.Parallel()
	front, err := config.Load(filepath.Join(presets, "split", "front.yaml"), nil)
	require.NoError(t, err)
	targets := front.Front.Targets()
	require.Len(t, targets, len(Modules()))
	addresses, folders := map[string]bool{front.HTTP.Address: true}, map[string]bool{}
	kafka := config.Kafka{}
	for _, name := range Modules() {
		c, err := config.Load(filepath.Join(presets, "split", name+".yaml"), []string{"DATABASE_URL=postgres://" + name + "@db/" + name})
		require.NoError(t, err)
		require.NoError(t, c.Validate(Modules()))
		require.Equal(t, []string{name}, c.Modules)
		require.Equal(t, config.OnKafka, c.Transport)
		require.Equal(t, c.HTTP.Address, targets[name].Host)
		require.False(t, addresses[c.HTTP.Address] || folders[c.DataDir], "%s has its own", name)
		require.False(t, c.Embedded(), "the environment's")
		addresses[c.HTTP.Address], folders[c.DataDir] = true, true
		if kafka.Brokers != nil {
			require.Equal(t, kafka, c.Kafka, name)
		}
		kafka = c.Kafka
	}
	entries, err := os.ReadDir(filepath.Join(presets, "split"))
	require.NoError(t, err)
	require.Len(t, entries, len(Modules())+2, "none of a module that is gone")
	operator, err := config.Load(filepath.Join(presets, "split", "operator.yaml"), nil)
	require.NoError(t, err)
	require.Len(t, operator.Database.Parts, len(Modules()))
	for _, part := range operator.Database.Parts {
		require.Equal(t, AddressFile, filepath.Base(part.Reveal()))
		require.True(t, folders[filepath.Dir(part.Reveal())], "of a module's own server")
	}
}
