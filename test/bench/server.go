package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"millrace/platform/postgres/devserver"
	"millrace/platform/privatedir"
)

// server is the one PostgreSQL of a run, in a folder of its own.
type server struct {
	*devserver.Server
	dir   string
	admin *sql.DB
	made  int
}

func startServer(ctx context.Context, statements bool) (_ *server, err error) {
	s := &server{}
	if s.dir, err = privatedir.Temp("", "millrace-bench-"); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if !statements {
		return s, nil
	}
	if _, err = s.admin.ExecContext(ctx, `ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`); err == nil {
		if err = errors.Join(s.admin.Close(), s.Server.Stop()); err == nil {
			err = s.start(ctx)
		}
	}
	if err == nil {
		_, err = s.admin.ExecContext(ctx, `CREATE EXTENSION pg_stat_statements`)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *server) start(ctx context.Context) (err error) {
	if s.Server, err = devserver.Start(ctx, devserver.Config{DataDir: filepath.Join(s.dir, "postgres"), Setting: "TMPDIR", MaxConnections: 300}); err != nil {
		return err
	}
	s.admin, err = sql.Open("postgres", s.URL("postgres"))
	return err
}

func (s *server) stop() error {
	return errors.Join(s.admin.Close(), s.Server.Stop(), os.RemoveAll(s.dir))
}

// database makes an empty database, as fresh as the one before it, and a
// function that drops it.
func (s *server) database(ctx context.Context) (url string, drop func(), err error) {
	s.made++
	name := "bench_" + strconv.Itoa(s.made)
	if err := s.CreateDatabase(ctx, name); err != nil {
		return "", nil, err
	}
	return s.URL(name), func() {
		// It lies in the folder that goes at the end anyway.
		_ = s.DropDatabase(context.WithoutCancel(ctx), name)
	}, nil
}

// settle writes what earlier runs left to be written, so that no run pays for another's.
func (s *server) settle(ctx context.Context) error {
	_, err := s.admin.ExecContext(ctx, `CHECKPOINT`)
	return err
}

// transactions is how many transaction ids the server has given away; asking costs none.
func (s *server) transactions(ctx context.Context) (n float64, err error) {
	err = s.admin.QueryRowContext(ctx, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&n)
	return n, err
}

// walBytes is how much the server has written ahead.
func (s *server) walBytes(ctx context.Context) (n float64, err error) {
	err = s.admin.QueryRowContext(ctx, `SELECT pg_current_wal_lsn() - '0/0'`).Scan(&n)
	return n, err
}

// connections to the databases of the benchmark.
func (s *server) connections(ctx context.Context) (n float64, err error) {
	err = s.admin.QueryRowContext(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'bench%'`).Scan(&n)
	return n, err
}

// cpu is the processor time in seconds of the server with its children, and of
// this process, as Linux counts it; zeros elsewhere.
func (s *server) cpu() (theirs, own float64) {
	processes, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, 0 // the pattern is ours
	}
	for _, name := range processes {
		pid, parent, seconds, waited := processTimes(name)
		switch {
		case pid == os.Getpid():
			own = seconds
		case pid == s.PID():
			theirs += seconds + waited
		case parent == s.PID():
			theirs += seconds
		}
	}
	return theirs, own
}

// processTimes reads proc(5)'s stat: pid, parent, own time, waited-for children's time.
func processTimes(name string) (pid, parent int, seconds, waited float64) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, 0, 0 // it has just ended
	}
	number, rest, _ := strings.Cut(string(text), " ")
	rest = rest[strings.LastIndex(rest, ")")+1:]
	fields := strings.Fields(rest) // from the third: state, ppid, …
	if len(fields) < 15 {
		return 0, 0, 0, 0
	}
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux
	ticks := func(field int) float64 { v, _ := strconv.ParseFloat(fields[field], 64); return v }
	pid, _ = strconv.Atoi(number)
	parent, _ = strconv.Atoi(fields[1])
	return pid, parent, (ticks(11) + ticks(12)) / ticksPerSecond, (ticks(13) + ticks(14)) / ticksPerSecond
}

var tps = regexp.MustCompile(`tps = ([0-9.]+) \(without initial connection time\)`)

// pgbench runs a script with prepared statements for some seconds and returns
// transactions per second, and the processor time of each in µs with the server's.
func (s *server) pgbench(ctx context.Context, target, script string, clients, seconds int) (perSecond, cpu float64, err error) {
	file := filepath.Join(s.dir, "script.sql")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return 0, 0, err
	}
	program, err := pgbenchProgram()
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, program, "--no-vacuum", "--protocol=prepared", "--file="+file,
		"--client="+strconv.Itoa(clients), "--jobs="+strconv.Itoa(min(clients, 2)), "--time="+strconv.Itoa(seconds))
	// libpq and lib/pq read the same URL but for the folder of the socket, which
	// goes into the environment.
	u, err := url.Parse(target)
	if err != nil {
		return 0, 0, err
	}
	cmd.Env = append(os.Environ(), "PGDATABASE="+strings.TrimPrefix(u.Path, "/"), "PGUSER="+u.User.Username())
	host, port := u.Query().Get("host"), u.Query().Get("port")
	if host == "" {
		host, port = u.Hostname(), u.Port()
	}
	password, _ := u.User.Password()
	cmd.Env = append(cmd.Env, "PGPASSWORD="+password, "PGHOST="+host, "PGPORT="+port)
	before, _ := s.cpu()
	output, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("pgbench: %w: %s", err, output)
	}
	found := tps.FindSubmatch(output)
	if found == nil && seconds < 30 {
		// On a very busy machine the time was over before all had connected.
		return s.pgbench(ctx, target, script, clients, seconds*2)
	}
	if found == nil {
		return 0, 0, fmt.Errorf("pgbench did not print its tps: %s", output)
	}
	after, _ := s.cpu()
	if perSecond, err = strconv.ParseFloat(string(found[1]), 64); err != nil {
		return 0, 0, err
	}
	own := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return perSecond, (after - before + own.Seconds()) * 1e6 / (perSecond * float64(seconds)), nil
}

// pgbenchProgram is in PATH, or where distributions put it.
func pgbenchProgram() (string, error) {
	if found, err := exec.LookPath("pgbench"); err == nil {
		return found, nil
	}
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if err != nil || len(installed) == 0 {
		return "", errors.New("pgbench is not installed: it comes with PostgreSQL's server or contrib package")
	}
	return installed[len(installed)-1], nil
}
