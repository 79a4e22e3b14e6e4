package simulator

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
)

func withFile(t *testing.T, file string) *Simulator {
	t.Helper()
	s, err := New(Config{Seed: 1, Secret: secret, File: file})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { _ = s.Close() }) // the tests check the error of their own Close
	return s
}

func TestBook_SurvivesRestart(t *testing.T) {
	t.Parallel()
	file, r := filepath.Join(t.TempDir(), "not there yet", "simulator.json"), newReceiver(t)
	first := withFile(t, file)
	behaves := func(p Plan) bool {
		return p.Answer == "" && p.Callback == "" && p.Refund == "" && p.Status == gateway.Approved
	}
	asked := chargeOf(orderWith(t, behaves), r)
	_, err := gateway.NewClient(first.URL(), 20*time.Second).Charge(t.Context(), asked)
	require.NoError(t, err)
	settled(t, first)
	require.Eventually(t, func() bool { _, err := os.Stat(file); return err == nil }, 60*time.Second, 10*time.Millisecond, "the file is written before Close, too")
	require.NoError(t, first.Close())

	second := withFile(t, file)
	require.Equal(t, first.Book(), second.Book())
	client := gateway.NewClient(second.URL(), 20*time.Second)
	back, err := client.Refund(t.Context(), gateway.Refund{RefundID: "r-1", TransactionKey: asked.TransactionKey, Amount: asked.Amount, Currency: asked.Currency})
	require.NoError(t, err)
	require.Equal(t, gateway.Refunded, back.Status)
	again, err := client.Charge(t.Context(), asked)
	require.NoError(t, err)
	require.Equal(t, gateway.Approved, again.Status)
	require.NoError(t, second.Close())

	book := withFile(t, file).Book()
	require.Len(t, book.Charges, 1)
	require.Equal(t, asked.Amount, book.Charges[0].Refunded)
	require.Len(t, book.Refunds, 1)
	require.Len(t, r.results, 1, "the finished callback is not sent again")
	rest, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, rest, 1, "no temporary file is left")
}

func TestBook_UnansweredCallbackIsSentAfterRestart(t *testing.T) {
	t.Parallel()
	for _, callback := range []string{"", Forged} {
		file, r := filepath.Join(t.TempDir(), "simulator.json"), newReceiver(t)
		r.mu.Lock()
		r.fail = 1_000_000
		r.mu.Unlock()
		first := withFile(t, file)
		order := orderWith(t, func(p Plan) bool { return p.Answer == "" && p.Callback == callback && p.Status == gateway.Approved })
		_, err := gateway.NewClient(first.URL(), 20*time.Second).Charge(t.Context(), chargeOf(order, r))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			c := first.Book().Charges[0].Callbacks
			return len(c) == 1 && c[0].Tries > 0
		}, 60*time.Second, time.Millisecond)
		require.NoError(t, first.Close())
		id := first.Book().Charges[0].Callbacks[0].ID

		r.mu.Lock()
		r.fail = 0
		r.mu.Unlock()
		second := withFile(t, file)
		book := settled(t, second)
		require.Equal(t, id, book.Charges[0].Callbacks[0].ID)
		for _, c := range book.Charges[0].Callbacks {
			require.True(t, c.Done)
		}
		require.NoError(t, second.Close())
		require.Len(t, r.results, 1)
		require.Equal(t, gateway.Approved, r.results[0].Status)
	}
}

func TestBook_UnreadableFileIsReportedAndKept(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "simulator.json")
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	s, err := New(Config{Secret: secret, File: file})
	require.NoError(t, err)
	require.ErrorContains(t, s.Start(), file)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "{", string(data))
}
