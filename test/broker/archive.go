package broker

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// makeArchive runs a broker once and has Java write a class data sharing archive, so
// that later brokers start in half the time. Errors are ignored: brokers start
// without the archive, and the next process tries again. The caller holds the lock.
func (h *home) makeArchive(ctx context.Context) {
	made := filepath.Join(h.dir, "classes-"+strconv.Itoa(os.Getpid())+".part")
	defer os.Remove(made) //nolint:errcheck // renamed by now, if it succeeded
	o := Options{Nodes: 1, Partitions: 8}
	template, err := h.format(ctx, o)
	if err != nil {
		return
	}
	c, err := h.try(ctx, o, template, "-XX:ArchiveClassesAtExit="+made)
	if err != nil {
		return
	}
	defer c.Close()                             //nolint:errcheck // does not affect the archive
	if c.nodes[0].stop(30*time.Second) != nil { // the broker writes the archive when it exits
		return
	}
	_ = os.Rename(made, h.archive) // without it brokers start slower
}
