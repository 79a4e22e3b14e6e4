package dataplatform

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/parquet-go/parquet-go"

	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

const (
	page     = 500      // records read from the database at once
	rowGroup = 32 << 20 // bytes of records after which a row group is closed; bounds the memory
)

// write writes the range to its file, and fills in its size and checksum.
// It may be repeated at any time: the name and the rows are the same.
func (s *service) write(ctx context.Context, f *file) (err error) {
	defer errs.Wrap(&err, "write %s", f.name())
	if err := os.MkdirAll(s.cfg.Dir, 0o750); err != nil {
		return err
	}
	final := filepath.Join(s.cfg.Dir, f.name())
	s.removeLeftovers(final)
	// A name of its own: one that lost its turn and goes on writing does not
	// write into the same file.
	temporary, err := os.CreateTemp(s.cfg.Dir, f.name()+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = temporary.Close()           // the first error is the one to tell
			_ = os.Remove(temporary.Name()) // else the next try does
		}
	}()
	if err := s.encode(ctx, temporary, f); err != nil {
		return err
	}
	if err := temporary.Chmod(0o640); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	failpoint.Here("file.written")
	if err := os.Rename(temporary.Name(), final); err != nil {
		return err
	}
	return syncDir(s.cfg.Dir)
}

// encode writes the rows of the range as Parquet.
func (s *service) encode(ctx context.Context, to io.Writer, f *file) error {
	sum := sha256.New()
	var size counter
	buffered := bufio.NewWriterSize(to, 1<<20)
	w := parquet.NewGenericWriter[record](io.MultiWriter(buffered, sum, &size),
		parquet.Compression(&parquet.Snappy), parquet.CreatedBy("millrace", "1", "dataplatform"))
	var rows int64
	held := 0
	for first := f.First; first <= f.Last; first += page {
		records, err := recordsBetween(ctx, s.db, first, min(first+page-1, f.Last))
		if err != nil {
			return err
		}
		if _, err := w.Write(records); err != nil {
			return err
		}
		rows += int64(len(records))
		for _, r := range records {
			held += len(r.Payload)
		}
		if held >= rowGroup {
			if err := w.Flush(); err != nil {
				return err
			}
			held = 0
		}
	}
	if rows != f.rows() {
		return fmt.Errorf("the range has %d positions, %d records were found", f.rows(), rows)
	}
	if err := w.Close(); err != nil {
		return err
	}
	f.Bytes, f.SHA256 = int64(size), hex.EncodeToString(sum.Sum(nil))
	return buffered.Flush()
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// removeLeftovers removes what a crash left of this very file.
func (s *service) removeLeftovers(final string) {
	left, _ := filepath.Glob(final + ".*.tmp") // the pattern is well-formed
	for _, name := range left {
		_ = os.Remove(name) // it is in nobody's way: readers look for .parquet
	}
}

// syncDir makes a rename last. Windows cannot sync a folder and does not need to.
func syncDir(dir string) (err error) {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() {
		if closed := d.Close(); err == nil {
			err = closed
		}
	}()
	return d.Sync()
}
