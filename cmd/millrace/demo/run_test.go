package demo

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/terminal"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// The planted trigger makes delivery lose messages: its committed offset advances, but
// inbox rows and effects are missing. The program itself notices nothing; the demo
// must end with an error, and count the lost messages.
func TestRun_FailsWhenDeliveryLosesMessages(t *testing.T) {
	t.Parallel()
	p := playSmall(t, 10,
		`CREATE FUNCTION delivery.forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`,
		`CREATE TRIGGER planted BEFORE INSERT ON delivery.inbox FOR EACH ROW WHEN (NEW.partition % 2 = 0) EXECUTE FUNCTION delivery.forget()`)
	result, err := p.check(t.Context(), p.orders, p.consultations)
	require.ErrorContains(t, err, "these do not hold: L1, L2")
	require.False(t, result.OK)
	require.Positive(t, result.Lost)
	require.Equal(t, []string{"L1", "L2"}, result.Failed)
	require.Contains(t, p.printed.String(), "FAIL  L1")
	require.Contains(t, p.printed.String(), "LOST")
}

func TestRun_BadOrdersFileStartsNothing(t *testing.T) {
	t.Parallel()
	var printed bytes.Buffer
	o := Options{Orders: filepath.Join(t.TempDir(), "orders.csv"), Out: terminal.New(&printed)} // an empty configuration: starting anything would fail
	require.NoError(t, os.WriteFile(o.Orders, []byte("order_key\ngoods-1\n"), 0o600))
	_, err := Run(t.Context(), o)
	require.Equal(t, errs.Invalid, errs.KindOf(err))
	require.ErrorContains(t, err, o.Orders+" line 1: missing are kind,item,")
	require.Equal(t, "Nothing was imported.\n", printed.String())
}

func TestRun_DoesNotDropOtherDatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.URL(t)
	t.Cleanup(func() { dropDemo(t, server) })
	db, err := postgres.Open(t.Context(), postgres.Config{URL: server, MaxConns: 1})
	require.NoError(t, err)
	defer db.Close()
	var name string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT current_database() || '_demo'`).Scan(&name))
	_, err = db.ExecContext(t.Context(), `CREATE DATABASE `+name)
	require.NoError(t, err)
	require.ErrorContains(t, freshDatabase(t.Context(), server, name), "no demo made")

	_, err = db.ExecContext(t.Context(), `DROP DATABASE `+name)
	require.NoError(t, err)
	require.NoError(t, freshDatabase(t.Context(), server, name))
	require.NoError(t, freshDatabase(t.Context(), server, name), "its own database is replaced")
}

func TestKiller_PlanDependsOnSeed(t *testing.T) {
	t.Parallel()
	one, err := plan(1, 5, 240)
	require.NoError(t, err)
	same, err := plan(1, 5, 240)
	require.NoError(t, err)
	other, err := plan(2, 5, 240)
	require.NoError(t, err)
	require.Equal(t, one, same)
	require.NotEqual(t, one, other)
	for i, m := range one {
		require.LessOrEqual(t, m.begun, int64(200), "a kill meets work in flight")
		require.True(t, i == 0 || m.begun > one[i-1].begun)
	}
	_, err = plan(1, 50, 24)
	require.ErrorContains(t, err, "needs more orders")
}

func TestLoadConsultations_EmbeddedFileHasEveryStep(t *testing.T) {
	t.Parallel()
	all, err := loadConsultations(200)
	require.NoError(t, err)
	moved := map[string]bool{}
	for _, c := range all {
		for _, s := range c.Script {
			moved[s.Do+" "+s.Who] = true
			require.False(t, s.Do == "deposit" && c.DepositAmount == 0, "consultation %d", c.Number)
		}
	}
	for _, kind := range []string{"move MEMBER", "move HOSPITAL", "move SYSTEM", "time MEMBER", "time HOSPITAL", "post CUSTOMER", "post HOSPITAL", "memo ", "deposit "} {
		require.True(t, moved[kind], kind)
	}
	more, err := loadConsultations(201)
	require.NoError(t, err)
	require.Equal(t, 201, more[200].Number)
	require.Equal(t, all[0].Script, more[200].Script)
}

func TestPause_EndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, pause(ctx, settleWithin), context.Canceled)
}
