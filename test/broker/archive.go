package broker

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// makeArchive runs a broker once and lets Java write down the classes it
// loaded: later ones start in half the time. It is a comfort: whatever goes
// wrong, brokers start without it, and the next process tries again. The caller
// holds the lock.
func (h *home) makeArchive(ctx context.Context) {
	made := filepath.Join(h.dir, "classes-"+strconv.Itoa(os.Getpid())+".part")
	defer os.Remove(made) //nolint:errcheck // it has another name by now
	o := Options{Nodes: 1, Partitions: 8}
	template, err := h.format(ctx, o)
	if err != nil {
		return
	}
	c, err := h.try(ctx, o, template, "-XX:ArchiveClassesAtExit="+made)
	if err != nil {
		return
	}
	defer c.Close()                             //nolint:errcheck // it says nothing about the archive
	if c.nodes[0].stop(30*time.Second) != nil { // it is written now
		return
	}
	_ = os.Rename(made, h.archive) // as above
}
