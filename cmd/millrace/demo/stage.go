package demo

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
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
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/datadir"
	"millrace/platform/errs"
	"millrace/platform/mail/devinbox"
	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
	"millrace/platform/telemetry"
)

// stage is everything around the serving program: what the program needs, and the
// evidence, which survives the program's kills.
type stage struct {
	dir       string // <data_dir>/demo
	serving   config.Config
	logFile   *os.File
	log       *slog.Logger
	server    *devserver.Server // nil if a database is configured
	secret    config.Secret     // signs the simulator's callbacks
	simulator *simulator.Simulator
	inbox     *devinbox.Inbox
	broker    *fakebroker.Broker // nil if messages do not travel by Kafka, or brokers are configured
	db        *sql.DB            // read only
	topo      *bus.Topology

	parts      []*part    // the modules, if each is a process of its own
	collecting sync.Mutex // held while rows are copied
	collected  time.Time  // when the last copy began
}

const (
	databaseName = "millrace"      // on the embedded server; the name that `millrace serve` uses
	mark         = "millrace demo" // the comment of a database that a demo may drop
)

// gatewayTimeout is short, because one charge in fourteen is never answered.
const gatewayTimeout = 500 * time.Millisecond

// calmGatewayTimeout is the timeout of a calm run. It must be exceeded only by charges
// that are never answered: if a busy machine answered one too late, the program would
// ask about it again, and the gateway's record would differ.
const calmGatewayTimeout = 5 * time.Second

// setStage starts the stage. parties is the number of orders and consultations to
// come; divided means that every module is a process of its own.
func setStage(ctx context.Context, cfg config.Config, seed int64, parties int, divided bool) (_ *stage, err error) {
	s := &stage{dir: filepath.Join(cfg.DataDir, "demo"), secret: randomSecret()}
	defer func() {
		if err != nil {
			_ = s.close() // report the first error
		}
	}()
	if err := datadir.PrepareBelow(cfg.DataDir, filepath.Base(s.dir), "data_dir", 0o700); err != nil {
		return nil, err
	}
	if s.logFile, err = datadir.Create(s.logPath()); err != nil {
		return nil, datadir.Explain(err, s.logPath(), "data_dir")
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
	if err := datadir.RemoveAll(filepath.Join(s.dir, "dataplatform")); err != nil { // files of the dropped database
		return nil, err
	}
	s.simulator, err = simulator.New(simulator.Config{Seed: uint64(seed), Secret: s.secret.Reveal(), Keep: 1000 + parties*20, Late: 1500 * time.Millisecond, Log: s.log})
	if err != nil {
		return nil, err
	}
	if err := s.simulator.Start(); err != nil {
		return nil, err
	}
	const mailsEach = 40 // the most mails of one order or consultation
	keep := 1000 + parties*mailsEach
	if s.inbox, err = devinbox.Start(devinbox.Config{Keep: keep, KeepBytes: keep << 13}); err != nil {
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
	// A snapshot may be idle for long on a busy machine; it holds no locks, because it only reads.
	return postgres.Config{URL: url, MaxConns: 3, Application: "millrace demo", StatementTimeout: 2 * time.Minute, IdleInTxTimeout: 2 * time.Minute}
}

func (s *stage) logPath() string { return filepath.Join(s.dir, "serve.log") }

// makeDatabase creates a fresh database, whose name ends with end, and returns its
// URL.
func (s *stage) makeDatabase(ctx context.Context, cfg config.Config, end string) (_ string, err error) {
	if cfg.Embedded() {
		if s.server == nil {
			s.server, err = devserver.Start(ctx, devserver.Config{DataDir: filepath.Join(s.dir, "postgres"), Within: s.dir, Setting: "data_dir", Log: s.log})
			if err != nil {
				return "", fmt.Errorf("embedded database: %w", err)
			}
		}
		if err := s.server.DropDatabase(ctx, databaseName+end); err != nil {
			return "", fmt.Errorf("embedded database: %w", err)
		}
		return s.server.OwnerURL(databaseName + end), s.server.CreateDatabase(ctx, databaseName+end)
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

// freshDatabase creates a database on the server at url.
//
// WARNING: it drops a database of that name if an earlier demo created it. It returns
// an error, and drops nothing, if the database is not a demo's.
func freshDatabase(ctx context.Context, url, name string) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1, Application: "millrace demo"})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // all work on it is done
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

// configure makes the serving program's configuration: the user's, with the outside
// systems replaced by this stage's.
func (s *stage) configure(cfg config.Config, database string) config.Config {
	cfg.Environment, cfg.Modules = config.Development, nil
	cfg.DataDir = s.dir
	cfg.Database.URL = config.Secret(database)
	cfg.HTTP = config.Default().HTTP
	cfg.HTTP.Address = "127.0.0.1:0"
	cfg.Payment = config.Default().Payment
	cfg.Payment.Secrets = []config.Secret{s.secret}
	cfg.Payment.Gateway.URL, cfg.Payment.Gateway.Timeout = s.simulator.URL(), gatewayTimeout
	cfg.Delivery = config.Delivery{AutoProgress: true, AutoProgressAfter: 50 * time.Millisecond}
	host, port := s.inbox.HostPort()
	cfg.Mail.SMTP = config.SMTP{Host: host, Port: port, TLS: "auto"}
	cfg.DataPlatform = config.DataPlatform{Dir: filepath.Join(s.dir, "dataplatform"), FlushRows: 10_000, FlushEvery: time.Second}
	cfg.Log.Format = "text"
	return cfg
}

// randomSecret is a secret that signs callbacks in this demo only.
func randomSecret() config.Secret {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // crypto/rand never fails
	return config.Secret("whsec_" + base64.StdEncoding.EncodeToString(key))
}

// freePort returns a port on which nobody listens. The child uses it again after each
// kill, so that callbacks and clients still reach it. If possible, the port is below
// the range of ephemeral ports: otherwise another process might get it while the
// child restarts.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20_000+mathrand.IntN(10_000)))
	for try := 0; err != nil && try < 100; try++ {
		l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20_000+mathrand.IntN(10_000)))
	}
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// close frees what setStage started, in the opposite order.
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
