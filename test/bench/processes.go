package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/store"
	"millrace/platform/postgres"
)

// job is a command: a message in one receiver's queue.
type job struct {
	ID  uuid.UUID `json:"id"`
	Seq int       `json:"sequence"`
}

func (job) CommandName() string { return "delivery.work" }
func (j job) Key() string       { return fmt.Sprintf("goods-%07d", j.Seq%keys) }

const (
	jobWait    = 5 * time.Millisecond
	createJobs = `CREATE TABLE delivery.jobs (payment_id uuid NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())`
	insertJob  = `INSERT INTO jobs (payment_id) VALUES ($1)`

	// jobsRate leaves out when the first jobs were still being sent, and when
	// the last partitions ran empty one by one.
	jobsRate = `SELECT 0.6 * count(*) / extract(epoch FROM percentile_disc(0.8) WITHIN GROUP (ORDER BY at) - percentile_disc(0.2) WITHIN GROUP (ORDER BY at)) FROM delivery.jobs`
)

// jobsTopology is the sender and the receiver, whose handler waits.
func jobsTopology() (*bus.Topology, error) {
	work := func(ctx context.Context, tx *bus.Tx, j job) error {
		pause(ctx, jobWait)
		_, err := tx.ExecContext(ctx, insertJob, j.ID.String())
		return err
	}
	return bus.NewTopology(unit{name: "payment", sends: []bus.Command{job{}}}, unit{name: "delivery", subscribes: []bus.Subscription{bus.Handle(work)}})
}

// workerArgument makes the program a worker: workerArgument, then the database's URL.
const workerArgument = "worker"

// worker handles jobs with default settings until its standard input ends, so it
// ends with its parent process.
func worker(ctx context.Context, url string, in io.Reader, out io.Writer) error {
	topo, err := jobsTopology()
	if err != nil {
		return err
	}
	p, err := startProcess(ctx, onPostgres(url), 0, topo, []string{"delivery"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, p.stop())
}

func processesName(n int) string {
	return fmt.Sprintf("handled/s, one queue, handlers wait 5 ms, processes: %d", n)
}

// processes lets 1, 2 and 4 programs work on one queue.
func processes(ctx context.Context, r *run) error {
	for range r.rounds {
		var jobs []func() error
		for _, n := range []int{1, 2, 4} {
			jobs = append(jobs, func() error {
				rate, err := r.jobsOf(ctx, n)
				if err == nil {
					r.found.add(kindOurs.name, processesName(n), rate)
				}
				return err
			})
		}
		if err := r.turns(jobs); err != nil {
			return err
		}
	}
	return nil
}

// jobsOf returns how many jobs n processes handle each second, and makes sure
// that each was handled once.
func (r *run) jobsOf(ctx context.Context, n int) (rate float64, err error) {
	url, drop, err := r.server.database(ctx)
	if err != nil {
		return 0, err
	}
	defer drop()
	topo, err := jobsTopology()
	if err != nil {
		return 0, err
	}
	if err := admin.Migrate(ctx, url, topo); err != nil {
		return 0, err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: url, Schema: "public", MaxConns: 2})
	if err != nil {
		return 0, err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	if _, err := db.ExecContext(ctx, createJobs); err != nil {
		return 0, err
	}
	sender, err := onPostgres(url)(ctx, 0, topo, []string{"payment"})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, sender.Close()) }()
	end, err := startWorkers(ctx, url, n)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, end()) }()
	total := n * r.scale.jobsEach
	if err := sharedAmong(ctx, db, n); err != nil {
		return 0, err
	}
	if err := sendJobs(ctx, sender.DB("payment"), total); err != nil {
		return 0, err
	}
	return jobsDone(ctx, db, total)
}

// sendJobs fills the queue, 100 in a transaction.
func sendJobs(ctx context.Context, db *bus.DB, total int) error {
	for seq := 0; seq < total; {
		if err := db.InTx(ctx, func(tx *bus.Tx) error {
			for until := min(seq+100, total); seq < until; seq++ {
				if err := tx.Send(job{ID: uuid.Must(uuid.NewV7()), Seq: seq}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// startWorkers starts this program n times more; end stops them and waits.
func startWorkers(ctx context.Context, url string, n int) (end func() error, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var ends []func() error
	end = func() error {
		return together(len(ends), func(i int) error { return ends[i]() })
	}
	for range n {
		cmd := exec.CommandContext(ctx, program, workerArgument, url)
		cmd.Stderr = os.Stderr
		in, inErr := cmd.StdinPipe()
		out, outErr := cmd.StdoutPipe()
		if err := errors.Join(inErr, outErr); err != nil {
			return nil, errors.Join(err, end())
		}
		if err := cmd.Start(); err != nil {
			return nil, errors.Join(err, end())
		}
		ends = append(ends, func() error { return errors.Join(in.Close(), cmd.Wait()) })
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			return nil, errors.Join(fmt.Errorf("a worker printed %q: %w", line, err), end())
		}
	}
	return end, nil
}

// sharedAmong waits until n processes own the queue's partitions evenly.
func sharedAmong(ctx context.Context, db *sql.DB, n int) error {
	const owners = `SELECT count(*) FILTER (WHERE partitions <= $1), coalesce(sum(partitions), 0) FROM (
		SELECT node, count(*) AS partitions FROM delivery.offsets WHERE node IS NOT NULL GROUP BY node) AS o`
	return until(ctx, time.Minute, "the partitions are shared", func() (bool, error) {
		var fair, owned int
		err := db.QueryRowContext(ctx, owners, (store.Partitions+n-1)/n).Scan(&fair, &owned)
		return fair == n && owned == store.Partitions, err
	})
}

func jobsDone(ctx context.Context, db *sql.DB, total int) (rate float64, err error) {
	var all, different int
	if err := until(ctx, 5*time.Minute, "the jobs are done", func() (bool, error) {
		err := db.QueryRowContext(ctx, `SELECT count(*), count(DISTINCT payment_id) FROM delivery.jobs`).Scan(&all, &different)
		return all >= total, err
	}); err != nil {
		return 0, err
	}
	if all != total || different != total {
		return 0, fmt.Errorf("%d jobs are done %d times: effects were doubled", total, all)
	}
	return rate, db.QueryRowContext(ctx, jobsRate).Scan(&rate)
}

// until asks again, ten times a second at most, until it is so.
func until(ctx context.Context, limit time.Duration, what string, so func() (bool, error)) error {
	for end := time.Now().Add(limit); ; {
		is, err := so()
		switch {
		case err != nil || is:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("waited %s until %s", limit, what)
		}
		pause(ctx, 100*time.Millisecond)
	}
}
