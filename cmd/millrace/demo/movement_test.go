package demo

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// watched runs a movement that reads the two numbers instead of a database.
func watched(t *testing.T, patience time.Duration, moved, open *atomic.Int64) *movement {
	m := &movement{patience: patience, most: 2, last: time.Now(), look: func(context.Context) (sight, error) {
		return sight{moved.Load(), open.Load()}, nil
	}}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); m.run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return m
}

func TestMovement_StallsOnlyWhenNothingChanges(t *testing.T) {
	t.Parallel()
	var moved, open atomic.Int64
	m := watched(t, 3*time.Second, &moved, &open)
	began := time.Now()
	for time.Since(began) < 6*time.Second { // twice the patience
		moved.Add(1)
		if m.stalled(began) != nil { // the machine was so slow that the movement could not look in time
			require.Eventually(t, func() bool { moved.Add(1); return m.stalled(began) == nil }, time.Minute, 10*time.Millisecond)
		}
		require.NoError(t, pause(t.Context(), 10*time.Millisecond))
	}
	require.Eventually(t, func() bool { return m.stalled(began) != nil }, time.Minute, 20*time.Millisecond)
	require.ErrorContains(t, m.stalled(began), "nothing moved for 3s")
	require.NoError(t, m.stalled(time.Now()), "a wait that begins has its own patience")
}

func TestMovement_LimitsOpenPayments(t *testing.T) {
	t.Parallel()
	var moved, open atomic.Int64
	open.Store(2)
	m := watched(t, 30*time.Second, &moved, &open)
	require.Eventually(t, func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.seen.open == 2 }, time.Minute, time.Millisecond)
	begun := make(chan error, 1)
	go func() { begun <- m.room(t.Context()) }()
	select {
	case err := <-begun:
		t.Fatalf("there was no room, and it began: %v", err)
	case <-time.After(2 * lookEvery):
	}
	open.Store(0)
	require.NoError(t, <-begun)
}

func TestClient_RetriesUntilStalledAndReportsLastError(t *testing.T) {
	t.Parallel()
	var moved, open, asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	c := newClient(server.URL)
	stalled := watched(t, time.Second, &moved, &open).stalled
	c.stalled = func(began time.Time) error {
		if asked.Load() == 1 { // something else changes meanwhile
			return nil
		}
		return stalled(began)
	}
	err := c.do(t.Context(), http.MethodPut, "/contacts/1", "", nil, nil)
	require.ErrorContains(t, err, "PUT /contacts/1 had no answer, last with status 503")
	require.ErrorContains(t, err, "nothing moved for 1s")
	require.Greater(t, asked.Load(), int64(1))
}

func TestGiveUp_PrintsReport(t *testing.T) {
	t.Parallel()
	p := playSmall(t, 5)
	p.printed.Reset()
	result, err := p.giveUp(p.orders, p.consultations, &partyError{p.orders[3].Key, errors.New("planted")})
	require.ErrorContains(t, err, "planted")
	require.False(t, result.OK)
	require.Equal(t, 5, result.Orders)
	for _, part := range []string{"What became of the messages", "The timeline of order " + p.orders[3].Key, "ok    L1", "given up"} {
		require.Contains(t, p.printed.String(), part)
	}
	_, err = movementOf(p.stage.looking, p.stage.topo.Modules()).look(t.Context())
	require.NoError(t, err)
}

func TestMovement_FailedLookIsNoChange(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t), MaxConns: 1})
	require.NoError(t, err)
	defer db.Close()
	m := movementOf(func(string) looker { return db }, []string{"payment"}) // the database has no tables
	m.patience = time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.run(ctx) }()
	require.Eventually(t, func() bool {
		err := m.stalled(time.Now().Add(-time.Second))
		return err != nil && errors.Unwrap(err) != nil
	}, time.Minute, 5*time.Millisecond)
	stop()
	<-done
}
