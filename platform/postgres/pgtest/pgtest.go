package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"

	"millrace/platform/postgres/devserver"
)

// serverVariable names a server to use instead of one of our own.
const serverVariable = "MILLRACE_TEST_DATABASE_URL"

// URL returns the URL of a fresh, empty database, which is dropped at the end
// of the test.
func URL(t testing.TB) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("this test needs PostgreSQL, and there is none: %v", err)
	}
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), made.Add(1))
	if err := server.exec(`CREATE DATABASE ` + pq.QuoteIdentifier(name)); err != nil {
		t.Fatalf("create a database for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := server.exec(`DROP DATABASE IF EXISTS ` + pq.QuoteIdentifier(name) + ` WITH (FORCE)`); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return server.url(name)
}

var made atomic.Int64

// server is where the databases of this process live.
type server struct {
	url   func(database string) string
	admin *sql.DB
}

func (s *server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	_, err := s.admin.ExecContext(ctx, statement)
	return err
}

// shared starts the server of this process, once.
var shared = sync.OnceValues(func() (*server, error) {
	s := &server{}
	address := os.Getenv(serverVariable)
	if address != "" {
		given, err := url.Parse(address)
		if err != nil {
			return nil, fmt.Errorf("%s is not a postgres:// URL", serverVariable)
		}
		s.url = func(database string) string {
			mine := *given
			mine.Path = "/" + database
			return mine.String()
		}
	} else {
		own, err := start()
		if err != nil {
			return nil, err
		}
		s.url, address = own.URL, own.URL("postgres")
	}
	admin, err := sql.Open("postgres", address)
	if err != nil {
		return nil, err
	}
	admin.SetMaxOpenConns(4)
	s.admin = admin
	return s, admin.Ping()
})

// start starts a server in a folder that belongs to this process, after it has
// removed the folders of processes that are gone.
func start() (*devserver.Server, error) {
	runs := filepath.Join(ours(fastDir()), "run")
	sweep(runs)
	kept := ours(os.TempDir())
	return devserver.Start(context.Background(), devserver.Config{
		DataDir:        filepath.Join(runs, rand.Text()[:10]), // a name is never used twice
		Setting:        "TMPDIR",
		Template:       filepath.Join(kept, "template"),
		Binaries:       devserver.Binaries{Cache: filepath.Join(kept, "postgresql")},
		MaxConnections: 300,
		NoSync:         true,
		Ephemeral:      true,
	})
}

// sweep removes what processes left that are gone, where their own watchdogs could not.
func sweep(runs string) {
	old, err := filepath.Glob(filepath.Join(runs, "*"))
	if err != nil {
		return // the pattern is ours
	}
	for _, dir := range old {
		devserver.RemoveUnused(dir)
	}
}
