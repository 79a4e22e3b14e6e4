package inquiry_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/inquiry/inquiryapi"
	"millrace/modules/notification/notificationapi"
)

func TestRoom_PagesOfEntriesAreNewestFirstAndComplete(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	h.Then(inquiryapi.CardPosted{}, notificationapi.Send{})
	h.ThenRow(`WITH made AS (
		INSERT INTO entry (room_id, position, id, speaker, at, text)
		SELECT room.id, n, gen_random_uuid(), 'CUSTOMER', now(), 'message ' || n FROM room, generate_series(2, 150) n RETURNING 1)
		SELECT count(*) FROM made`, 149)

	var positions []int64
	cursor := ""
	for {
		var page struct {
			Entries []struct {
				Position int64
				Text     string
				Card     *struct{ Title struct{ Ko string } }
			}
			Next string
		}
		require.NoError(t, json.Unmarshal(h.Given(fmt.Sprintf("GET /rooms/%d/entries?limit=70%s", id, cursor), "").Body.Bytes(), &page))
		for _, e := range page.Entries {
			positions = append(positions, e.Position)
			require.Equal(t, e.Position == 1, e.Card != nil)
		}
		require.LessOrEqual(t, len(positions), 150, "the pages end")
		if page.Next == "" {
			break
		}
		cursor = "&cursor=" + page.Next
	}
	require.Len(t, positions, 150)
	require.EqualValues(t, 150, positions[0])
	require.IsDecreasing(t, positions)
	require.Equal(t, 404, h.Do("GET /rooms/1/entries", "").Code)
	require.Equal(t, 422, h.Do(fmt.Sprintf("GET /rooms/%d/entries?cursor=150", id), "").Code)
}
