package demo

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// Delivery forgets messages while the program serves: its position moves on,
// without inbox rows and without effects. The program itself sees nothing
// wrong; the demo ends with an error, and counts what is lost.
func TestAPlantedBugMakesTheDemoFail(t *testing.T) {
	t.Parallel()
	p := playSmall(t, 10,
		`CREATE FUNCTION delivery.forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`,
		`CREATE TRIGGER planted BEFORE INSERT ON delivery.inbox FOR EACH ROW WHEN (NEW.partition % 2 = 0) EXECUTE FUNCTION delivery.forget()`)
	result, err := p.check(t.Context(), p.orders, p.consultations)
	require.ErrorContains(t, err, "these do not hold: L1, L2")
	require.False(t, result.OK)
	require.Positive(t, result.Lost)
	require.Equal(t, []string{"L1", "L2"}, result.Failed)
	require.Contains(t, p.told.String(), "FAIL  L1")
	require.Contains(t, p.told.String(), "LOST")
}

func TestABadFileOfOrdersStartsNothing(t *testing.T) {
	t.Parallel()
	o := Options{Orders: filepath.Join(t.TempDir(), "orders.csv"), Out: &bytes.Buffer{}} // no configuration: starting anything would fail otherwise
	require.NoError(t, os.WriteFile(o.Orders, []byte("order_key\ngoods-1\n"), 0o600))
	_, err := Run(t.Context(), o)
	require.Equal(t, errs.Invalid, errs.KindOf(err))
	require.ErrorContains(t, err, o.Orders+" line 1: the column")
	require.Equal(t, "Nothing was imported.\n", o.Out.(*bytes.Buffer).String())
}

func TestADatabaseThatNoDemoMadeIsNotDropped(t *testing.T) {
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
	require.NoError(t, freshDatabase(t.Context(), server, name), "its own one is made anew")
}

func TestTheSeedDecidesTheMomentsOfTheKills(t *testing.T) {
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

func TestTheEmbeddedConsultationsAreComplete(t *testing.T) {
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
	for _, kind := range []string{"move MEMBER", "move HOSPITAL", "move SYSTEM", "time MEMBER", "time HOSPITAL", "say CUSTOMER", "say HOSPITAL", "memo ", "deposit "} {
		require.True(t, moved[kind], kind)
	}
	more, err := loadConsultations(201)
	require.NoError(t, err)
	require.Equal(t, 201, more[200].Number)
	require.Equal(t, all[0].Script, more[200].Script)
}

// The list of currencies is payment's, whose own is its own business.
func TestTheCurrenciesAreThoseThatPaymentTakes(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../../modules/payment/currency.go")
	require.NoError(t, err)
	var theirs []string
	for _, code := range regexp.MustCompile(`"([A-Z]{3})":`).FindAllSubmatch(source, -1) {
		theirs = append(theirs, string(code[1]))
	}
	slices.Sort(theirs)
	require.Equal(t, theirs, currencies)
}

func TestAnEndedContextEndsAPause(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, pause(ctx, settleWithin), context.Canceled)
}
