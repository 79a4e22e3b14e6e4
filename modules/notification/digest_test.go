package notification

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/notification/notificationapi"
	"millrace/platform/errs"
)

func at(n notification, subject string, minute int) notification {
	n.Subject, n.CreatedAt = subject, time.Date(2026, 11, 29, 5, minute, 0, 0, time.UTC)
	return n
}

func TestDigest_ListsStatusAndChangesOfEachReservation(t *testing.T) {
	t.Parallel()
	members := []notification{
		at(example(notificationapi.ReservationReceived), "18", 1),
		at(example(notificationapi.ReservationReceived), "17", 2),
		at(example(notificationapi.ReservationConfirmed), "17", 3),
		at(example(notificationapi.ReservationCancelled), "17", 4),
	}
	ko, err := renderDigest(members, korean)
	require.NoError(t, err)
	require.Equal(t, "예약 알림 4건을 모아 보내 드립니다", ko.Title)
	require.Equal(t, `짧은 시간에 예약이 여러 번 바뀌어 알림 4건을 한 번에 보내 드립니다.

상담 번호: 17
현재 상태: 11월 29일(일) 14:04 예약이 취소되었습니다
이전 변경:
- 11월 29일(일) 14:03 예약이 확정되었습니다
- 11월 29일(일) 14:02 예약이 접수되었습니다

상담 번호: 18
현재 상태: 11월 29일(일) 14:01 예약이 접수되었습니다

자세한 내용은 상담 채팅에서 확인해 주세요.

이 메일은 발신 전용입니다.`, ko.Text)
	en, err := renderDigest(members, english)
	require.NoError(t, err)
	require.Equal(t, "4 updates on your reservations", en.Title)
	require.Equal(t, `Your reservations changed several times within a few minutes, so here are 4 updates in one email.

Consultation: 17
Current status: Sun 29 Nov, 14:04: Your reservation was cancelled
Before that:
- Sun 29 Nov, 14:03: Your reservation is confirmed
- Sun 29 Nov, 14:02: Your reservation was received

Consultation: 18
Current status: Sun 29 Nov, 14:01: Your reservation was received

Please see the chat for the details.

Please do not reply to this email: this address is not monitored.`, en.Text)
	for range 20 {
		members = append(members, at(example(notificationapi.ReservationChanged), "17", 5))
	}
	ko, err = renderDigest(members, korean)
	require.NoError(t, err)
	require.Contains(t, ko.Text, "\n- 그 밖에 13건\n")
}

func TestDigest_ListsEachReceiptWithItsAmount(t *testing.T) {
	t.Parallel()
	var members []notification
	for i := range 30 {
		n := at(example(paymentCompleted), "goods-17", i)
		n.Params[paramAmount] = strconv.Itoa(15000 + i)
		members = append(members, n)
	}
	members = append(members, at(example(deliveryShipped), "goods-18", 40))
	r, err := renderDigest(members, korean)
	require.NoError(t, err)
	require.Contains(t, r.Text, "주문 번호: goods-18\n- 11월 29일(일) 14:40 상품이 발송되었습니다\n\n주문 번호: goods-17\n- 11월 29일(일) 14:29 결제가 완료되었습니다, 15,029원\n")
	require.Contains(t, r.Text, "14:00 결제가 완료되었습니다, 15,000원")
	members[0].Params[paramAmount] = "much"
	_, err = renderDigest(members, english)
	require.Equal(t, errs.Invalid, errs.KindOf(err))
}

func TestDigest_OfOneNotificationIsItsOrdinaryMail(t *testing.T) {
	t.Parallel()
	n := example(paymentCompleted)
	alone, err := render(n, korean)
	require.NoError(t, err)
	digest, err := renderDigest([]notification{n}, korean)
	require.NoError(t, err)
	require.Equal(t, alone, digest)
}
