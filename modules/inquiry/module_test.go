package inquiry_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/inquiry"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
)

func start(t *testing.T) *bustest.Harness {
	t.Helper()
	t.Parallel()
	return bustest.Start(t, func(db *bus.DB) bustest.Module { return inquiry.New(db) })
}

const id = 5621989

var raised = consultationapi.At(time.Date(2025, 3, 29, 6, 38, 32, 0, time.UTC))

func booked(id int64) consultationapi.Created {
	return consultationapi.Created{
		ConsultationID: id, HospitalID: 4848, MemberID: 90210, TxDateTime: raised, RaisedAt: raised,
		StateTransition: consultationapi.To(consultationapi.Received), StateTransitionActor: consultationapi.Member,
	}
}

func moved(id int64, from consultationapi.Status, transition consultationapi.Transition, actor consultationapi.Actor) consultationapi.Changed {
	return consultationapi.Changed{
		ConsultationID: id, HospitalID: 4848, TxDateTime: consultationapi.At(raised.Instant().Add(time.Hour)), RaisedAt: raised,
		StateTransition: transition, StateTransitionActor: actor, PrevState: from,
	}
}

func posted(id int64, card inquiryapi.Card, speaker inquiryapi.Speaker, transition consultationapi.Transition, actor consultationapi.Actor) inquiryapi.CardPosted {
	return inquiryapi.CardPosted{ConsultationID: id, Card: card, Speaker: speaker, Transition: string(transition), Actor: string(actor)}
}

func notificationOf(id int64, template string, actor consultationapi.Actor) notificationapi.Send {
	return notificationapi.Send{
		UserID: "90210", Template: template, Subject: fmt.Sprint(id),
		Params: map[string]string{"consultationId": fmt.Sprint(id), "actor": string(actor)},
	}
}

type transcript struct {
	ConsultationID, MemberID int64
	Next                     int64
	Entries                  []struct {
		Position int64
		ID       string
		Speaker  inquiryapi.Speaker
		Text     string
		Card     *struct {
			Card        inquiryapi.Card
			Transition  consultationapi.Transition
			Actor       consultationapi.Actor
			PrevState   consultationapi.Status
			Title, Text struct{ Ko, En string }
		}
	}
}

func room(t *testing.T, h *bustest.Harness, id int64, query string) (r transcript) {
	t.Helper()
	body := h.Given(fmt.Sprintf("GET /rooms/%d%s", id, query), "").Body.Bytes()
	require.NoError(t, json.Unmarshal(body, &r), "%s", body)
	return r
}

func TestRoom_BookingCreatesRoomWithCardAndNotifiesCustomer(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	h.Then(
		posted(id, inquiryapi.ReservationReceived, inquiryapi.Customer, "CONSULTATION_RECEIVED", "MEMBER"),
		notificationOf(id, "reservation_received", "MEMBER"),
	)
	h.ThenAgainNothing()
	h.ThenRow(`SELECT consultation_id, hospital_id, member_id, last_position FROM room`, id, 4848, 90210, 1)
	h.ThenRow(`SELECT position, card, transition, actor, prev_state IS NULL, at FROM entry`, 1, "reservation_received", "CONSULTATION_RECEIVED", "MEMBER", true, raised.Instant())
	seen := room(t, h, id, "")
	require.Equal(t, "예약 접수", seen.Entries[0].Card.Title.Ko)
	require.Equal(t, "The customer booked a reservation.", seen.Entries[0].Card.Text.En)
}

func TestRoom_ConsultationWithoutBookingCreatesEmptyRoom(t *testing.T) {
	h := start(t)
	opened := booked(id)
	opened.StateTransition, opened.StateTransitionActor = "", ""
	h.When(opened)
	h.ThenNothing()
	require.Empty(t, room(t, h, id, "").Entries)
	require.EqualValues(t, 90210, room(t, h, id, "").MemberID)
}

