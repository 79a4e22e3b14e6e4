//go:build kafka

package split

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/lib/pq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
	"millrace/test/broker"
	"millrace/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// The last subtest checks that nothing
// is left at the brokers.
func TestProgram_RunsTogetherAndSplitOnApacheKafka(t *testing.T) {
	p := &installed{t: t, path: program.Build(t, ""), database: pgtest.URL(t), environ: os.Environ()}
	binary, err := os.ReadFile(p.path)
	require.NoError(t, err)
	sum := sha256.Sum256(binary)
	cluster := broker.Start(t, broker.Options{})
	brokers := strings.Join(cluster.Brokers(), ",")
	p.environ = append(p.environ, "MILLRACE_KAFKA_BROKERS="+brokers, "MILLRACE_DATABASE_URL="+p.database, "MILLRACE_DATA_DIR="+t.TempDir(), "MILLRACE_LOG_LEVEL=warn")
	p.cleanUp()

	t.Run("parity", func(t *testing.T) {
		out := p.run("parity", "--brokers", brokers, "--split", "--count", "10", "--json")
		var result struct {
			OK                            bool
			Identical, Adapted, Different int
			Binary                        string
		}
		last(t, out, &result)
		require.True(t, result.OK)
		require.Zero(t, result.Different)
		require.Greater(t, result.Identical, 120, "forty lines and more, three times")
		require.Equal(t, hex.EncodeToString(sum[:]), result.Binary, "it is this file that ran all of them")
	})
	t.Run("demo, each module a process that is killed", func(t *testing.T) {
		var result struct {
			OK                           bool
			Orders, Kills, Lost, Doubled int
		}
		last(t, p.run("demo", "--split", "--kill", "1", "--count", "12", "--json"), &result)
		require.True(t, result.OK)
		require.Equal(t, []int{12, len(app.Modules()), 0, 0}, []int{result.Orders, result.Kills, result.Lost, result.Doubled})
	})
	t.Run("trace over the databases of the modules", func(t *testing.T) {
		together := postgresOf(t, p.demo(""))
		var order string
		require.NoError(t, together.QueryRowContext(t.Context(), `SELECT order_key FROM delivery.deliveries WHERE state = 'delivered' ORDER BY 1 LIMIT 1`).Scan(&order))
		var parts []string
		for _, module := range app.Modules() {
			parts = append(parts, p.demo("_"+module))
		}
		apart := p.with("MILLRACE_DATABASE_PARTS="+strings.Join(parts, ",")).run("trace", order)
		require.Equal(t, p.with("MILLRACE_DATABASE_URL="+p.demo("")).run("trace", order), apart, "the same as from the copy that the demo's checks read")
		for _, step := range []string{"payment.completed", "delivery.prepared", "because of payment.completed", "notification.sent", "dataplatform"} {
			require.Contains(t, apart, step)
		}
	})
	t.Run("nothing is left at the brokers", func(t *testing.T) {
		admin, err := sarama.NewClusterAdmin(cluster.Brokers(), broker.Config())
		require.NoError(t, err)
		defer func() { require.NoError(t, admin.Close()) }()
		require.EventuallyWithT(t, func(t *assert.CollectT) { // deleted topics are still listed for a moment
			topics, err := admin.ListTopics()
			require.NoError(t, err)
			for topic := range topics {
				require.True(t, strings.HasPrefix(topic, "__"), topic)
			}
			groups, err := admin.ListConsumerGroups()
			require.NoError(t, err)
			require.Empty(t, groups)
		}, time.Minute, 500*time.Millisecond)
	})
}

// installed is the compiled program and its environment.
type installed struct {
	t              *testing.T
	path, database string
	environ        []string
}

func (p *installed) with(variable string) *installed {
	with := *p
	with.environ = append(append([]string(nil), p.environ...), variable)
	return &with
}

// run runs a command, requires that it succeeds, and returns its output.
func (p *installed) run(args ...string) string {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), p.path, args...)
	var out, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = p.environ, &out, &stderr
	err := cmd.Run()
	require.NoError(p.t, err, "%v\n%s%s", args, out.String(), stderr.String())
	return out.String()
}

// last decodes the last line of the output of --json.
func last(t *testing.T, out string, into any) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), into), out)
}

// demo returns the URL of a database that the demo creates.
func (p *installed) demo(end string) string {
	u, err := url.Parse(p.database)
	require.NoError(p.t, err)
	u.Path += "_demo" + end
	return u.String()
}

func postgresOf(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// cleanUp drops the demo's databases at the end of the test.
func (p *installed) cleanUp() {
	p.t.Cleanup(func() {
		ctx := context.Background()
		db, err := postgres.Open(ctx, postgres.Config{URL: p.database, MaxConns: 1})
		require.NoError(p.t, err)
		for _, end := range append([]string{""}, app.Modules()...) {
			u, err := url.Parse(p.demo(strings.TrimSuffix("_"+end, "_")))
			require.NoError(p.t, err)
			_, err = db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(strings.Trim(u.Path, "/"))+" WITH (FORCE)")
			require.NoError(p.t, err)
		}
		require.NoError(p.t, db.Close())
	})
}
