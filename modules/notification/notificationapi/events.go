package notificationapi

// Sent says that the mail server accepted a notification. Key: its subject.
type Sent struct {
	NotificationID string `json:"notificationId"`
	UserID         string `json:"userId"`
	Template       string `json:"template"`
	Subject        string `json:"subject"` // the order key or the consultation id
	CauseID        string `json:"causeId"` // the id of the message that it tells of
}

// Failed says that a notification was given up: the mail server refused it for
// good, or was tried as often as is allowed. Key: its subject.
type Failed struct {
	NotificationID string `json:"notificationId"`
	UserID         string `json:"userId"`
	Template       string `json:"template"`
	Subject        string `json:"subject"`
	CauseID        string `json:"causeId"`
	Reason         string `json:"reason"` // the server's code, without the address
}

// EventName is the event's stable name.
func (Sent) EventName() string { return "notification.sent" }

// Key is what the notification is about.
func (e Sent) Key() string { return e.Subject }

// EventName is the event's stable name.
func (Failed) EventName() string { return "notification.failed" }

// Key is what the notification is about.
func (e Failed) Key() string { return e.Subject }
