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

// One of two processes stops in the middle of a transaction, as a machine that
// is frozen does. The other takes its work over; the late one does no harm.
func TestAProcessThatStopsIsReplacedAndDoesNoHarmWhenItGoesOn(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var took []time.Duration
	t.Cleanup(func() { // a busy machine takes time too: the best of many shows what the program needs
		if len(took) > 4 {
			require.Less(t, slices.Min(took), 5*time.Second, "%v", took)
		}
	})
	for _, point := range []string{"run.claimed", "run.before_commit", "append.after", "dispatch.after_call", "callback.before_commit",
		"relay.read", "relay.confirmed", "inbound.before_commit",
		"forward.acknowledged", "intake.kept"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w := placeOf(point)(t)
			first, second := ports.Of(t), ports.Of(t)
			frozen := w.serve(first, point+":25:stop")
			owner := w.one(`SELECT id FROM bus.processes`)
			other := w.serve(second, "")
			var owned []string
			for _, module := range w.topo.Modules() {
				owned = append(owned, `SELECT owner FROM `+module+`.positions`)
			}
			hers := `SELECT count(*) FROM (` + strings.Join(owned, " UNION ALL ") + `) p WHERE owner = $1`
			l := w.load(3, first, second)
			w.until(func() string {
				if frozen.stopped() {
					return ""
				}
				return "it goes on"
			})
			began := time.Now()
			l.at(second)
			w.becomes("0", hers, owner)
			mu.Lock()
			took = append(took, time.Since(began))
			mu.Unlock()
			l.accepts(15)
			require.NoError(t, frozen.Process.Signal(syscall.SIGCONT))
			w.becomes("true", `SELECT (`+hers+`) > 0`, owner) // it is back at work
			l.at(first, second)
			l.accepts(15)
			l.accounted()
			frozen.stop()
			other.stop()
		})
	}
}

// stopped tells whether the process is, by a signal.
func (p *program) stopped() bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	require.NoError(p.t, err, "it has ended\n%s", p.stderr)
	_, rest, _ := strings.Cut(string(status), ") ")
	return strings.HasPrefix(rest, "T")
}

// Two processes are restarted in turn, as a new version is brought out.
func TestARollingRestartUnderLoad(t *testing.T) { rollingRestart(t, fresh) }

func TestARollingRestartUnderLoadOnKafka(t *testing.T) { rollingRestart(t, freshOnKafka) }

func rollingRestart(t *testing.T, place func(*testing.T, ...string) *world) {
	t.Parallel()
	w := place(t)
	addresses := []string{ports.Of(t), ports.Of(t)}
	serving := []*program{w.serve(addresses[0], ""), w.serve(addresses[1], "")}
	l := w.load(3, addresses...)
	for n := range 6 {
		l.accepts(10)
		serving[n%2].stop()
		l.accepts(5) // by the other alone
		serving[n%2] = w.serve(addresses[n%2], "")
	}
	l.accepts(10)
	l.accounted()
}

// A process starts while others are in the middle of long transactions.
func TestAProcessStartsBesideOneWhoseHandlersAreSlow(t *testing.T) {
	t.Parallel()
	w := fresh(t)
	first := ports.Of(t)
	w.serve(first, "")
	tx := w.idle()
	for _, module := range w.topo.Modules() { // as every run of a handler does
		_, err := tx.ExecContext(t.Context(), `UPDATE `+module+`.positions SET position = position`)
		require.NoError(t, err)
	}
	w.serve(ports.Of(t), "")
	require.NoError(t, tx.Rollback(), "it was open all the time")
	l := w.load(3, first)
	l.accepts(15)
	l.accounted()
}