func TestRoom_ChangeWithoutMovePostsNoCard(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	h.Then(inquiryapi.CardPosted{}, notificationapi.Send{})
	h.When(consultationapi.Changed{ConsultationID: id, HospitalID: 4848, TxDateTime: raised, RaisedAt: raised})
	h.ThenNothing()
	require.Len(t, room(t, h, id, "").Entries, 1)
}

// tour returns a path that visits every pair of statuses once. A pair of a
// status with itself stands for a new reservation time.
func tour() []consultationapi.Status {
	var path []consultationapi.Status
	used := map[[2]consultationapi.Status]bool{}
	var visit func(consultationapi.Status)
	visit = func(from consultationapi.Status) {
		for _, to := range consultationapi.Statuses() {
			if pair := [2]consultationapi.Status{from, to}; !used[pair] {
				used[pair] = true
				visit(to)
			}
		}
		path = append(path, from)
	}
	visit(consultationapi.Received)
	slices.Reverse(path)
	return path
}

// All 13 × 13 moves by each of the three actors: each posts the table's card
// once, with the previous status and in the order of the moves, or no card.
func TestRoom_EachMovePostsItsCardOnceOrNone(t *testing.T) {
	h := start(t)
	table := map[string]struct {
		card    inquiryapi.Card
		speaker inquiryapi.Speaker
	}{
		"CONSULTATION_RECEIVED by MEMBER":   {"reservation_received", "CUSTOMER"},
		"CONSULTATION_FIXED by HOSPITAL":    {"reservation_confirmed", "HOSPITAL"},
		"RESERVATION_CHANGED by MEMBER":     {"reservation_changed", "CUSTOMER"},
		"RESERVATION_CHANGED by HOSPITAL":   {"reservation_changed", "HOSPITAL"},
		"CONSULTATION_CANCELED by HOSPITAL": {"reservation_cancelled", "CUSTOMER"},
		"CONSULTATION_CANCELED by MEMBER":   {"reservation_cancelled", "HOSPITAL"},
	}
	path := tour()
	require.Len(t, path, 13*13+1)
	for n, actor := range consultationapi.Actors() {
		id := int64(id + n)
		opened := booked(id)
		opened.StateTransition, opened.StateTransitionActor = "", ""
		events, published := []any{opened}, []any{}
		var froms []consultationapi.Status
		for i, to := range path[1:] {
			from, transition := path[i], consultationapi.To(to)
			if from == to {
				transition = consultationapi.ReservationChanged
			}
			events = append(events, moved(id, from, transition, actor))
			if row, ok := table[fmt.Sprintf("%s by %s", transition, actor)]; ok {
				froms = append(froms, from)
				published = append(published, posted(id, row.card, row.speaker, transition, actor), notificationOf(id, string(row.card), actor))
			}
		}
		h.When(events...)
		h.Then(published...)
		entries := room(t, h, id, "?limit=200").Entries
		require.Len(t, entries, len(froms))
		for i, e := range entries {
			require.EqualValues(t, i+1, e.Position)
			require.Equal(t, froms[i], e.Card.PrevState)
			require.Equal(t, table[fmt.Sprintf("%s by %s", e.Card.Transition, e.Card.Actor)].speaker, e.Speaker)
		}
	}
	h.ThenNothing()
	h.ThenRow(`SELECT count(*) FROM entry`, 2*(12+13+12)) // by a member and by a hospital: each status is reached from 12 others, and 13 times the time changes
}

func TestRoom_UnknownCustomerGetsCardWithoutNotification(t *testing.T) {
	h := start(t)
	h.When(moved(id, "RECEIVED", "CONSULTATION_FIXED", "HOSPITAL"))
	h.Then(posted(id, inquiryapi.ReservationConfirmed, inquiryapi.Hospital, "CONSULTATION_FIXED", "HOSPITAL"))
	h.ThenNothing()
	h.When(booked(id)) // released late: from now on the customer is known
	h.Then(inquiryapi.CardPosted{Position: 2}, notificationapi.Send{UserID: "90210"})
}

