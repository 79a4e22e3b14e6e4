package inquiry

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/platform/errs"
)

// want repeats the table in the words of the wire format, so that a mistake in
// the table is found.
var want = map[move]statusCard{
	{"CONSULTATION_RECEIVED", "MEMBER"}:   {card: "reservation_received", speaker: "CUSTOMER"},
	{"CONSULTATION_FIXED", "HOSPITAL"}:    {card: "reservation_confirmed", speaker: "HOSPITAL"},
	{"RESERVATION_CHANGED", "MEMBER"}:     {card: "reservation_changed", speaker: "CUSTOMER"},
	{"RESERVATION_CHANGED", "HOSPITAL"}:   {card: "reservation_changed", speaker: "HOSPITAL"},
	{"CONSULTATION_CANCELED", "HOSPITAL"}: {card: "reservation_cancelled", speaker: "CUSTOMER"},
	{"CONSULTATION_CANCELED", "MEMBER"}:   {card: "reservation_cancelled", speaker: "HOSPITAL"},
}

func TestStatusCards_HaveTheExpectedSixRows(t *testing.T) {
	t.Parallel()
	require.Len(t, statusCards, 6)
	pairs := 0
	for _, transition := range consultationapi.Transitions() {
		for _, actor := range consultationapi.Actors() {
			pairs++
			expected, has := want[move{transition, actor}]
			row, ok := statusCards[move{transition, actor}]
			require.Equal(t, has, ok, "%s by %s", transition, actor)
			require.Equal(t, expected.card, row.card)
			require.Equal(t, expected.speaker, row.speaker)
			require.Equal(t, string(expected.card), row.template, "the notification is the card's")
		}
	}
	require.Equal(t, 42, pairs)
}

// A card's side does not show who acted, so its text must.
func TestStatusCards_TextNamesActorInBothLanguages(t *testing.T) {
	t.Parallel()
	names := map[consultationapi.Actor]words{consultationapi.Member: {"고객님이", "The customer"}, consultationapi.Hospital: {"병원이", "The hospital"}}
	titles := map[inquiryapi.Card]string{
		inquiryapi.ReservationReceived: "예약 접수", inquiryapi.ReservationConfirmed: "예약 확정",
		inquiryapi.ReservationChanged: "예약 변경", inquiryapi.ReservationCancelled: "예약 취소",
	}
	for who, row := range statusCards {
		require.True(t, strings.HasPrefix(row.text.Korean, names[who.actor].Korean), row.text.Korean)
		require.True(t, strings.HasPrefix(row.text.English, names[who.actor].English), row.text.English)
		require.Equal(t, titles[row.card], row.title.Korean)
		require.NotEmpty(t, row.title.English)
	}
}

func TestMessageCheck_ErrorNamesInvalidField(t *testing.T) {
	t.Parallel()
	for field, bad := range map[string][]newMessage{
		"speaker": {{speaker: "ROBOT", text: "hello"}},
		"text":    {{speaker: "CUSTOMER"}, {speaker: "CUSTOMER", text: " \n\t"}, {speaker: "CUSTOMER", text: strings.Repeat("가", 2001)}, {speaker: "CUSTOMER", text: "a\x00b"}},
	} {
		for _, s := range bad {
			require.Equal(t, errs.Invalid, errs.KindOf(s.check()))
			require.Equal(t, field, errs.FieldOf(s.check()))
		}
	}
	require.NoError(t, newMessage{speaker: "HOSPITAL", text: strings.Repeat("가", 2000)}.check())
}
