//go:build chaos

package chaos_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/test/ports"
)

// One of two processes stalls (SIGSTOP) at a failpoint, inside a transaction. The
// other one takes over its partitions. When the first one resumes, it must do no harm.
func TestFailover_StalledProcessDoesNoHarmWhenItResumes(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var took []time.Duration
	t.Cleanup(func() { // the minimum shows what the program needs: a busy machine adds to the others
		if len(took) > 4 {
			require.Less(t, slices.Min(took), 5*time.Second, "%v", took)
		}
	})
	for _, point := range []string{"batch.claimed", "batch.before_commit", "append.after", "outbound.after_call", "callback.before_commit",
		"relay.read", "relay.confirmed", "inbound.before_commit",
		"forward.acknowledged", "consumer.stored"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w := placeOf(point)(t)
			first, second := ports.Of(t), ports.Of(t)
			stalled := w.serve(first, point+":25:stop")
			owner := w.one(`SELECT id FROM bus.nodes`)
			other := w.serve(second, "")
			var owned []string
			for _, module := range w.topo.Modules() {
				owned = append(owned, `SELECT node FROM `+module+`.offsets`)
			}
			assigned := `SELECT count(*) FROM (` + strings.Join(owned, " UNION ALL ") + `) p WHERE node = $1`
			l := w.load(3, first, second)
			w.until(func() string {
				if stalled.stopped() {
					return ""
				}
				return "it goes on"
			})
			began := time.Now()
			l.at(second)
			w.becomes("0", assigned, owner)
			mu.Lock()
			took = append(took, time.Since(began))
			mu.Unlock()
			l.accepts(15)
			require.NoError(t, stalled.Process.Signal(syscall.SIGCONT))
			w.becomes("true", `SELECT (`+assigned+`) > 0`, owner) // it has partitions again
			l.at(first, second)
			l.accepts(15)
			l.accounted()
			stalled.stop()
			other.stop()
		})
	}
}

// stopped reports whether a signal has stopped the process.
func (p *running) stopped() bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	require.NoError(p.t, err, "it has ended\n%s", p.stderr)
	_, rest, _ := strings.Cut(string(status), ") ")
	return strings.HasPrefix(rest, "T")
}

// Two processes are restarted in turn, as in a release.
func TestRollingRestart_UnderLoad(t *testing.T) { rollingRestart(t, fresh) }

func TestRollingRestart_UnderLoadOnKafka(t *testing.T) { rollingRestart(t, freshOnKafka) }

func rollingRestart(t *testing.T, place func(*testing.T, ...string) *world) {
	t.Parallel()
	w := place(t)
	addresses := []string{ports.Of(t), ports.Of(t)}
	serving := []*running{w.serve(addresses[0], ""), w.serve(addresses[1], "")}
	l := w.load(3, addresses...)
	for n := range 6 {
		l.accepts(10)
		serving[n%2].stop()
		l.accepts(5) // with the other process only
		serving[n%2] = w.serve(addresses[n%2], "")
	}
	l.accepts(10)
	l.accounted()
}

// A process must start while another one is inside long transactions.
func TestStart_IsNotDelayedByASlowHandlerElsewhere(t *testing.T) {
	t.Parallel()
	w := fresh(t)
	first := ports.Of(t)
	w.serve(first, "")
	tx := w.idle()
	for _, module := range w.topo.Modules() { // locks the offsets, as every batch does
		_, err := tx.ExecContext(t.Context(), `UPDATE `+module+`.offsets SET committed_offset = committed_offset`)
		require.NoError(t, err)
	}
	w.serve(ports.Of(t), "")
	require.NoError(t, tx.Rollback(), "it was open all the time")
	l := w.load(3, first)
	l.accepts(15)
	l.accounted()
}
