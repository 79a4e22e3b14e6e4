package arch

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var addMigrations = flag.Bool("add-migrations", false, "note the new migrations in migrations.sum")

// A migration that is on main has been applied somewhere: whoever has applied it
// never sees what is changed in it later. Changes are new files; a new one is
// noted with -add-migrations.
func TestMigration_NeverChanges(t *testing.T) {
	t.Parallel()
	known := map[string]string{}
	noted, err := os.ReadFile("migrations.sum")
	require.NoError(t, err)
	for line := range strings.Lines(string(noted)) {
		sum, path, _ := strings.Cut(strings.TrimSpace(line), "  ")
		known[path] = sum
	}
	found := map[string]string{}
	for _, root := range []string{"platform", "modules"} {
		require.NoError(t, filepath.WalkDir(filepath.Join("../..", root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".sql" || !strings.Contains(filepath.ToSlash(path), "/migrations/") {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(content)
			name, err := filepath.Rel("../..", path)
			found[filepath.ToSlash(name)] = hex.EncodeToString(sum[:])
			return err
		}))
	}
	require.Greater(t, len(found), 5)
	var lines []string
	for path, sum := range found {
		if was, ok := known[path]; ok {
			require.Equal(t, was, sum, "%s was changed: put the change into a new file", path)
		} else {
			require.True(t, *addMigrations, "%s is new: note it with `go test ./test/arch -run Migration -add-migrations`", path)
		}
		lines = append(lines, sum+"  "+path+"\n")
	}
	for path := range known {
		require.Contains(t, found, path, "it was applied somewhere, and is gone")
	}
	if *addMigrations {
		sort.Slice(lines, func(i, k int) bool { return lines[i][66:] < lines[k][66:] })
		require.NoError(t, os.WriteFile("migrations.sum", []byte(strings.Join(lines, "")), 0o644))
	}
}

var createsIndex = regexp.MustCompile(`(?i)CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?.*? ON (\w+)`)

// A released table may be large: an index of it is created without a lock that
// stops the publishers. The baselines, and tables of the same file, are empty.
func TestMigrations_CreateIndexesOfExistingTablesConcurrently(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sql, refused string }{
		{"CREATE INDEX a ON log (key);", "log"},
		{"create unique index a on inbox (key);", "inbox"},
		{"CREATE INDEX CONCURRENTLY a ON log (key);", ""},
		{"CREATE TABLE coupons (id int);\nCREATE INDEX a ON coupons (id);", ""},
	} {
		require.Equal(t, c.refused, strings.Join(blockingIndexes(c.sql), " "), c.sql)
	}
	files, err := filepath.Glob("../../*/*/migrations/*.sql")
	require.NoError(t, err)
	bus, err := filepath.Glob("../../platform/bus/*/migrations/*/*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, bus)
	for _, file := range append(files, bus...) {
		if strings.HasPrefix(filepath.Base(file), "00001_") {
			continue
		}
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Empty(t, blockingIndexes(string(content)), "%s: CREATE INDEX CONCURRENTLY, in a file with `-- +goose NO TRANSACTION`", file)
	}
}

// blockingIndexes lists the tables whose publishers a migration would stop.
func blockingIndexes(migration string) (tables []string) {
	for _, found := range createsIndex.FindAllStringSubmatch(migration, -1) {
		if found[1] == "" && !regexp.MustCompile(`(?i)CREATE TABLE `+found[2]+`\b`).MatchString(migration) {
			tables = append(tables, found[2])
		}
	}
	return tables
}
