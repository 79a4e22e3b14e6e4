package app

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
)

const presets = "../../../config"

var update = flag.Bool("update", false, "write config/split: the presets of split processes")

// TestPresets_SplitMatchesModuleList: each module's preset equals payment's,
// except for name and port, and the presets of the proxy and the operator list
// all modules. Ports follow the order of the list of modules.
func TestPresets_SplitMatchesModuleList(t *testing.T) { //nolint:paralleltest // with -update, it writes files that other tests read
	const template, firstPort = "payment", 8081
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(presets, "split", name+".yaml"))
		if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
		}
		return string(text) // "" for a new module
	}
	// listed is the file's text with these items in place of the list at its end.
	listed := func(name, list string, items []string) string {
		before, _, found := strings.Cut(read(name), "  "+list+":\n")
		require.True(t, found)
		return before + "  " + list + ":\n    - " + strings.Join(items, "\n    - ") + "\n"
	}
	want := map[string]string{}
	var addresses, databases []string
	for i, name := range Modules() {
		port := fmt.Sprint(firstPort + i)
		want[name] = strings.NewReplacer(template, name, fmt.Sprint(firstPort), port).Replace(read(template))
		addresses = append(addresses, name+"=http://127.0.0.1:"+port)
		databases = append(databases, ".data/split/"+name+"/"+AddressFile)
	}
	want["proxy"], want["operator"] = listed("proxy", "modules", addresses), listed("operator", "parts", databases)
	require.Equal(t, template, Modules()[0])
	for name, text := range want {
		if *update {
			require.NoError(t, os.WriteFile(filepath.Join(presets, "split", name+".yaml"), []byte(text), 0o644)) //nolint:gosec // a public file
		}
		require.Equal(t, text, read(name), "%s.yaml: run go test ./cmd/millrace/app -run Presets -update", name)
	}
}

func TestPresets_AreAccepted(t *testing.T) {
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
	require.Equal(t, 2+len(Modules())+2, found, "dev, kafka, one for each module, the proxy, and the operator")
}

// TestPresets_SplitIsConsistent: each module is hosted once, has its own address
// and its own files, and the proxy knows the addresses.
func TestPresets_SplitIsConsistent(t *testing.T) {
	t.Parallel()
	proxy, err := config.Load(filepath.Join(presets, "split", "proxy.yaml"), nil)
	require.NoError(t, err)
	targets := proxy.Proxy.Targets()
	require.Len(t, targets, len(Modules()))
	addresses, folders := map[string]bool{proxy.HTTP.Address: true}, map[string]bool{}
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
