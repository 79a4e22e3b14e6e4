package dataplatform

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

const (
	leaseDuration = 10 * time.Second // duration of the write lease
	patience      = 10 * time.Second // time limit for a database that does not respond
)

// service writes the files. Each process has one.
type service struct {
	db    *bus.DB
	cfg   Config
	owner uuid.UUID     // this process, as lease holder
	lease time.Duration // duration of the write lease
	poll  time.Duration // interval of checks whether a file is due
}

func newService(db *bus.DB, cfg Config) *service {
	return &service{
		db: db, cfg: cfg, owner: uuid.New(), lease: leaseDuration,
		poll: min(max(cfg.FlushEvery/4, 10*time.Millisecond), time.Second),
	}
}

// flush writes files as they become due until ctx is done.
func (s *service) flush(ctx context.Context) error {
	const longest = 10 * time.Second
	pause := s.poll
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.release(ctx)
			return nil
		case <-timer.C:
		}
		// A file that was started is finished, also at a shutdown.
		wrote, err := s.writeNext(context.WithoutCancel(ctx))
		switch {
		case err != nil:
			slog.Error("cannot write the events to a file; trying again", "module", "dataplatform", "dir", s.cfg.Dir,
				"wait", pause, "error", err, "kind", errs.KindOf(err))
			timer.Reset(pause)
			pause = min(2*pause, longest)
		case wrote:
			timer.Reset(0) // more records may be waiting
			pause = s.poll
		default:
			timer.Reset(s.poll)
			pause = s.poll
		}
	}
}

// writeNext writes the next file, if one is due and this process gets the write
// lease.
func (s *service) writeNext(ctx context.Context) (wrote bool, err error) {
	f, found, err := s.next(ctx)
	if err != nil || !found {
		return false, err
	}
	failpoint.Here("file.range_fixed")
	if err := s.write(ctx, &f); err != nil {
		return false, err
	}
	failpoint.Here("file.renamed")
	if err := s.record(ctx, f); err != nil {
		return false, err
	}
	failpoint.Here("file.recorded")
	slog.Debug("events written", "module", "dataplatform", "file", f.name(), "rows", f.rows(), "bytes", f.Bytes)
	return true, nil
}

// next returns the file to write: one that was started and not recorded, else a
// new range if one is due.
func (s *service) next(ctx context.Context) (f file, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		mine, err := acquireLease(ctx, tx, s.owner, s.lease)
		if err != nil || !mine {
			return err
		}
		if f, found, err = begunFile(ctx, tx); err != nil || found {
			return err
		}
		due, err := waiting(ctx, tx, s.cfg.FlushRows, s.cfg.FlushEvery)
		if err != nil || !due {
			return err
		}
		f, found, err = fixRange(ctx, tx, s.cfg.FlushRows)
		return err
	})
	return f, found && err == nil, err
}

var errLeaseLost = errors.New("another process took over the writing; it repeats this file")

// record records that the file is written.
func (s *service) record(ctx context.Context, f file) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.db.InTx(ctx, func(tx *bus.Tx) error {
		mine, err := holdLease(ctx, tx, s.owner)
		if err != nil {
			return err
		}
		if !mine {
			return errLeaseLost
		}
		return recordFile(ctx, tx, f)
	})
}

// release releases the lease, so that another process need not wait for its
// end.
func (s *service) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.db.InTx(ctx, func(tx *bus.Tx) error { return releaseLease(ctx, tx, s.owner) }); err != nil {
		slog.Warn("cannot hand over the writing; another process takes over when the lease ends",
			"module", "dataplatform", "error", err)
	}
}
