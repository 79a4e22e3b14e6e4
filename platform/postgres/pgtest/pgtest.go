package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"

	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgurl"
	"millrace/platform/privatedir"
)

// serverVariable names a server to use instead of starting one.
const serverVariable = "MILLRACE_TEST_DATABASE_URL"

// URL returns the URL of a fresh, empty database, which is dropped at the end of the test.
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

// server is the server with the databases of this process.
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

// shared starts this process's server, once.
var shared = sync.OnceValues(func() (*server, error) {
	s := &server{}
	address := os.Getenv(serverVariable)
	if address != "" {
		given, err := pgurl.Parse(address)
		if err != nil {
			return nil, fmt.Errorf("%s %w", serverVariable, err)
		}
		s.url = func(database string) string { return given.With("dbname", database).String() }
	} else {
		own, err := start()
		if err != nil {
			return nil, err
		}
		s.url, address = own.URL, own.URL("postgres")
	}
	admin, err := openAdmin(address)
	if err != nil {
		return nil, err
	}
	admin.SetMaxOpenConns(4)
	s.admin = admin
	return s, admin.Ping()
})

func openAdmin(address string) (*sql.DB, error) {
	u, err := pgurl.Parse(address)
	if err != nil {
		return nil, err
	}
	return u.Open()
}

// start starts a server in a folder of this process, after removing the folders of processes
// that have ended.
func start() (*devserver.Server, error) {
	mine, err := privatedir.Make(privatedir.PerUser(fastDir(), "millrace-pgtest"))
	if err != nil {
		return nil, err
	}
	kept, err := privatedir.Cache("pgtest")
	if err != nil {
		return nil, err
	}
	runs := filepath.Join(mine, "run")
	sweep(runs)
	return devserver.Start(context.Background(), devserver.Config{
		DataDir:        filepath.Join(runs, rand.Text()[:10]), // a random name, never reused
		Setting:        "TMPDIR",
		Template:       filepath.Join(kept, "template"),
		Binaries:       devserver.Binaries{Cache: filepath.Join(kept, "postgresql")},
		MaxConnections: 1000,
		NoSync:         true,
		Ephemeral:      true,
	})
}

// sweep removes the folders of processes that have ended, if their watchdogs could not.
func sweep(runs string) {
	old, err := filepath.Glob(filepath.Join(runs, "*"))
	if err != nil {
		return // cannot happen: the pattern is constant
	}
	for _, dir := range old {
		devserver.RemoveUnused(dir)
	}
}
