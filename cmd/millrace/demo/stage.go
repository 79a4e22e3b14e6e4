package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/lib/pq"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus"
	"millrace/platform/bus/kafkatransport/fakebroker"
	"millrace/platform/errs"
	"millrace/platform/mail/devinbox"
	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
	"millrace/platform/telemetry"
)

// stage is everything around the serving program: what it needs, and what
// remembers what it did, so that a kill takes none of it along.
type stage struct {
	dir       string // <data_dir>/demo
	serving   config.Config
	logFile   *os.File
	log       *slog.Logger
	server    *devserver.Server // nil where a database is configured
	simulator *simulator.Simulator
	inbox     *devinbox.Inbox
	broker    *fakebroker.Broker // nil unless messages travel by Kafka and no brokers are configured
	db        *sql.DB            // to look, never to change
	topo      *bus.Topology

	parts      []*part    // the modules that are processes of their own
	collecting sync.Mutex // rows are brought by one at a time
	collected  time.Time  // when those that are there were begun to be brought
}

const (
	databaseName = "millrace"      // on the embedded server, as `millrace serve` calls it
	mark         = "millrace demo" // the comment of a database that a demo may drop
)

// gatewayTimeout is short, because one charge in fourteen is never answered.
const gatewayTimeout = 500 * time.Millisecond

// calmGatewayTimeout is that of a calm run, in which only a charge that is never
// answered may take so long: one that a busy machine answers late would be asked
// about again, and the gateway would have another book.
const calmGatewayTimeout = 5 * time.Second

// setStage starts it. parties is how many orders and consultations will come;
// divided, whether every module is a process of its own.
func setStage(ctx context.Context, cfg config.Config, seed int64, parties int, divided bool) (_ *stage, err error) {
	s := &stage{dir: filepath.Join(cfg.DataDir, "demo")}
	defer func() {
		if err != nil {
			_ = s.close() // the first error is the one to tell
		}
	}()
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, errs.InvalidField("data_dir", "cannot be written to: %s", err)
	}
	if s.logFile, err = os.Create(s.logPath()); err != nil {
		return nil, errs.InvalidField("data_dir", "cannot be written to: %s", err)
	}
	if s.log, err = telemetry.NewLogger(s.logFile, cfg.Log.Level, "text"); err != nil {
		return nil, err
	}
	if s.topo, err = app.Topology(); err != nil {
		return nil, err
	}
	database, err := s.makeDatabase(ctx, cfg, "")
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "dataplatform")); err != nil { // of the database that is gone
		return nil, err
	}
	s.simulator, err = simulator.New(simulator.Config{Seed: uint64(seed), Secret: config.DevelopmentSecret.Reveal(), Late: 1500 * time.Millisecond, Log: s.log})
	if err != nil {
		return nil, err
	}
	if err := s.simulator.Start(); err != nil {
		return nil, err
	}
	const mailsEach = 40 // of an order or a consultation, at the very most
	if s.inbox, err = devinbox.Start(devinbox.Config{Keep: 1000 + parties*mailsEach}); err != nil {
		return nil, err
	}
	s.serving = s.configure(cfg, database)
	if err := s.joinKafka(); err != nil {
		return nil, err
	}
	if s.db, err = postgres.Open(ctx, lookingAt(database)); err == nil && divided {
		err = s.divide(ctx, cfg)
	}
	return s, err
}

func lookingAt(url string) postgres.Config {
	// A snapshot may say nothing for long on a busy machine; it only reads.
	return postgres.Config{URL: url, MaxConns: 3, Application: "millrace demo", StatementTimeout: 2 * time.Minute, IdleInTxTimeout: 2 * time.Minute}
}

func (s *stage) logPath() string { return filepath.Join(s.dir, "serve.log") }

