package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverSettings are the settings that differ between River by default and tuned.
type riverSettings struct {
	workers        int
	cooldown, poll time.Duration
}

// River takes at most workers jobs per cooldown, so by default 1,000 jobs/s
// with the 100 workers of its documentation.
var (
	riverDefault = riverSettings{workers: 100}
	riverTuned   = riverSettings{workers: 400, cooldown: 10 * time.Millisecond, poll: 50 * time.Millisecond}
)

// riverQueue is River with three jobs for each payment, inserted in the
// payment's transaction: River has no subscribers, so a publisher must know
// its listeners.
type riverQueue struct {
	url      string
	settings riverSettings
	pool     *pgxpool.Pool
	client   *river.Client[pgx.Tx]
}

// One kind of job for each group.
type (
	deliveryJob     struct{ payment }
	notificationJob struct{ payment }
	dataplatformJob struct{ payment }
)

func (deliveryJob) Kind() string     { return "delivery" }
func (notificationJob) Kind() string { return "notification" }
func (dataplatformJob) Kind() string { return "dataplatform" }

func openRiver(settings riverSettings) func(context.Context, string) (contender, error) {
	return func(ctx context.Context, url string) (_ contender, err error) {
		db, err := sql.Open("postgres", url)
		if err != nil {
			return nil, err
		}
		defer db.Close() //nolint:errcheck // nothing is lost with it
		if err := createTables(ctx, db); err != nil {
			return nil, err
		}
		config, err := pgxpool.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		config.MaxConns = poolSize
		r := &riverQueue{url: url, settings: settings}
		if r.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
			return nil, err
		}
		migrator, err := rivermigrate.New(riverpgxv5.New(r.pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		}
		if err == nil {
			r.client, err = river.NewClient(riverpgxv5.New(r.pool), &river.Config{Logger: slog.New(slog.DiscardHandler)})
		}
		if err != nil {
			r.pool.Close()
			return nil, err
		}
		return r, nil
	}
}

func (r *riverQueue) publish(ctx context.Context, batch []payment) error {
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		jobs := make([]river.InsertManyParams, 0, len(batch)*len(groups))
		for _, p := range batch {
			if _, err := tx.Exec(ctx, insertPayment, p.row()...); err != nil {
				return err
			}
			jobs = append(jobs, river.InsertManyParams{Args: deliveryJob{p}}, river.InsertManyParams{Args: notificationJob{p}}, river.InsertManyParams{Args: dataplatformJob{p}})
		}
		_, err := r.client.InsertManyFastTx(ctx, tx, jobs)
		return err
	})
}

func (r *riverQueue) start(ctx context.Context, b behaviour) (err error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, job *river.Job[deliveryJob]) error {
		return r.work(ctx, 0, job.Args.payment, b, job.Attempt)
	}))
	river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, job *river.Job[notificationJob]) error {
		return r.work(ctx, 1, job.Args.payment, b, job.Attempt)
	}))
	river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, job *river.Job[dataplatformJob]) error {
		return r.work(ctx, 2, job.Args.payment, b, job.Attempt)
	}))
	if r.client, err = river.NewClient(riverpgxv5.New(r.pool), &river.Config{
		Logger: slog.New(slog.DiscardHandler), Workers: workers,
		FetchCooldown: r.settings.cooldown, FetchPollInterval: r.settings.poll,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: r.settings.workers}},
	}); err != nil {
		return err
	}
	return r.client.Start(context.WithoutCancel(ctx))
}

func (r *riverQueue) work(ctx context.Context, group int, p payment, b behaviour, attempt int) error {
	if b.failEvery != 0 && p.Seq%b.failEvery == 0 && attempt == 1 {
		return errOnce
	}
	name := groups[group]
	done := false
	err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		marked, err := tx.Exec(ctx, fmt.Sprintf(insertMark, "inbox_"+name), p.ID, name, p.Seq)
		if err != nil || marked.RowsAffected() == 0 {
			return err
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf(insertEffect, "effects_"+name), p.ID, p.OrderKey, p.Amount); err != nil {
			return err
		}
		if b.hot {
			if _, err := tx.Exec(ctx, fmt.Sprintf(touchHot, "hot_"+name), hotRow(p.Seq)); err != nil {
				return err
			}
		}
		done = true
		return nil
	})
	if err == nil && done {
		b.observer.effect(group, p.Seq)
	}
	return err
}

func (r *riverQueue) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.client.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (r *riverQueue) effects() []string { return effectTables() }

func (r *riverQueue) close() error { r.pool.Close(); return nil }
