package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/test/readme"
)

var updateDocuments = flag.Bool("update", false, "write the list of commands and the settings into docs/operations.md")

// TestDocuments_CommandsAreAccepted parses every command line that a document
// shows, and checks that the files it names exist.
func TestDocuments_CommandsAreAccepted(t *testing.T) {
	t.Parallel()
	commands, err := readme.Shell("../..")
	require.NoError(t, err)
	seen := 0
	for _, c := range commands {
		args, ok := c.Millrace()
		if !ok {
			continue
		}
		seen++
		var grammar cli
		parser, err := kong.New(&grammar, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}), kong.NamedMapper("number", kong.MapperFunc(number)))
		require.NoError(t, err)
		_, err = parser.Parse(args)
		require.NoError(t, err, c.String())
		if grammar.ConfigFile != "" {
			cfg, err := config.Load(filepath.Join("../..", grammar.ConfigFile), nil)
			require.NoError(t, err, "%s: %+v", c, cfg.Modules)
		}
	}
	require.Greater(t, seen, 20)
}

// This test is not parallel: with -update it writes a file that the other one reads.
func TestDocuments_OperationsListsCommandsAndSettings(t *testing.T) {
	const file = "../../docs/operations.md"
	code, help, _ := try(t, nil, "help")
	require.Zero(t, code)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	want := string(text)
	for name, content := range map[string]string{"help": help, "settings": config.Default().Redacted()} {
		begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		before, rest, found := strings.Cut(want, begin)
		require.True(t, found, name)
		_, after, found := strings.Cut(rest, end)
		require.True(t, found, name)
		want = before + begin + "```\n" + strings.TrimSpace(content) + "\n```\n" + end + after
	}
	if *updateDocuments {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644)) //nolint:gosec // a public file
		return
	}
	require.Equal(t, want, string(text), "run: go test ./cmd/millrace -run Documents -update")
}
