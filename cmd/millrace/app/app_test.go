package app

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres/pgtest"
)

var client = &http.Client{Timeout: time.Minute}

// migrated is a database of the test's own with this version's tables.
func migrated(t *testing.T) (url string) {
	t.Helper()
	return pgtest.CopyOf(t, "all modules", func(ctx context.Context, url string) error {
		return Migrate(ctx, config.Default(), &Database{url: url})
	})
}

// local is a configuration with a migrated database, any free port and its own data folder.
func local(t *testing.T) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.HTTP.Address = "127.0.0.1:0"
	cfg.Database.URL = config.Secret(migrated(t))
	cfg.Database.MaxConnsPerModule = 5
	cfg.DataDir = t.TempDir()
	return cfg
}

// start runs an App until the test ends, and returns it once it is ready.
func start(t *testing.T, cfg config.Config) (a *App, stop func() error) {
	t.Helper()
	a, err := New(t.Context(), cfg, Options{Version: "test", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		require.NoError(t, stop())
		require.NoError(t, a.Close())
	})
	select {
	case <-a.Ready():
	case err := <-ended:
		stopped = true
		require.NoError(t, err)
	case <-time.After(2 * time.Minute):
		t.Fatal("not ready after two minutes")
	}
	return a, stop
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := client.Get(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

// getWell repeats a GET until it answers 200: on a slow machine, a program that
// cannot renew its lease for two seconds is briefly not ready.
func getWell(t *testing.T, url string) (body string) {
	t.Helper()
	status := 0
	require.Eventually(t, func() bool {
		status, body = get(t, url)
		return status == http.StatusOK
	}, time.Minute, 50*time.Millisecond, url)
	return body
}

func TestApp_StartPageLinksAnswer(t *testing.T) {
	t.Parallel()
	a, _ := start(t, local(t))
	_, page := get(t, a.URL()+"/")
	for _, link := range a.links() {
		require.Contains(t, page, `href="`+link.Href+`"`)
		at := link.Href
		if at[0] == '/' {
			at = a.URL() + at
		}
		getWell(t, at)
	}
}

func TestApp_ReadyzListsEveryCheck(t *testing.T) {
	t.Parallel()
	a, _ := start(t, local(t))
	var answer struct{ Checks []struct{ Name string } }
	require.NoError(t, json.Unmarshal([]byte(getWell(t, a.URL()+"/readyz")), &answer))
	var names []string
	for _, check := range answer.Checks {
		names = append(names, check.Name)
	}
	require.Equal(t, []string{"database", "lease", "router", "subscriptions", "process", "mail"}, names)
	for _, module := range Modules() {
		require.Eventually(t, shows(t, a, `millrace_dead_letters{module="`+module+`"} 0`), time.Minute, 50*time.Millisecond)
	}
}

func TestTopology_HasEveryModule(t *testing.T) {
	t.Parallel()
	topology, err := Topology()
	require.NoError(t, err, "what the modules declare fits together")
	require.Equal(t, Modules(), topology.Modules())
}

func TestApp_ServesOnlyItsOwnModules(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Modules = []string{"inquiry"}
	a, _ := start(t, cfg)
	_, body := get(t, a.URL()+"/openapi.json")
	require.Contains(t, body, `"/rooms/{`)
	require.NotContains(t, body, `"/consultations`)
	for name := range a.Router().Handlers() {
		require.Regexp(t, "^inquiry/", name)
	}
}

func TestApp_PortInUseErrorNamesTheSetting(t *testing.T) {
	t.Parallel()
	a, _ := start(t, local(t))
	cfg := local(t)
	cfg.HTTP.Address = a.server.Address()
	_, err := New(t.Context(), cfg, Options{})
	require.ErrorContains(t, err, "set http.address to another port")
}

func TestApp_RefusesConfigurationWithAllFaults(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Transport, cfg.Modules = "pigeon", []string{"billing"}
	_, err := New(t.Context(), cfg, Options{})
	require.ErrorContains(t, err, "transport: ")
	require.ErrorContains(t, err, "modules: ")
}

func TestApp_RefusesPoolsLargerThanMaxConnections(t *testing.T) {
	t.Parallel()
	hosted := []string{"payment", "delivery"}
	require.NoError(t, poolsFit(8, 0, hosted, 100, 3))
	err := poolsFit(50, 0, hosted, 100, 3)
	require.ErrorContains(t, err, "database.max_conns_per_module: 50 for each of 2 modules (payment, delivery)")
	require.ErrorContains(t, err, "gives 97 (max_connections = 100, 3 of them reserved): set database.max_conns_per_module to at most 43")
	require.ErrorContains(t, poolsFit(45, sqltransport.BridgeConns, hosted, 100, 3), "to at most 41", "a bridge has its own")

	cfg := local(t)
	cfg.Database.MaxConnsPerModule = 200
	_, err = New(t.Context(), cfg, Options{})
	require.ErrorContains(t, err, "max_connections")
}

func TestMigrate_SecondRunSucceeds(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	database := &Database{url: pgtest.URL(t)}
	require.NoError(t, Migrate(t.Context(), cfg, database))
	require.NoError(t, Migrate(t.Context(), cfg, database))
}

func TestApp_ShutdownIsBoundedAndFreesThePort(t *testing.T) {
	t.Parallel()
	a, stop := start(t, local(t))
	began := time.Now()
	require.NoError(t, stop())
	require.NoError(t, a.Close())
	require.NoError(t, a.Close(), "twice does no harm")
	require.Less(t, time.Since(began), 25*time.Second)
	_, err := client.Get(a.URL() + "/livez")
	require.Error(t, err, "the port is free again")
}

func TestApp_RouterEndIsAnError(t *testing.T) {
	t.Parallel()
	a, err := New(t.Context(), local(t), Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, a.Close()) }()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(t.Context()) }()
	<-a.Ready()
	require.NoError(t, a.Router().Close())
	require.ErrorContains(t, <-ended, "the message router ended by itself")
}

func TestApp_EmbeddedDatabaseKeepsData(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Database.URL = ""
	cfg.DataDir = dataDir(t)
	a, stop := start(t, cfg)

	// Another command finds the serving program's database; a second serving
	// program is refused.
	looking, err := OpenDatabase(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, a.DatabaseURL(), looking.URL())
	require.NoError(t, looking.Close())
	_, err = New(t.Context(), cfg, Options{Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "data_dir")

	require.NoError(t, stop())
	require.NoError(t, a.Close())
	require.NoFileExists(t, filepath.Join(cfg.DataDir, "database.url"))
	alone, err := OpenDatabase(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.True(t, reachable(t.Context(), alone.URL()), "the database is still there")
	require.NoError(t, alone.Close())
}

func TestApp_EmbeddedDatabaseEndIsAnError(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Database.URL = ""
	cfg.DataDir = dataDir(t)
	a, err := New(t.Context(), cfg, Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(t.Context()) }()
	<-a.Ready()
	server, err := os.FindProcess(a.database.server.PID())
	require.NoError(t, err)
	require.NoError(t, server.Signal(syscall.SIGQUIT))
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "the embedded database ended by itself")
	case <-time.After(time.Minute):
		t.Fatal("still running after a minute")
	}
	_ = a.Close() // the server has ended; Run has returned the error
}

// dataDir is a folder that PostgreSQL's own user can reach, which t.TempDir is
// not when root runs the tests.
func dataDir(t *testing.T) string { return pgtest.Dir(t) }
