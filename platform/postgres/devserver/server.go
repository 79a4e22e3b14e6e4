package devserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"millrace/platform/datadir"
	"millrace/platform/errs"
)

// Config is where a server keeps its data, and what it may do.
type Config struct {
	// DataDir is the server's folder; Start creates it. Required.
	DataDir string

	// Within is the folder above DataDir, if that is a data folder, too. It is opened
	// first, and DataDir in it may not be a symbolic link. If Within is empty, DataDir may
	// be a link of root's or of this user's.
	Within string

	// Setting is the name of DataDir in the user's configuration, for error messages.
	// Default "DataDir".
	Setting string

	// Log gets entries about slow steps (a download, a first start, waiting for an earlier
	// server to end). The server's own log is DataDir/server.log. Default: nothing is
	// logged.
	Log *slog.Logger

	// MaxConnections is the server's max_connections. Default 200.
	MaxConnections int

	// NoSync disables fsync, and makes the server's buffers small. WARNING: committed data
	// may be lost when the machine crashes (not when the program does). For tests.
	NoSync bool

	// Ephemeral removes DataDir when the server has ended. For tests. (On Windows it
	// stays until RemoveUnused.)
	Ephemeral bool

	// Template is a folder with initialised, empty clusters. Copying one saves about a
	// second per new DataDir. Several processes may share it. If empty, initdb creates each
	// cluster.
	Template string

	// TCP makes the server listen on a free port of 127.0.0.1 instead of a Unix socket.
	// Windows, and paths that are too long for a socket, always use TCP.
	TCP bool

	// Binaries is where to find PostgreSQL's programs. The zero value searches installed
	// ones, then downloads.
	Binaries Binaries

	// StartTimeout limits a start, without the download. Default 60 s, because the recovery
	// after a crash may take a while.
	StartTimeout time.Duration
}

// Server is a running PostgreSQL.
type Server struct {
	cfg           Config
	files         layout
	dir           *os.Root // DataDir, during the start; all files in it are opened through it
	lock          *os.File
	process       *process
	socket        string // the socket's folder; empty on TCP
	port          int
	password      string // the superuser's password
	ownerPassword string
	stop          sync.Once
	stopErr       error
}

// Names in DataDir.
const (
	clusterName  = "cluster"
	makingName   = "cluster.new"
	runName      = "run" // the folder of the socket
	logName      = "server.log"
	lockName     = "lock"
	passwordName = "password"    // the superuser's
	accessName   = "pg_hba.conf" // outside the cluster, whose owner could change it
)

// layout has the paths that other processes need.
type layout struct{ dir, cluster, run, log, access string }

func layoutOf(dir string) layout {
	in := func(name string) string { return filepath.Join(dir, name) }
	return layout{dir: dir, cluster: in(clusterName), run: in(runName), log: in(logName), access: in(accessName)}
}

// Start starts the server on DataDir and returns when it accepts connections. ctx limits
// the start only. The error contains the next step and, if moving the data would help,
// the setting that does it.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, files: layoutOf(cfg.DataDir)}
	if s.dir, err = openDir(cfg); err != nil {
		return nil, datadir.Explain(err, s.files.dir, cfg.Setting)
	}
	defer s.dir.Close() //nolint:errcheck // nothing is buffered in it
	if err := datadir.TryIn(s.dir); err != nil {
		return nil, datadir.Explain(err, s.files.dir, cfg.Setting)
	}
	who := serverUser(s.dir)
	if err := who.canReach(s.files.dir, cfg.Setting); err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(s.dir, cfg); err != nil {
		return nil, s.explain(err, "")
	}
	defer func() {
		if err != nil {
			_ = unlock(s.lock) // report the first error
		}
	}()
	if err := who.mayServe(s.dir, cfg.Setting); err != nil {
		return nil, err
	}
	if err := endEarlier(ctx, s.dir, who, cfg.Log); err != nil {
		return nil, err
	}
	programs, err := cfg.Binaries.find(ctx, s.dir, cfg.Setting, who, cfg.Log)
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

