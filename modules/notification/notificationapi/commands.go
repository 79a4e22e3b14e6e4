package notificationapi

// The templates that Send may name. Each exists in Korean and in English. The
// user's language decides which is sent.
const (
	ReservationReceived  = "reservation_received"  // 예약 접수
	ReservationConfirmed = "reservation_confirmed" // 예약 확정
	ReservationChanged   = "reservation_changed"   // 예약 변경
	ReservationCancelled = "reservation_cancelled" // 예약 취소
)

// The parameters of the reservation templates. Both are required.
const (
	ParamConsultationID = "consultationId" // decimal
	ParamActor          = "actor"          // who decided: MEMBER, HOSPITAL or SYSTEM
)

// Send asks for one notification to a user. A template that does not exist, or
// a parameter that it needs and does not get, makes the command a dead letter.
// Key: what the notification is about.
type Send struct {
	UserID   string            `json:"userId"`
	Template string            `json:"template"`
	Subject  string            `json:"subject"` // the order key or the consultation id
	Params   map[string]string `json:"params"`  // ids and facts, no personal data
}

// CommandName is the command's stable name.
func (Send) CommandName() string { return "notification.send" }

// Key is what the notification is about.
func (c Send) Key() string { return c.Subject }
