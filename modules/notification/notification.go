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

// state is the state of a notification.
type state string

// The states. sent and failed are final.
const (
	awaitingContact state = "awaiting_contact" // the user has no contact yet
	queued          state = "queued"
	collected       state = "collected" // over the recipient's limit: waits for a digest
	sending         state = "sending"   // an attempt to send it has started
	sent            state = "sent"      // the mail server accepted it
	failed          state = "failed"    // refused permanently, or all attempts used
)

// notification is one e-mail to one user.
type notification struct {
	ID        uuid.UUID
	CauseID   uuid.UUID // ID of the message that caused it
	CauseType string
	UserID    string
	Template  string
	Subject   string // order key or consultation ID
	Params    map[string]string
	State     state
	Attempts  int // number of attempts to send it
	LastError string
	CreatedAt time.Time
	UpdatedAt time.Time
	SentAt    *time.Time
	Recipient string     // hash of the mailbox that it was counted for, see recipientOf
	DigestID  *uuid.UUID // the digest that contains it, if any
}

// mailID returns the ID of the mail that contains the notification: the
// digest's ID, else its own.
func (n notification) mailID() uuid.UUID {
	if n.DigestID != nil {
		return *n.DigestID
	}
	return n.ID
}

// Templates of the events that the module subscribes to. The templates of the
// command notification.send are in notificationapi.
const (
	paymentCompleted  = "payment_completed"
	paymentFailed     = "payment_failed"
	paymentRefunded   = "payment_refunded"
	deliveryShipped   = "delivery_shipped"
	deliveryDelivered = "delivery_delivered"
)

// Names of template parameters.
const (
	paramOrderKind      = "orderKind"
	paramAmount         = "amount" // minor units, decimal
	paramCurrency       = "currency"
	paramReason         = "reason"
	paramCarrier        = "carrier"
	paramTrackingNumber = "trackingNumber"
)

// templates lists the parameters that each template requires.
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

// onRequest lists the templates that notification.send may name. The others
// belong to events that the module subscribes to; allowing them would send the
// same mail twice.
var onRequest = []string{
	notificationapi.ReservationReceived, notificationapi.ReservationConfirmed,
	notificationapi.ReservationChanged, notificationapi.ReservationCancelled,
}

var actors = []string{"MEMBER", "HOSPITAL", "SYSTEM"}

// userIDForm is the form of a user ID in a message. It is wider than what new
// orders and contacts may use (paymentapi.UserIDFault), because older orders
// were paid before that rule.
var userIDForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// check returns an error for a notification that could never become a mail, so
// that the message that caused it is rejected at once.
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