// openDir opens DataDir, and creates it if necessary.
func openDir(cfg Config) (*os.Root, error) {
	if cfg.Within != "" {
		return datadir.OpenBelow(cfg.Within, filepath.Base(cfg.DataDir), 0o700)
	}
	return datadir.Open(cfg.DataDir, 0o700)
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
	if strings.ContainsFunc(dir, unicode.IsControl) {
		return cfg, errs.InvalidField(cfg.Setting, "%q has a line break or another control character, which PostgreSQL cannot have in a path: name another folder", dir)
	}
	if len(dir) > longestDir {
		return cfg, errs.InvalidField(cfg.Setting, "%.60s… is too long: PostgreSQL takes a path of %d bytes at most, and this has %d; name another folder", dir, longestDir, len(dir))
	}
	cfg.DataDir = dir
	if cfg.Within != "" {
		cfg.Within = filepath.Dir(dir)
	}
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

const (
	longestDir        = 900 // bytes of DataDir: PostgreSQL's limit for the path of a file in the cluster is 1024
	longestSocketPath = 103 // bytes that fit into sockaddr_un on every system, without the final zero byte
)

func (s *Server) chooseAddress() {
	path := filepath.Join(s.files.run, ".s.PGSQL.5432")
	if s.cfg.TCP || noSockets || len(path) > longestSocketPath || strings.Contains(path, ",") { // lib/pq splits hosts at commas
		return
	}
	s.socket, s.port = s.files.run, 5432
}

// URL returns the URL of the database of that name, with the superuser and its password.
// It does not create the database. Further parameters of lib/pq may be added.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database, User: url.UserPassword(superuser, s.password)}
	query := url.Values{"sslmode": {"disable"}}
	if s.socket != "" {
		query.Set("host", s.socket)
		query.Set("port", strconv.Itoa(s.port))
	} else {
		u.Host = "127.0.0.1:" + strconv.Itoa(s.port)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// PID is the process id of the server's main process.
func (s *Server) PID() int { return s.process.pid }

// Done is closed when the server has ended for any reason.
func (s *Server) Done() <-chan struct{} { return s.process.done }

// Stop shuts the server down: it disconnects clients, writes everything, and unlocks the
// data folder. If the server has not ended after 30 s, Stop aborts it: the next start
// recovers, and no data is lost. Further calls return the first call's error.
func (s *Server) Stop() error {
	s.stop.Do(func() {
		s.stopErr = errors.Join(s.process.end(30*time.Second), unlock(s.lock))
	})
	return s.stopErr
}

// explain adds the next step for the operator to err. output is the output of the failed
// program.
func (s *Server) explain(err error, output string) error {
	if err == nil {
		return nil
	}
	switch {
	case strings.Contains(output, noEntry):
		return errs.New(errs.Invalid, "PostgreSQL needs an entry for the user that it runs as in the user database (/etc/passwd), and user %d has none: "+
			"set DATABASE_URL to a PostgreSQL server, run this program as a user that has an entry, or add one (%s)", os.Geteuid(), err)
	case errors.Is(err, datadir.ErrOtherName):
		return errs.InvalidField(s.cfg.Setting, "%s", err)
	case strings.Contains(output, "shared memory segment") && datadir.Full(output):
		return errs.New(errs.Resource, "the shared memory of this machine or container (/dev/shm) is too small for PostgreSQL: give it 64 MB (docker run --shm-size=64m), or set DATABASE_URL to a server: %s", err)
	case datadir.Full(err.Error() + output):
		return datadir.Explain(fmt.Errorf("%w: %w", syscall.ENOSPC, err), s.files.dir, s.cfg.Setting)
	}
	// With a full disk the server cannot even log why it ends, so test writing.
	if unwritten := datadir.Try(s.files.dir); unwritten != nil {
		return datadir.Explain(errors.Join(unwritten, err), s.files.dir, s.cfg.Setting)
	}
	return datadir.Explain(err, pathOf(err, s.files.dir), s.cfg.Setting)
}

// pathOf is the path in a file system's error, or dir.
func pathOf(err error, dir string) string {
	var at *fs.PathError
	if errors.As(err, &at) && filepath.IsAbs(at.Path) {
		return at.Path
	}
	return dir
}
