package consultation_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConsultation_HistoryIsBoundedAndMovesListAll(t *testing.T) {
	h := start(t)
	id := book(t, h)
	h.ThenRow(fmt.Sprintf(`WITH made AS (
		INSERT INTO history (consultation_id, position, transition, actor, from_status, to_status, at)
		SELECT %d, n, 'RESERVATION_CHANGED', 'HOSPITAL', 'RECEIVED', 'RECEIVED', now() FROM generate_series(2, 230) n RETURNING 1),
		paid AS (INSERT INTO deposit (payment_id, consultation_id, amount, currency, state, paid_at)
		SELECT gen_random_uuid(), %d, n, 'KRW', 'refunded', now() + n * interval '1 second' FROM generate_series(1, 120) n RETURNING 1)
		SELECT (SELECT count(*) FROM made), (SELECT count(*) FROM paid)`, id, id), 229, 120)

	var view struct {
		History   []struct{ Position int64 }
		Deposits  []struct{ Amount int64 }
		Truncated []string
	}
	require.NoError(t, json.Unmarshal(h.Given(one(id), "").Body.Bytes(), &view))
	require.Equal(t, []string{"history", "deposits"}, view.Truncated)
	require.Len(t, view.History, 100)
	require.EqualValues(t, 131, view.History[0].Position)
	require.EqualValues(t, 230, view.History[99].Position)
	require.Len(t, view.Deposits, 100)
	require.EqualValues(t, 120, view.Deposits[99].Amount)

	var positions []int64
	cursor := ""
	for {
		var page struct {
			Moves []struct{ Position int64 }
			Next  string
		}
		require.NoError(t, json.Unmarshal(h.Given(fmt.Sprintf("GET /consultations/%d/moves?limit=60%s", id, cursor), "").Body.Bytes(), &page))
		for _, m := range page.Moves {
			positions = append(positions, m.Position)
		}
		require.LessOrEqual(t, len(positions), 230, "the pages end")
		if page.Next == "" {
			break
		}
		cursor = "&cursor=" + page.Next
	}
	require.Len(t, positions, 230)
	require.IsDecreasing(t, positions)

	other := book(t, h)
	require.Equal(t, 422, h.Do(fmt.Sprintf("GET /consultations/%d/moves?limit=60%s", other, cursor), "").Code, "a cursor of another consultation")
	require.Equal(t, 404, h.Do("GET /consultations/1/moves", "").Code)
	require.NotContains(t, h.Given(one(other), "").Body.String(), "truncated")
}
