package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"

	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgurl"
	"millrace/platform/privatedir"
)

const (
	serverVariable = "MILLRACE_TEST_DATABASE_URL"   // a server to use instead of starting one
	majorVariable  = "MILLRACE_TEST_POSTGRES_MAJOR" // the version to download and start
)

// URL returns the URL of a fresh, empty database, which is dropped at the end of the test.
func URL(t testing.TB) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("this test needs PostgreSQL, and there is none: %v", err)
	}
	return server.create(t, "template1")
}

// CopyOf returns the URL of a fresh copy of the database that prepare makes, for example
// one with migrated tables. The copy is dropped at the end of the test. prepare is called
// once in this process for each name, with the URL of an empty database, and must close
// its connections. Copying takes about as long as creating an empty database.
func CopyOf(t testing.TB, name string, prepare func(ctx context.Context, url string) error) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("this test needs PostgreSQL, and there is none: %v", err)
	}
	once, _ := templates.LoadOrStore(name, &template{})
	template, err := once.(*template).made(server, prepare)
	if err != nil {
		t.Fatalf("make the database %q, of which this test uses a copy: %v", name, err)
	}
	return server.create(t, template)
}

// templates are the databases of CopyOf, by name.
var templates sync.Map

// template is a database that CopyOf copies.
type template struct {
	once sync.Once
	name string
	err  error
}

// made makes the database, once. It is not dropped: it ends with the server, or, on a
// server that was there before, has to be dropped by its owner.
func (m *template) made(server *server, prepare func(ctx context.Context, url string) error) (name string, err error) {
	m.once.Do(func() {
		m.name = newName()
		if m.err = server.exec(`CREATE DATABASE ` + pq.QuoteIdentifier(m.name)); m.err == nil {
			m.err = prepare(context.Background(), server.url(m.name))
		}
	})
	return m.name, m.err
}

// create makes a database for the test, as a copy of another one.
func (s *server) create(t testing.TB, template string) (url string) {
	t.Helper()
	name := newName()
	if err := s.exec(`CREATE DATABASE ` + pq.QuoteIdentifier(name) + ` TEMPLATE ` + pq.QuoteIdentifier(template)); err != nil {
		t.Fatalf("create a database for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec(`DROP DATABASE IF EXISTS ` + pq.QuoteIdentifier(name) + ` WITH (FORCE)`); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return s.url(name)
}

func newName() string { return fmt.Sprintf("test_%d_%d", os.Getpid(), counter.Add(1)) }

var counter atomic.Int64

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
	if address != os.Getenv(serverVariable) {
		return s, errors.Join(admin.Ping(), cheapSignIn(admin, address))
	}
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
	binaries := devserver.Binaries{Cache: filepath.Join(kept, "postgresql")}
	if wanted := os.Getenv(majorVariable); wanted != "" {
		binaries.Search = []string{} // no installed ones
		if binaries.Major, err = strconv.Atoi(wanted); err != nil {
			return nil, fmt.Errorf("%s is no number: %w", majorVariable, err)
		}
	}
	runs := filepath.Join(mine, "run")
	sweep(runs)
	return devserver.Start(context.Background(), devserver.Config{
		DataDir:        filepath.Join(runs, rand.Text()[:10]), // a random name, never reused
		Setting:        "TMPDIR",
		Template:       filepath.Join(kept, "template"),
		Binaries:       binaries,
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
