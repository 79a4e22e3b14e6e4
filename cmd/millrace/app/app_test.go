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

// local is a configuration on a fresh database, any port and a folder of its own.
func local(t *testing.T) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.HTTP.Address = "127.0.0.1:0"
	cfg.Database.URL = config.Secret(pgtest.URL(t))
	cfg.Database.MaxConnsPerModule = 5
	cfg.DataDir = t.TempDir()
	return cfg
}

// start runs an App until the test ends, and returns it ready.
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

// getWell gets what is well as soon as the machine lets it be: a program that is
// kept from renewing its lease for two seconds is not ready for a moment.
func getWell(t *testing.T, url string) (body string) {
	t.Helper()
	status := 0
	require.Eventually(t, func() bool {
		status, body = get(t, url)
		return status == http.StatusOK
	}, time.Minute, 50*time.Millisecond, url)
	return body
}

func TestTheStartPageLeadsToEverythingAndAllOfItAnswers(t *testing.T) {
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

func TestItIsReadyWhenEveryPartIs(t *testing.T) {
	t.Parallel()
	a, _ := start(t, local(t))
	var answer struct{ Checks []struct{ Name string } }
	require.NoError(t, json.Unmarshal([]byte(getWell(t, a.URL()+"/readyz")), &answer))
	require.Len(t, answer.Checks, 4)
	for _, module := range Modules() {
		require.Eventually(t, told(t, a, `millrace_dead_letters{module="`+module+`"} 0`), time.Minute, 50*time.Millisecond)
	}
}

func TestEveryListedModuleHasItsOwnHandleAndName(t *testing.T) {
	t.Parallel()
	topology, err := Topology()
	require.NoError(t, err, "what the modules declare fits together")
	require.Equal(t, Modules(), topology.Modules())
}

func TestAProcessServesTheRoutesOfItsOwnModulesOnly(t *testing.T) {
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

func TestASecondStartOnTheSamePortSaysWhichSettingToChange(t *testing.T) {
	t.Parallel()
	a, _ := start(t, local(t))
	cfg := local(t)
	cfg.HTTP.Address = a.server.Address()
	_, err := New(t.Context(), cfg, Options{})
	require.ErrorContains(t, err, "set http.address to another port")
}

func TestAConfigurationIsRefusedWithAllItsFaults(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Transport, cfg.Modules = "pigeon", []string{"billing"}
	_, err := New(t.Context(), cfg, Options{})
	require.ErrorContains(t, err, "transport: ")
	require.ErrorContains(t, err, "modules: ")
}

func TestPoolsThatDoNotFitTheServerAreRefusedByNameAndNumber(t *testing.T) {
	t.Parallel()
	hosted := []string{"payment", "delivery"}
	require.NoError(t, poolsFit(8, 0, hosted, 100, 3))
	err := poolsFit(50, 0, hosted, 100, 3)
	require.ErrorContains(t, err, "database.max_conns_per_module: 50 for each of 2 modules (payment, delivery)")
	require.ErrorContains(t, err, "gives 97 (max_connections = 100, 3 of them reserved): set database.max_conns_per_module to at most 45")
	require.ErrorContains(t, poolsFit(45, sqltransport.CarrierConns, hosted, 100, 3), "to at most 43", "a carrier has its own")

	cfg := local(t)
	cfg.Database.MaxConnsPerModule = 200
	_, err = New(t.Context(), cfg, Options{})
	require.ErrorContains(t, err, "max_connections")
}

func TestMigratingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	database := &Database{url: cfg.Database.URL.Reveal()}
	require.NoError(t, Migrate(t.Context(), cfg, database))
	require.NoError(t, Migrate(t.Context(), cfg, database))
}

func TestItEndsWithinItsTimeAndGivesEverythingBack(t *testing.T) {
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

func TestARouterThatEndsByItselfEndsTheProgramWithAnError(t *testing.T) {
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

func TestWithoutADatabaseItBringsItsOwnAndKeepsTheData(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Database.URL = ""
	cfg.DataDir = dataDir(t)
	a, stop := start(t, cfg)

	// Another command finds the database of the program that serves; another
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

func TestAnEmbeddedDatabaseThatEndsByItselfEndsTheProgramWithAnError(t *testing.T) {
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
	_ = a.Close() // the server has gone; what there is to tell was told
}

func TestAForeignNameForThisMachineIsRefused(t *testing.T) {
	t.Parallel()
	a, _ := start(t, local(t))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+"/", nil)
	require.NoError(t, err)
	request.Host = "evil.example"
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusMisdirectedRequest, response.StatusCode)
}

// dataDir is a folder that the server's own user can reach: a test's usual
// folder cannot be passed by others.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "millrace-app-") //nolint:usetesting // t.TempDir makes a parent that only this user can pass
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
