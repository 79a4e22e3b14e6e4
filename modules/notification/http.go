package notification

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"millrace/platform/errs"
	"millrace/platform/web"
)

// listed is how many notifications of a subject are shown.
const listed = 100

type (
	newContact struct {
		Email    string   `json:"email" maxLength:"254" example:"kim@example.com"`
		Language language `json:"language" enum:"ko,en" doc:"What the user reads"`
	}
	contactInput struct {
		UserID string `path:"userId" maxLength:"64" pattern:"^[A-Za-z0-9_.-]+$" patternDescription:"letters, digits, '_', '.' and '-'" example:"1001"`
		Body   newContact
	}
	contactView struct {
		UserID   string   `json:"userId"`
		Language language `json:"language"`
		Released int      `json:"released" doc:"How many notifications had waited for this contact"`
	}
	contactOutput struct{ Body contactView }

	notificationPath struct {
		ID string `path:"id" format:"uuid"`
	}
	subjectQuery struct {
		Subject string `query:"subject" required:"true" minLength:"1" maxLength:"64" doc:"The order key or the consultation id" example:"goods-17"`
	}
	notificationView struct {
		NotificationID string            `json:"notificationId"`
		UserID         string            `json:"userId"`
		Template       string            `json:"template"`
		Subject        string            `json:"subject"`
		Params         map[string]string `json:"params"`
		CauseID        string            `json:"causeId" doc:"The message that it tells of"`
		CauseType      string            `json:"causeType"`
		State          state             `json:"state" enum:"awaiting_contact,queued,sending,sent,failed"`
		Attempts       int               `json:"attempts" doc:"How often the mail server was asked"`
		MessageID      string            `json:"messageId" doc:"The mail's Message-ID"`
		LastError      string            `json:"lastError,omitempty"`
		CreatedAt      time.Time         `json:"createdAt"`
		UpdatedAt      time.Time         `json:"updatedAt"`
		SentAt         *time.Time        `json:"sentAt,omitempty"`
	}
	notificationOutput struct{ Body notificationView }
	listView           struct {
		Notifications []notificationView `json:"notifications" doc:"Oldest first, at most 100"`
	}
	listOutput struct{ Body listView }
)

// Routes registers the module's operations.
func (m *Module) Routes(api huma.API) {
	tags := []string{"notification"}
	web.Handle(api, huma.Operation{
		OperationID: "set-contact", Method: http.MethodPut, Path: "/contacts/{userId}", Tags: tags,
		Summary: "Say where a user is reached", Description: "Notifications that waited for it are sent.",
	}, m.setContact)
	web.Handle(api, huma.Operation{
		OperationID: "get-notification", Method: http.MethodGet, Path: "/notifications/{id}", Tags: tags,
		Summary: "Read a notification",
	}, m.getNotification)
	web.Handle(api, huma.Operation{
		OperationID: "list-notifications", Method: http.MethodGet, Path: "/notifications", Tags: tags,
		Summary: "List the notifications of an order or a consultation",
	}, m.listNotifications)
}

func (m *Module) setContact(ctx context.Context, in *contactInput) (*contactOutput, error) {
	released, err := m.service.setContact(ctx, contact{UserID: in.UserID, Email: in.Body.Email, Language: in.Body.Language})
	if err != nil {
		return nil, err
	}
	return &contactOutput{contactView{UserID: in.UserID, Language: in.Body.Language, Released: released}}, nil
}

func (m *Module) getNotification(ctx context.Context, in *notificationPath) (*notificationOutput, error) {
	id, err := uuid.Parse(in.ID)
	if err != nil {
		return nil, errs.InvalidField("id", "is not a UUID")
	}
	n, err := find(ctx, m.service.db, id)
	if err != nil {
		return nil, err
	}
	return &notificationOutput{m.view(n)}, nil
}

func (m *Module) listNotifications(ctx context.Context, in *subjectQuery) (*listOutput, error) {
	found, err := list(ctx, m.service.db, in.Subject, listed)
	if err != nil {
		return nil, err
	}
	out := listView{Notifications: make([]notificationView, len(found))}
	for i, n := range found {
		out.Notifications[i] = m.view(n)
	}
	return &listOutput{out}, nil
}

func (m *Module) view(n notification) notificationView {
	v := notificationView{
		NotificationID: n.ID.String(), UserID: n.UserID, Template: n.Template, Subject: n.Subject, Params: n.Params,
		CauseID: n.CauseID.String(), CauseType: n.CauseType, State: n.State, Attempts: n.Attempts,
		MessageID: m.service.sender.MessageID(n.ID.String()), LastError: n.LastError,
		CreatedAt: n.CreatedAt.UTC(), UpdatedAt: n.UpdatedAt.UTC(),
	}
	if n.SentAt != nil {
		at := n.SentAt.UTC()
		v.SentAt = &at
	}
	return v
}