func TestMessage_TextIsStoredAndNotPublished(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	h.Then(inquiryapi.CardPosted{Position: 1}, notificationapi.Send{})
	post := fmt.Sprintf("POST /rooms/%d/messages", id)
	h.Given(post, `{"speaker":"CUSTOMER","text":"canary-text 안녕하세요"}`)
	h.Given(post, `{"speaker":"HOSPITAL","text":"canary-text hello"}`)
	h.Then(
		inquiryapi.MessagePosted{ConsultationID: id, Position: 2, Speaker: inquiryapi.Customer},
		inquiryapi.MessagePosted{ConsultationID: id, Position: 3, Speaker: inquiryapi.Hospital},
	)
	h.When(moved(id, "RECEIVED", "CONSULTATION_CANCELED", "HOSPITAL"))
	h.Then(inquiryapi.CardPosted{Position: 4, Speaker: inquiryapi.Customer, Actor: "HOSPITAL"}, notificationapi.Send{})
	h.ThenRow(`SELECT count(*) FROM log WHERE convert_from(payload, 'UTF8') LIKE '%canary%' OR metadata::text LIKE '%canary%'`, 0)

	seen := room(t, h, id, "")
	require.Len(t, seen.Entries, 4)
	require.Equal(t, "canary-text 안녕하세요", seen.Entries[1].Text)
	require.Nil(t, seen.Entries[1].Card)
	require.Equal(t, "병원이 예약을 취소했습니다.", seen.Entries[3].Card.Text.Ko)
	require.Zero(t, seen.Next)

	page := room(t, h, id, "?after=1&limit=2")
	require.EqualValues(t, 2, page.Entries[0].Position)
	require.EqualValues(t, 3, page.Next)
	require.Len(t, room(t, h, id, fmt.Sprintf("?limit=2&after=%d", page.Next)).Entries, 1)
}

func TestMessage_SameIdempotencyKeyPostsOnce(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	h.Then(inquiryapi.CardPosted{}, notificationapi.Send{})
	post := fmt.Sprintf("POST /rooms/%d/messages", id)
	answers := make([]string, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			answers[i] = h.Do(post, `{"speaker":"CUSTOMER","text":"hello"}`, "Idempotency-Key: k").Body.String()
		})
	}
	all.Wait()
	for _, answer := range answers {
		require.Equal(t, answers[0], answer)
	}
	h.Then(inquiryapi.MessagePosted{Position: 2})
	h.ThenNothing()
	other := h.Do(post, `{"speaker":"CUSTOMER","text":"something else"}`, "Idempotency-Key: k")
	require.Equal(t, 422, other.Code)
	require.Contains(t, other.Body.String(), "header.Idempotency-Key")
	require.Equal(t, 422, h.Do(post, `{"speaker":"CUSTOMER","text":"hi"}`, "Idempotency-Key: "+strings.Repeat("k", 129)).Code)
}

func TestMessage_IdempotencyKeyIsPerSpeaker(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	h.Then(inquiryapi.CardPosted{}, notificationapi.Send{})
	post := fmt.Sprintf("POST /rooms/%d/messages", id)
	for i, speaker := range []string{"CUSTOMER", "HOSPITAL"} {
		body := fmt.Sprintf(`{"speaker":%q,"text":"hello"}`, speaker)
		posted := h.Do(post, body, "Idempotency-Key: k")
		require.Equal(t, 201, posted.Code, posted.Body)
		require.Equal(t, posted.Body.String(), h.Do(post, body, "Idempotency-Key: k").Body.String())
		h.Then(inquiryapi.MessagePosted{Position: int64(i + 2)})
	}
	h.ThenNothing()
}

