package consultationapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation/consultationapi"
)

func TestTransition_HasTargetFromEveryStatus(t *testing.T) {
	t.Parallel()
	require.Len(t, consultationapi.Statuses(), 13)
	require.Len(t, consultationapi.Transitions(), 14)
	for _, from := range consultationapi.Statuses() {
		for _, transition := range consultationapi.Transitions() {
			target, ok := transition.Target(from)
			require.True(t, ok, "%s from %s", transition, from)
			if transition == consultationapi.ReservationChanged {
				require.Equal(t, from, target)
			} else {
				require.Equal(t, "CONSULTATION_"+string(target), string(transition))
			}
		}
		target, ok := consultationapi.To(from).Target(consultationapi.Received)
		require.True(t, ok)
		require.Equal(t, from, target, "To and Target must agree")
	}
}

func TestTransition_UnknownNameHasNoTarget(t *testing.T) {
	t.Parallel()
	for _, name := range []consultationapi.Transition{"", "CONSULTATION_", "CONSULTATION_RESERVATION_CHANGED", "CANCELED", "consultation_canceled"} {
		_, ok := name.Target(consultationapi.Received)
		require.False(t, ok, name)
	}
	_, ok := consultationapi.ReservationChanged.Target("NOWHERE")
	require.False(t, ok)
}

func TestStatus_MapsToOneOfFourCustomerStatuses(t *testing.T) {
	t.Parallel()
	shown := map[consultationapi.CustomerStatus][]consultationapi.Status{}
	for _, s := range consultationapi.Statuses() {
		require.True(t, s.Valid())
		shown[s.Customer()] = append(shown[s.Customer()], s)
	}
	require.Equal(t, map[consultationapi.CustomerStatus][]consultationapi.Status{
		"received":  {"RECEIVED", "CONTACTING", "ABSENT", "COUNSELED", "RECONTACT", "HOLD"},
		"confirmed": {"FIXED"},
		"done":      {"VISITED", "TREATED", "CLOSED"},
		"cancelled": {"NO_SHOW", "CANCELED", "REJECTED"},
	}, shown)
	require.Empty(t, consultationapi.Status("NOWHERE").Customer())
	require.False(t, consultationapi.Status("").Valid())
}

func TestActors_AreThree(t *testing.T) {
	t.Parallel()
	require.Equal(t, []consultationapi.Actor{"MEMBER", "HOSPITAL", "SYSTEM"}, consultationapi.Actors())
	require.False(t, consultationapi.Actor("ROBOT").Valid())
	require.True(t, consultationapi.System.Valid())
}
