package notificationapi

// Sent is published when the mail server accepted a notification. Key: Subject.
type Sent struct {
	NotificationID string `json:"notificationId"`
	UserID         string `json:"userId"`
	Template       string `json:"template"`
	Subject        string `json:"subject"` // order key or consultation ID
	CauseID        string `json:"causeId"` // ID of the message that caused the notification
}

// Failed is published when a notification is given up: the mail server refused
// it permanently, or all attempts were used. Key: Subject.
type Failed struct {
	NotificationID string `json:"notificationId"`
	UserID         string `json:"userId"`
	Template       string `json:"template"`
	Subject        string `json:"subject"`
	CauseID        string `json:"causeId"`
	Reason         string `json:"reason"` // the mail server's code, without the address
}

// EventName returns the name of the event on the wire.
func (Sent) EventName() string { return "notification.sent" }

// Key returns the subject.
func (e Sent) Key() string { return e.Subject }

// EventName returns the name of the event on the wire.
func (Failed) EventName() string { return "notification.failed" }

// Key returns the subject.
func (e Failed) Key() string { return e.Subject }