func TestMessage_InvalidOneIsNotPosted(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	h.Then(inquiryapi.CardPosted{}, notificationapi.Send{})
	post := fmt.Sprintf("POST /rooms/%d/messages", id)
	for _, body := range []string{
		`{"speaker":"CUSTOMER"}`, `{"text":"hello"}`, `{"speaker":"ROBOT","text":"hello"}`, `{"speaker":"CUSTOMER","text":" "}`,
		`{"speaker":"CUSTOMER","text":"` + strings.Repeat("가", 2001) + `"}`, `{"speaker":"CUSTOMER","text":"a\u0000b"}`,
		`{"speaker":"CUSTOMER","text":"\u200b\u3164 \u200d"}`, `{"speaker":"CUSTOMER","text":"a\u0007b"}`, `{"speaker":"CUSTOMER","text":"\u202eb"}`,
		`{"speaker":"CUSTOMER","text":"hello","TEXT":"` + strings.Repeat("x", 3000) + `"}`, `{"speaker":"CUSTOMER","text":"a","text":"b"}`,
	} {
		require.Equal(t, 422, h.Do(post, body).Code, body)
	}
	require.Equal(t, 400, h.Do(post, `{"speaker":"CUSTOMER","text":"\ud800"}`).Code)
	require.Equal(t, 422, h.Do(post, `{"speaker":"CUSTOMER","text":"hello"}`, "Idempotency-Key: a\u200bb").Code)
	require.Equal(t, 404, h.Do("POST /rooms/1/messages", `{"speaker":"CUSTOMER","text":"hello"}`).Code)
	require.Equal(t, 404, h.Do("GET /rooms/1", ``).Code)
	h.ThenNothing()
	require.Len(t, room(t, h, id, "").Entries, 1)
}

func TestMessage_TextIsNormalized(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	h.Then(inquiryapi.CardPosted{}, notificationapi.Send{})
	for typed, want := range map[string]string{
		`\u1112\u1161\u11ab\u1100\u1173\u11af\r\n\t둘째 줄\n`: "한글\n\t둘째 줄",
		`👨\u200d👩\u200d👧 می\u200cخواهم`:                    "👨\u200d👩\u200d👧 می\u200cخواهم",
	} {
		var posted struct{ Text string }
		require.NoError(t, json.Unmarshal(h.Given(fmt.Sprintf("POST /rooms/%d/messages", id), `{"speaker":"CUSTOMER","text":"`+typed+`"}`).Body.Bytes(), &posted))
		require.Equal(t, want, posted.Text)
	}
}

func TestMessage_IfMatchChecksRoomVersion(t *testing.T) {
	h := start(t)
	h.When(booked(id))
	write := fmt.Sprintf("POST /rooms/%d/messages", id)
	read := func() string { return h.Given(fmt.Sprintf("GET /rooms/%d", id), "").Header().Get("ETag") }
	const text = `{"speaker":"HOSPITAL","text":"See you on Friday."}`
	seen := read()
	first := h.Do(write, text, "If-Match: "+seen, "Idempotency-Key: k")
	require.Equal(t, 201, first.Code, "%s", first.Body)
	require.Equal(t, read(), first.Header().Get("ETag"))
	require.NotEqual(t, seen, read())
	again := h.Do(write, text, "If-Match: "+seen, "Idempotency-Key: k")
	require.Equal(t, 201, again.Code, "a copy of the first request")
	require.Equal(t, first.Body.String(), again.Body.String())
	require.Empty(t, again.Header().Get("ETag"))
	stale := h.Do(write, text, "If-Match: "+seen)
	require.Equal(t, 412, stale.Code)
	require.Contains(t, stale.Body.String(), `"current":{"version":`)
	seen = read()
	h.When(moved(id, "RECEIVED", "CONSULTATION_CANCELED", "MEMBER"))
	require.Equal(t, 412, h.Do(write, text, "If-Match: "+seen).Code, "a card was posted in between")
	require.Equal(t, 201, h.Do(write, text).Code)
	require.Equal(t, 404, h.Do("POST /rooms/1/messages", text, "If-Match: *").Code)
	h.ThenRow(`SELECT count(*) FROM entry WHERE text IS NOT NULL`, 2)
}
