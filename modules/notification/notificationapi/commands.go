package notificationapi

// The templates that Send may name. Each exists in Korean and English; the
// user's language decides which one is sent.
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

// Send asks for one notification to a user. An unknown template or a missing
// parameter makes the command a dead letter. Key: Subject.
type Send struct {
	UserID   string            `json:"userId"`
	Template string            `json:"template"`
	Subject  string            `json:"subject"` // order key or consultation ID
	Params   map[string]string `json:"params"`  // IDs and facts, no personal data
}

// CommandName returns the name of the command on the wire.
func (Send) CommandName() string { return "notification.send" }

// Key returns the subject.
func (c Send) Key() string { return c.Subject }
