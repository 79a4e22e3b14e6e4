package notification_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The list of an order with more notifications than one page is newest first,
// and shows each once, also when new ones are added between two pages.
func TestListNotifications_PagesAreNewestFirstAndComplete(t *testing.T) {
	t.Parallel()
	b := setup(t)
	insert := func(first, last string) string {
		return `WITH made AS (
			INSERT INTO notifications (id, cause_id, cause_type, user_id, template, subject, params, state)
			SELECT ('01930e5c-0a00-7000-8000-' || lpad(n::text, 12, '0'))::uuid, gen_random_uuid(), 'payment.completed', '1001', 'payment_completed', 'goods-17', '{}', 'awaiting_contact'
			FROM generate_series(` + first + `, ` + last + `) n RETURNING id) SELECT count(*) FROM made`
	}
	b.ThenRow(insert("1", "250"), 250)

	type page struct {
		Notifications []struct {
			NotificationID string `json:"notificationId"`
		} `json:"notifications"`
		Next string `json:"next"`
	}
	read := func(route string) (p page, link string) {
		response := b.Given(route, "")
		require.NoError(t, json.Unmarshal(response.Body.Bytes(), &p))
		return p, response.Header().Get("Link")
	}
	var ids []string
	route := "/notifications?subject=goods-17"
	for route != "" {
		p, link := read("GET " + route)
		require.LessOrEqual(t, len(p.Notifications), 100)
		require.LessOrEqual(t, len(ids), 250, "the pages end")
		for _, n := range p.Notifications {
			ids = append(ids, n.NotificationID)
		}
		if len(ids) == 100 {
			b.ThenRow(insert("251", "260"), 10)
		}
		require.Equal(t, p.Next != "", link != "")
		route = ""
		if link != "" {
			query, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
			route = "/notifications" + query
		}
	}
	require.Len(t, ids, 250)
	require.Equal(t, "01930e5c-0a00-7000-8000-000000000250", ids[0])
	require.Equal(t, "01930e5c-0a00-7000-8000-000000000001", ids[249])
	require.IsDecreasing(t, ids)

	first, _ := read("GET /notifications?subject=goods-17&limit=3")
	require.Len(t, first.Notifications, 3)
	require.Equal(t, "01930e5c-0a00-7000-8000-000000000260", first.Notifications[0].NotificationID)
	for _, query := range []string{"subject=goods-18&cursor=" + first.Next, "subject=goods-17&cursor=x"} {
		response := b.Do("GET /notifications?"+query, "")
		require.Equal(t, http.StatusUnprocessableEntity, response.Code)
		require.Contains(t, response.Body.String(), `"query.cursor"`)
	}
	for _, query := range []string{"limit=0", "limit=201"} {
		require.Contains(t, b.Do("GET /notifications?subject=goods-17&"+query, "").Body.String(), `"query.limit"`)
	}
}