// makeDatabase makes a fresh database, whose name ends so, and returns where it
// is.
func (s *stage) makeDatabase(ctx context.Context, cfg config.Config, end string) (_ string, err error) {
	if cfg.Embedded() {
		if s.server == nil {
			s.server, err = devserver.Start(ctx, devserver.Config{DataDir: filepath.Join(s.dir, "postgres"), Setting: "data_dir", Log: s.log})
			if err != nil {
				return "", fmt.Errorf("embedded database: %w", err)
			}
		}
		if err := s.server.DropDatabase(ctx, databaseName+end); err != nil {
			return "", fmt.Errorf("embedded database: %w", err)
		}
		return s.server.URL(databaseName + end), s.server.CreateDatabase(ctx, databaseName+end)
	}
	u, err := url.Parse(cfg.Database.URL.Reveal())
	if err != nil {
		return "", errs.InvalidField("database.url", "is not postgres://user:password@host:port/database")
	}
	name := filepath.Base(u.Path) + "_demo" + end
	if err := freshDatabase(ctx, u.String(), name); err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// freshDatabase makes a database on the server at url, in place of the one that
// an earlier demo left. One that no demo made is not touched.
func freshDatabase(ctx context.Context, url, name string) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1, Application: "millrace demo"})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing is left to do on it
	var comment sql.NullString
	err = db.QueryRowContext(ctx, `SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1`, name).Scan(&comment)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return fmt.Errorf("look for database %s: %w", name, err)
	case comment.String != mark:
		return errs.New(errs.Invalid, "there is a database %s that no demo made: rename it, or give another database.url", name)
	}
	quoted := pq.QuoteIdentifier(name)
	for _, statement := range []string{
		"DROP DATABASE IF EXISTS " + quoted + " WITH (FORCE)", "CREATE DATABASE " + quoted,
		"COMMENT ON DATABASE " + quoted + " IS " + pq.QuoteLiteral(mark),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return errs.As(errs.Resource, fmt.Errorf("make the database %s (the demo needs one of its own; the user of database.url must be allowed to create databases): %w", name, err))
		}
	}
	return nil
}

// configure makes the serving program's configuration: the user's own, but for
// the outside, which is this stage.
func (s *stage) configure(cfg config.Config, database string) config.Config {
	cfg.Environment, cfg.Modules = config.Development, nil
	cfg.DataDir = s.dir
	cfg.Database.URL = config.Secret(database)
	cfg.HTTP = config.HTTP{Address: "127.0.0.1:0"}
	cfg.Payment = config.Default().Payment
	cfg.Payment.Gateway.URL, cfg.Payment.Gateway.Timeout = s.simulator.URL(), gatewayTimeout
	cfg.Delivery = config.Delivery{AutoProgress: true, AutoProgressAfter: 50 * time.Millisecond}
	host, port := s.inbox.HostPort()
	cfg.Mail.SMTP = config.SMTP{Host: host, Port: port, TLS: "auto"}
	cfg.DataPlatform = config.DataPlatform{Dir: filepath.Join(s.dir, "dataplatform"), FlushRows: 10_000, FlushEvery: time.Second}
	cfg.Log.Format = "text"
	return cfg
}

// freePort is one that nobody listens on now. The child keeps it over kills, so
// that callbacks and clients find it again; so it is below those that a system
// hands out, if it can be, or somebody else has it when the child comes back.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20_000+rand.IntN(10_000)))
	for try := 0; err != nil && try < 100; try++ {
		l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20_000+rand.IntN(10_000)))
	}
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// close ends what setStage started, in the opposite order.
func (s *stage) close() error {
	var failures []error
	for _, p := range s.parts {
		failures = append(failures, p.db.Close())
	}
	if s.db != nil {
		failures = append(failures, s.db.Close())
	}
	if s.inbox != nil {
		failures = append(failures, s.inbox.Close())
	}
	if s.simulator != nil {
		failures = append(failures, s.simulator.Close())
	}
	failures = append(failures, s.leaveKafka())
	if s.server != nil {
		failures = append(failures, s.server.Stop())
	}
	if s.logFile != nil {
		failures = append(failures, s.logFile.Close())
	}
	return errors.Join(failures...)
}
