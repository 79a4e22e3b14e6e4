package devserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"

	"millrace/platform/datadir"
	"millrace/platform/errs"
)

// launch starts the server on its prepared cluster and waits until it accepts
// connections.
func (s *Server) launch(ctx context.Context, programs programs, who account) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	if err := s.dir.Rename(logName, logName+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.explain(err, "")
	}
	log, err := datadir.CreateIn(s.dir, logName)
	if err != nil {
		return s.explain(err, "")
	}
	defer log.Close() //nolint:errcheck // the server has its own file descriptor
	if err := s.preparePassword(ctx, programs, who); err != nil {
		return err
	}
	if err := s.writeAccess(who); err != nil {
		return s.explain(err, "")
	}
	if s.socket == "" {
		if s.port, err = freePort(); err != nil {
			return err
		}
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		err = s.run(ctx, programs, who, log)
		if err == nil || !strings.Contains(err.Error(), sharedByOrphans) {
			return err
		}
		select { // orphaned processes end after their current statement
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

// sharedByOrphans is the server's message while child processes of a killed server still
// run. They end when they next wait.
const sharedByOrphans = "pre-existing shared memory block"

// run starts the server once and waits until it accepts connections.
func (s *Server) run(ctx context.Context, programs programs, who account, log *os.File) (err error) {
	cmd := who.command(context.WithoutCancel(ctx), programs, "postgres", s.arguments()...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.process, err = startProcess(cmd, s.files, s.cfg.Ephemeral); err != nil {
		return s.explain(fmt.Errorf("start %s: %w", cmd.Path, err), "")
	}
	if err := s.awaitReady(ctx, who); err != nil {
		return errors.Join(err, s.process.end(5*time.Second))
	}
	return nil
}

func (s *Server) arguments() []string {
	args := []string{"-D", s.files.cluster, "-p", strconv.Itoa(s.port)}
	set := func(name, value string) { args = append(args, "-c", name+"="+value) }
	if s.socket != "" {
		set("listen_addresses", "")
		set("unix_socket_directories", `"`+strings.ReplaceAll(s.socket, `"`, `""`)+`"`) // the setting is a list
		set("unix_socket_permissions", "0700")
	} else {
		set("listen_addresses", "127.0.0.1")
		set("unix_socket_directories", "")
	}
	set("hba_file", s.files.access)
	set("password_encryption", "scram-sha-256")
	set("max_connections", strconv.Itoa(s.cfg.MaxConnections))
	set("timezone", "UTC")
	set("log_timezone", "UTC")
	set("dynamic_shared_memory_type", "mmap") // files in the cluster: /dev/shm is missing or tiny in many containers
	set("jit", "off")                         // it makes short statements slower
	set("logging_collector", "off")
	if s.cfg.NoSync {
		set("fsync", "off")
		set("full_page_writes", "off")
		set("shared_buffers", "16MB") // less for each process to map, and for DROP DATABASE to search
	}
	return args
}

// awaitReady waits until the last line of postmaster.pid shows that the server accepts
// connections, as pg_ctl does.
func (s *Server) awaitReady(ctx context.Context, who account) error {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		if postmasterStatus(s.dir, who, s.process.pid) == "ready" {
			return s.ping(ctx)
		}
		select {
		case <-s.process.done:
			logged := s.logged()
			return s.explain(errs.New(errs.Resource, "PostgreSQL ended while it started; its log is %s: %s", s.files.log, lastLines(logged, 3)), logged)
		case <-ctx.Done():
			return errs.New(errs.Resource, "PostgreSQL is not ready: %w; its log is %s", ctx.Err(), s.files.log)
		case <-look.C:
		}
	}
}

// ping connects, and prepares the server for OwnerURL.
func (s *Server) ping(ctx context.Context) (err error) {
	db, err := s.open("postgres")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = s.makeOwner(ctx, db)
	var pg *pq.Error
	if errors.As(err, &pg) {
		return s.explain(errs.New(errs.Resource, "PostgreSQL started and refuses us: %w", err), pg.Message)
	}
	return err
}

func (s *Server) logged() string {
	text, err := readFile(s.dir, logName)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// postmasterStatus returns the eighth line of postmaster.pid, the status, if the file
// belongs to that process.
func postmasterStatus(dir *os.Root, who account, pid int) string {
	cluster, err := who.openCluster(dir)
	if err != nil {
		return ""
	}
	defer cluster.Close() //nolint:errcheck // nothing is buffered in it
	text, err := readFile(cluster, pidName)
	if err != nil {
		return "" // not written yet
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 || strings.TrimSpace(lines[0]) != strconv.Itoa(pid) {
		return ""
	}
	return strings.TrimSpace(lines[7])
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close() //nolint:errcheck // opened only to get a free port
	return listener.Addr().(*net.TCPAddr).Port, nil
}
