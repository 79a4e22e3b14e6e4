package consultation

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation/consultationapi"
	"millrace/platform/errs"
)

var noon = time.Date(2026, 4, 5, 3, 0, 0, 0, time.UTC)

func TestConsultation_AnyMoveIsAllowedExceptByTheTwoGuards(t *testing.T) {
	t.Parallel()
	for _, from := range consultationapi.Statuses() {
		for _, to := range consultationapi.Statuses() {
			for _, actor := range consultationapi.Actors() {
				c := consultation{id: 5600000, status: from, moves: 4, version: 9, reservationAt: &noon}
				made, err := c.next(moveRequest{to: to, actor: actor}, noDeposit)
				if from == to || to == consultationapi.Fixed && cancelledGroup(from) {
					require.Equal(t, errs.Conflict, errs.KindOf(err), "%s to %s", from, to)
					require.Equal(t, &errs.State{Status: string(from), Version: 9}, errs.StateOf(err))
					continue
				}
				require.NoError(t, err)
				require.Equal(t, move{
					Position: 5, Transition: consultationapi.To(to), Actor: actor, From: from, To: to, ReservationAt: &noon,
				}, made)
			}
		}
	}
}

func TestConsultation_CanBeConfirmedUnlessDepositWasRefunded(t *testing.T) {
	t.Parallel()
	for deposit, confirmed := range map[depositState]bool{noDeposit: true, depositPaid: true, refundRequested: false, depositRefunded: false} {
		for _, actor := range consultationapi.Actors() {
			c := consultation{status: consultationapi.Received}
			_, err := c.next(moveRequest{to: consultationapi.Fixed, actor: actor}, deposit)
			require.Equal(t, confirmed, err == nil, "%q: %v", deposit, err)
			_, err = c.next(moveRequest{to: consultationapi.Visited, actor: actor}, deposit)
			require.NoError(t, err, "only the confirmation is refused")
		}
	}
}

func TestConsultation_NewTimeIsAMoveToTheSameStatus(t *testing.T) {
	t.Parallel()
	later := noon.Add(time.Hour)
	for _, status := range consultationapi.Statuses() {
		for _, before := range []*time.Time{nil, &noon} {
			for _, actor := range consultationapi.Actors() {
				made, err := consultation{status: status, reservationAt: before}.next(moveRequest{actor: actor, reservationAt: &later}, noDeposit)
				if cancelledGroup(status) {
					require.Equal(t, errs.Conflict, errs.KindOf(err), status)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, move{
					Position: 1, Transition: consultationapi.ReservationChanged, Actor: actor, From: status, To: status, ReservationAt: &later,
				}, made)
			}
		}
	}
	same := noon
	_, err := consultation{status: consultationapi.Fixed, reservationAt: &noon}.next(moveRequest{actor: consultationapi.Member, reservationAt: &same}, noDeposit)
	require.Equal(t, errs.Conflict, errs.KindOf(err), "the current time is a conflict")
}

func TestConsultation_InvalidMoveNamesTheField(t *testing.T) {
	t.Parallel()
	c := consultation{status: consultationapi.Received}
	for field, w := range map[string]moveRequest{
		"actor":         {to: consultationapi.Fixed, actor: "ROBOT"},
		"to":            {actor: consultationapi.Member},
		"reservationAt": {to: consultationapi.Fixed, actor: consultationapi.Member, reservationAt: &noon},
	} {
		_, err := c.next(w, noDeposit)
		require.Equal(t, errs.Invalid, errs.KindOf(err))
		require.Equal(t, field, errs.FieldOf(err))
	}
	_, err := c.next(moveRequest{to: "NOWHERE", actor: consultationapi.Member}, noDeposit)
	require.Equal(t, "to", errs.FieldOf(err))
}

func TestOnDeposit_ReactionDependsOnStatus(t *testing.T) {
	t.Parallel()
	want := map[consultationapi.Status]reaction{
		consultationapi.Received: confirm, consultationapi.Contacting: confirm, consultationapi.Absent: confirm,
		consultationapi.Counseled: confirm, consultationapi.Recontact: confirm, consultationapi.Hold: confirm,
		consultationapi.Fixed: onlyRecord, consultationapi.Visited: onlyRecord, consultationapi.Treated: onlyRecord,
		consultationapi.Closed: onlyRecord, consultationapi.NoShow: onlyRecord,
		consultationapi.Canceled: giveBack, consultationapi.Rejected: giveBack,
	}
	require.Len(t, want, len(consultationapi.Statuses()))
	for _, status := range consultationapi.Statuses() {
		require.Equal(t, want[status], onDeposit(status), status)
	}
}

func TestConsultationOf_AcceptsDepositOrderKeysOnly(t *testing.T) {
	t.Parallel()
	id, err := consultationOf(depositOrder(5621989))
	require.NoError(t, err)
	require.EqualValues(t, 5621989, id)
	for _, key := range []string{"", "deposit-", "deposit-0", "deposit-007", "deposit-+7", "deposit--7", "deposit-7x", "7", "goods-7", "deposit-99999999999999999999"} {
		_, err := consultationOf(key)
		require.Equal(t, errs.Invalid, errs.KindOf(err), key)
	}
}
