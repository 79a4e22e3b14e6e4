package dataplatform

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/parquet-go/parquet-go"

	"millrace/platform/datadir"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

const (
	page     = 500      // records read from the database at a time
	rowGroup = 32 << 20 // bytes after which a row group is closed; bounds the memory used
)

// write writes the range to its file and sets the file's size and checksum. It
// can be repeated: the name and the rows stay the same.
func (s *service) write(ctx context.Context, f *file) (err error) {
	defer errs.Wrap(&err, "write %s", f.name())
	dir, err := s.openDir()
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	removeLeftovers(dir, f.name())
	// The temporary name is unique: a process that lost the lease and still
	// writes must not write into the same file.
	name := f.name() + "." + rand.Text() + ".tmp"
	temporary, err := dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = temporary.Close() // the first error is returned
			_ = dir.Remove(name)  // else the next attempt removes it
		}
	}()
	if err := s.encode(ctx, temporary, f); err != nil {
		return err
	}
	if err := temporary.Chmod(0o640); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if err := datadir.Adopt(temporary, dir); err != nil {
		return err
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	failpoint.Here("file.written")
	if err := dir.Rename(name, f.name()); err != nil {
		return err
	}
	return syncDir(dir)
}

// openDir opens the folder and creates it if it is missing.
func (s *service) openDir() (*os.Root, error) {
	dir, err := filepath.Abs(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if s.cfg.Own {
		return datadir.OpenBelow(filepath.Dir(dir), filepath.Base(dir), 0o750)
	}
	return datadir.OpenAny(dir, 0o750)
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

// removeLeftovers deletes temporary files of this range that a crash left.
func removeLeftovers(dir *os.Root, final string) {
	left, _ := fs.Glob(dir.FS(), final+".*.tmp") // the pattern is well-formed
	for _, name := range left {
		_ = dir.Remove(name) // ignored: readers look for .parquet only
	}
}

// syncDir makes a rename durable. Windows cannot sync a folder and does not
// need to.
func syncDir(dir *os.Root) (err error) {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := dir.Open(".")
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
