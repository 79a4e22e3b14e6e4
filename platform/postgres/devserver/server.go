package devserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// Config says where a server keeps its data and what it may do.
type Config struct {
	// DataDir is the server's folder; it is created. Required.
	DataDir string

	// Setting is what the user's configuration calls DataDir, for the errors
	// that ask to move it. Default "DataDir".
	Setting string

	// Log hears what takes time (a download, a first start, waiting for an
	// earlier server to end). The server's own log is DataDir/server.log.
	// Default: nothing is logged.
	Log *slog.Logger

	// MaxConnections is the server's max_connections. Default 200.
	MaxConnections int

	// NoSync lets the server lose committed data when the machine (not the
	// program) crashes. For tests.
	NoSync bool

	// Ephemeral removes DataDir when the server has ended. For tests. (On
	// Windows it stays, for RemoveUnused.)
	Ephemeral bool

	// Template is a folder in which initialised, empty clusters are kept, to be
	// copied instead of made: it saves about a second per new DataDir. Several
	// processes may share it. Empty: each cluster is made by initdb.
	Template string

	// TCP makes the server listen on a free port of 127.0.0.1, with a password,
	// instead of on a Unix socket. It is so on Windows, and where the path of
	// the socket would be too long.
	TCP bool

	// Binaries finds PostgreSQL's programs. The zero value looks for installed
	// ones, then downloads.
	Binaries Binaries

	// StartTimeout bounds a start, without the download. Default 60 s, for the
	// recovery after a crash may take a while.
	StartTimeout time.Duration
}

// Server is a running PostgreSQL.
type Server struct {
	cfg      Config
	files    layout
	lock     *os.File
	process  *process
	socket   string // directory; empty on TCP
	port     int
	password string // on TCP
	stop     sync.Once
	stopErr  error
}

// layout names what lies in DataDir.
type layout struct{ dir, cluster, making, run, log, lock, password string }

func layoutOf(dir string) layout {
	in := func(name string) string { return filepath.Join(dir, name) }
	return layout{dir: dir, cluster: in("cluster"), making: in("cluster.new"), run: in("run"),
		log: in("server.log"), lock: in("lock"), password: in("password")}
}

// Start starts the server on DataDir and returns when it takes connections.
// ctx bounds the start only. The error says what to do, and which setting moves
// the data where that helps.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, files: layoutOf(cfg.DataDir)}
	if err := makeDir(s.files.dir); err != nil {
		return nil, s.explain(err, "")
	}
	who := serverUser()
	if err := who.canReach(s.files.dir, cfg.Setting); err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(s.files.lock, cfg); err != nil {
		return nil, s.explain(err, "")
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close() // releases the lock; the first error is the one to tell
		}
	}()
	if err := endEarlier(ctx, s.files.cluster, cfg.Log); err != nil {
		return nil, err
	}
	programs, err := cfg.Binaries.find(ctx, s.files, who, cfg.Log)
	if err != nil {
		return nil, err
	}
	s.chooseAddress()
	if err := s.prepareCluster(ctx, programs, who); err != nil {
		return nil, err
	}
	if err := s.launch(ctx, programs, who); err != nil {
		return nil, err
	}
	return s, nil
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Setting == "" {
		cfg.Setting = "DataDir"
	}
	if cfg.DataDir == "" {
		return cfg, errs.InvalidField(cfg.Setting, "is empty: name a folder for the database")
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return cfg, err
	}
	cfg.DataDir = dir
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 200
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = time.Minute
	}
	return cfg, nil
}

// makeDir makes a folder that others may pass through, but not list.
func makeDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o711); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

// longestSocketPath is what fits into sockaddr_un on every system, with its zero byte.
const longestSocketPath = 103

func (s *Server) chooseAddress() {
	path := filepath.Join(s.files.run, ".s.PGSQL.5432")
	if s.cfg.TCP || noSockets || len(path) > longestSocketPath {
		return
	}
	s.socket, s.port = s.files.run, 5432
}

// URL returns the URL of a database of that name; it does not create it. As
// other settings of lib/pq, parameters may be added to it.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database}
	query := url.Values{"sslmode": {"disable"}}
	if s.socket != "" {
		u.User = url.User(superuser)
		query.Set("host", s.socket)
		query.Set("port", strconv.Itoa(s.port))
	} else {
		u.User = url.UserPassword(superuser, s.password)
		u.Host = "127.0.0.1:" + strconv.Itoa(s.port)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// PID is the number of the server's main process.
func (s *Server) PID() int { return s.process.pid }

// Done is closed when the server has ended, whoever ended it.
func (s *Server) Done() <-chan struct{} { return s.process.done }

// CreateDatabase creates a database unless it is there.
func (s *Server) CreateDatabase(ctx context.Context, name string) error {
	return s.admin(func(db *sql.DB) error {
		var there bool
		if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there); err != nil || there {
			return err
		}
		_, err := db.ExecContext(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name))
		if again := pq.As(err, "42P04", "23505"); again != nil { // somebody else was faster
			return nil //nolint:nilerr // it is there, which was asked for
		}
		return err
	})
}

// DropDatabase drops a database with whoever is connected to it; one that is
// not there is no error.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	return s.admin(func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)")
		return err
	})
}

func (s *Server) admin(do func(*sql.DB) error) (err error) {
	db, err := sql.Open("postgres", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { err = s.explain(errors.Join(err, db.Close()), "") }()
	return do(db)
}

// Stop ends the server: clients are disconnected, everything is written, the
// data folder is unlocked. It waits up to 30 s, then ends the server the hard
// way, which costs a recovery at the next start and no data. More calls return
// what the first did.
func (s *Server) Stop() error {
	s.stop.Do(func() {
		s.stopErr = errors.Join(s.process.end(30*time.Second), s.lock.Close())
	})
	return s.stopErr
}

// explain adds to err what the operator can do about it. said is what the
// failing program printed.
func (s *Server) explain(err error, said string) error {
	if err == nil {
		return nil
	}
	switch {
	case saysFull(err.Error() + said), s.full():
		return errs.As(errs.Resource, fmt.Errorf("the disk that holds %s is full: free some space, or move the data with %s: %w", s.files.dir, s.cfg.Setting, err))
	case errors.Is(err, os.ErrPermission):
		return errs.InvalidField(s.cfg.Setting, "%s cannot be written: %s; choose a folder that can", s.files.dir, err)
	}
	return err
}

func saysFull(text string) bool {
	return strings.Contains(strings.ToLower(text), "no space left on device") || strings.Contains(text, "not enough space on the disk")
}

// full tries to write, for on a full disk the server cannot even log why it ends.
func (s *Server) full() bool {
	probe := filepath.Join(s.files.dir, "probe")
	defer os.Remove(probe) //nolint:errcheck // if it is not there, good
	err := os.WriteFile(probe, make([]byte, 64<<10), 0o600)
	return err != nil && saysFull(err.Error())
}
