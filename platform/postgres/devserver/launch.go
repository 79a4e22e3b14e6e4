package devserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// launch starts the server on its prepared cluster and waits until it takes
// connections.
func (s *Server) launch(ctx context.Context, programs programs, who account) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	if err := os.Rename(s.files.log, s.files.log+".old"); err != nil && !os.IsNotExist(err) {
		return s.explain(err, "")
	}
	log, err := os.OpenFile(s.files.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return s.explain(err, "")
	}
	defer log.Close() //nolint:errcheck // the server has its own handle
	if err := s.writeAccess(ctx, programs, who); err != nil {
		return err
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
		select { // they end with the statement that they are at
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

// sharedByOrphans is what the server says while processes of an earlier one work,
// whose main process was killed: those notice that when they next wait.
const sharedByOrphans = "pre-existing shared memory block"

// run starts the server once and waits until it takes connections.
func (s *Server) run(ctx context.Context, programs programs, who account, log *os.File) (err error) {
	cmd := who.command(context.WithoutCancel(ctx), programs, "postgres", s.arguments()...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.process, err = startProcess(cmd, s.files, s.cfg.Ephemeral); err != nil {
		return s.explain(fmt.Errorf("start %s: %w", cmd.Path, err), "")
	}
	if err := s.awaitReady(ctx); err != nil {
		return errors.Join(err, s.process.end(5*time.Second))
	}
	return nil
}

func (s *Server) arguments() []string {
	args := []string{"-D", s.files.cluster, "-p", strconv.Itoa(s.port)}
	set := func(name, value string) { args = append(args, "-c", name+"="+value) }
	if s.socket != "" {
		set("listen_addresses", "")
		set("unix_socket_directories", s.socket)
		set("unix_socket_permissions", "0700")
	} else {
		set("listen_addresses", "127.0.0.1")
		set("unix_socket_directories", "")
		set("password_encryption", "scram-sha-256")
	}
	set("max_connections", strconv.Itoa(s.cfg.MaxConnections))
	set("timezone", "UTC")
	set("log_timezone", "UTC")
	set("jit", "off") // it costs short statements more than it gives them
	set("logging_collector", "off")
	if s.cfg.NoSync {
		set("fsync", "off")
		set("full_page_writes", "off")
	}
	return args
}

// writeAccess lets in whoever reaches the socket, whose folder is closed to
// others; on TCP everybody must know the password.
func (s *Server) writeAccess(ctx context.Context, programs programs, who account) error {
	rules := "local all all trust\n"
	if s.socket == "" {
		rules = "host all all 127.0.0.1/32 scram-sha-256\n"
		if err := s.setPassword(ctx, programs, who); err != nil {
			return err
		}
	}
	return s.explain(who.writeFile(filepath.Join(s.files.cluster, "pg_hba.conf"), rules), "")
}

// setPassword gives the superuser its password while nobody can connect.
func (s *Server) setPassword(ctx context.Context, programs programs, who account) error {
	cmd := who.command(ctx, programs, "postgres", "--single", "-D", s.files.cluster, "-c", "password_encryption=scram-sha-256", "postgres")
	cmd.Stdin = strings.NewReader("ALTER ROLE " + superuser + " PASSWORD '" + s.password + "'\n")
	if said, err := keepingThread(cmd.CombinedOutput); err != nil {
		return s.explain(fmt.Errorf("set the password: %w: %s", err, lastLines(string(said), 3)), string(said))
	}
	return nil
}

// awaitReady returns when the server takes connections. postmaster.pid says so
// in its last line, as pg_ctl reads it.
func (s *Server) awaitReady(ctx context.Context) error {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		if postmasterStatus(s.files.cluster, s.process.pid) == "ready" {
			return s.ping(ctx)
		}
		select {
		case <-s.process.done:
			said := s.logged()
			return s.explain(errs.New(errs.Resource, "PostgreSQL ended while it started; its log is %s: %s", s.files.log, lastLines(said, 3)), said)
		case <-ctx.Done():
			return errs.New(errs.Resource, "PostgreSQL is not ready: %w; its log is %s", ctx.Err(), s.files.log)
		case <-look.C:
		}
	}
}

func (s *Server) ping(ctx context.Context) (err error) {
	db, err := sql.Open("postgres", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, "SELECT 1")
	var pg *pq.Error
	if errors.As(err, &pg) {
		return s.explain(errs.New(errs.Resource, "PostgreSQL started and refuses us: %w", err), pg.Message)
	}
	return err
}

func (s *Server) logged() string {
	text, err := os.ReadFile(s.files.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// postmasterStatus reads the eighth line of postmaster.pid, if it is of that process.
func postmasterStatus(cluster string, pid int) string {
	text, err := os.ReadFile(filepath.Join(cluster, "postmaster.pid"))
	if err != nil {
		return "" // not yet written
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
	defer listener.Close() //nolint:errcheck // it was only asked for its number
	return listener.Addr().(*net.TCPAddr).Port, nil
}
