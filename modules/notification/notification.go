package notification

import (
	"maps"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"millrace/modules/notification/notificationapi"
	"millrace/platform/errs"
)

// state is where a notification stands.
type state string

// The states. One that is sent or failed stays so.
const (
	awaitingContact state = "awaiting_contact" // nobody said where the user is reached
	queued          state = "queued"
	sending         state = "sending" // the mail server was asked, or is about to be
	sent            state = "sent"    // the mail server accepted it
	failed          state = "failed"  // refused for good, or tried as often as is allowed
)

// notification is one mail to one user.
type notification struct {
	ID        uuid.UUID
	CauseID   uuid.UUID // the message that it tells of
	CauseType string
	UserID    string
	Template  string
	Subject   string // the order key or the consultation id
	Params    map[string]string
	State     state
	Attempts  int // how often the mail server was asked
	LastError string
	CreatedAt time.Time
	UpdatedAt time.Time
	SentAt    *time.Time
}

// The templates of what the module hears. Those of the command notification.send
// are in its contract.
const (
	paymentCompleted  = "payment_completed"
	paymentFailed     = "payment_failed"
	paymentRefunded   = "payment_refunded"
	deliveryShipped   = "delivery_shipped"
	deliveryDelivered = "delivery_delivered"
)

// The parameters.
const (
	paramOrderKind      = "orderKind"
	paramAmount         = "amount" // minor units, decimal
	paramCurrency       = "currency"
	paramReason         = "reason"
	paramCarrier        = "carrier"
	paramTrackingNumber = "trackingNumber"
)

// templates is what each template needs.
var templates = map[string][]string{
	paymentCompleted:  {paramOrderKind, paramAmount, paramCurrency},
	paymentFailed:     {paramOrderKind, paramAmount, paramCurrency, paramReason},
	paymentRefunded:   {paramOrderKind, paramAmount, paramCurrency, paramReason},
	deliveryShipped:   {paramCarrier, paramTrackingNumber},
	deliveryDelivered: {paramCarrier, paramTrackingNumber},

	notificationapi.ReservationReceived:  {notificationapi.ParamConsultationID, notificationapi.ParamActor},
	notificationapi.ReservationConfirmed: {notificationapi.ParamConsultationID, notificationapi.ParamActor},
	notificationapi.ReservationChanged:   {notificationapi.ParamConsultationID, notificationapi.ParamActor},
	notificationapi.ReservationCancelled: {notificationapi.ParamConsultationID, notificationapi.ParamActor},
}

// onRequest are the templates that notification.send may name. The others tell
// of events that the module hears by itself, and would be sent twice.
var onRequest = []string{
	notificationapi.ReservationReceived, notificationapi.ReservationConfirmed,
	notificationapi.ReservationChanged, notificationapi.ReservationCancelled,
}

var actors = []string{"MEMBER", "HOSPITAL", "SYSTEM"}

var userIDForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// check refuses what could never become a mail, while its cause is still known.
func (n notification) check() error {
	if !userIDForm.MatchString(n.UserID) {
		return errs.InvalidField("userId", "%q is not 1 to 64 letters, digits, '_', '.' and '-'", n.UserID)
	}
	needs, known := templates[n.Template]
	if !known {
		return errs.InvalidField("template", "%q is none of %q", n.Template, slices.Sorted(maps.Keys(templates)))
	}
	for _, name := range needs {
		if _, given := n.Params[name]; !given {
			return errs.InvalidField("params."+name, "is required by %s", n.Template)
		}
	}
	const most, longest = 20, 300
	if len(n.Params) > most {
		return errs.InvalidField("params", "has %d entries, the limit is %d", len(n.Params), most)
	}
	for name, value := range n.Params {
		if utf8.RuneCountInString(name)+utf8.RuneCountInString(value) > longest {
			return errs.InvalidField("params", "has an entry of more than %d characters", longest)
		}
	}
	if actor, given := n.Params[notificationapi.ParamActor]; given {
		if !slices.Contains(actors, actor) {
			return errs.InvalidField("params."+notificationapi.ParamActor, "%q is none of %q", actor, actors)
		}
	}
	return nil
}
