package sqltransport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPausedTaskOccupiesNobodyAndRunsAgainWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	q := newReadyQueue()
	troubled, healthy := &task{partition: 1}, &task{partition: 2}
	q.wake(troubled)
	require.Same(t, troubled, q.next())
	q.pause(troubled, time.Hour)
	q.wake(troubled) // a commit does not shorten the pause
	q.wake(healthy)
	require.Same(t, healthy, q.next())
	require.Equal(t, paused, troubled.state)

	q.wake(troubled)
	q.done(healthy, false)
	q.pause(healthy, 0)
	require.Same(t, healthy, q.next(), "by its timer: nobody woke it")
}

func TestOnlyPlainTasksShareARun(t *testing.T) {
	t.Parallel()
	q := newReadyQueue()
	plain := func() *task { return &task{claimed: true, loaded: true} }
	waiting := []*task{plain(), plain()}
	for _, w := range waiting {
		q.wake(w)
	}
	require.Nil(t, q.another(3), "others take them")
	require.Same(t, waiting[0], q.another(2))
	for name, change := range map[string]func(*task){
		"not ours": func(t *task) { t.claimed = false }, "to be given back": func(t *task) { t.release = true },
		"claimed anew": func(t *task) { t.reload = true }, "not loaded": func(t *task) { t.loaded = false },
		"poked": func(t *task) { t.poked = true }, "something aside": func(t *task) { t.drain = true },
		"a suspect": func(t *task) { t.suspect(1) }, "all suspects": func(t *task) { t.guardAll = true }, "one to blame": func(t *task) { t.blame(1, errMoved) },
	} {
		q, odd := newReadyQueue(), plain()
		change(odd)
		q.wake(odd)
		require.Nil(t, q.another(1), name)
		require.Same(t, odd, q.next(), name)
	}
}
