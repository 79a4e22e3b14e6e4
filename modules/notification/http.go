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

type (
	newContact struct {
		Email    string   `json:"email" maxLength:"254" example:"kim@example.com"`
		Language language `json:"language" enum:"ko,en" doc:"What the user reads"`
	}
	contactInput struct {
		web.IfMatch
		UserID string `path:"userId" maxLength:"64" pattern:"^[A-Za-z0-9_-]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?$" patternDescription:"letters, digits, '_', '.' or '-', without '.' at either end; no e-mail address or telephone number" example:"1001"`
		Body   newContact
	}
	contactView struct {
		UserID   string   `json:"userId"`
		Language language `json:"language"`
		Released int      `json:"released" doc:"How many notifications had waited for this contact"`
	}
	contactOutput struct {
		ETag string `header:"ETag" doc:"Of the contact, for If-Match"`
		Body contactView
	}

	notificationPath struct {
		ID string `path:"id" format:"uuid"`
	}
	subjectQuery struct {
		web.Page
		Subject string `query:"subject" required:"true" minLength:"1" maxLength:"64" doc:"The order key or the consultation id" example:"goods-17"`
	}
	notificationView struct {
		NotificationID string            `json:"notificationId"`
		UserID         string            `json:"userId"`
		Template       string            `json:"template"`
		Subject        string            `json:"subject"`
		Params         map[string]string `json:"params"`
		CauseID        string            `json:"causeId" doc:"The message that caused it"`
		CauseType      string            `json:"causeType"`
		State          state             `json:"state" enum:"awaiting_contact,queued,collected,sending,sent,failed" doc:"collected: the address got many mails, and this notification waits for a digest of several"`
		Attempts       int               `json:"attempts" doc:"How often the mail server was asked"`
		MessageID      string            `json:"messageId" doc:"The mail's Message-ID; of the digest, if it is in one"`
		DigestID       *uuid.UUID        `json:"digestId,omitempty" format:"uuid" doc:"The digest, a mail of several notifications, that it goes or went with"`
		LastError      string            `json:"lastError,omitempty" doc:"Why it failed, or why all mails are delayed"`
		CreatedAt      time.Time         `json:"createdAt"`
		UpdatedAt      time.Time         `json:"updatedAt"`
		SentAt         *time.Time        `json:"sentAt,omitempty"`
	}
	notificationOutput struct{ Body notificationView }
	listView           struct {
		Notifications []notificationView `json:"notifications" doc:"Newest first"`
		Next          string             `json:"next,omitempty" doc:"There are older ones: ask again with cursor set to this"`
	}
	listOutput struct {
		Link string `header:"Link" doc:"The next page, as <?…>; rel=\"next\""`
		Body listView
	}
)

// Routes registers the module's HTTP operations.
func (m *Module) Routes(api huma.API) {
	tags := []string{"notification"}
	web.Handle(api, huma.Operation{
		OperationID: "set-contact", Method: http.MethodPut, Path: "/contacts/{userId}", Tags: tags,
		Summary: "Set the contact of a user", Description: "Notifications that waited for it are sent. Without If-Match the later contact wins.",
	}, m.setContact)
	web.Handle(api, huma.Operation{
		OperationID: "get-notification", Method: http.MethodGet, Path: "/notifications/{id}", Tags: tags,
		Summary: "Read a notification",
	}, m.getNotification)
	web.Handle(api, huma.Operation{
		OperationID: "list-notifications", Method: http.MethodGet, Path: "/notifications", Tags: tags,
		Summary: "List the notifications of an order or a consultation, newest first",
	}, m.listNotifications)
}

func (m *Module) setContact(ctx context.Context, in *contactInput) (*contactOutput, error) {
	released, version, err := m.service.setContact(ctx, in.Expect(""), contact{UserID: in.UserID, Email: in.Body.Email, Language: in.Body.Language})
	if err != nil {
		return nil, err
	}
	return &contactOutput{ETag: web.ETag(version), Body: contactView{UserID: in.UserID, Language: in.Body.Language, Released: released}}, nil
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
	scope := "notifications of " + in.Subject
	behind, err := web.Behind(in.Page, scope, uuid.Max)
	if err != nil {
		return nil, err
	}
	found, err := list(ctx, m.service.db, in.Subject, behind, in.Fetch())
	if err != nil {
		return nil, err
	}
	shown, next := web.Cut(in.Page, scope, found, func(n notification) uuid.UUID { return n.ID })
	out := listView{Notifications: make([]notificationView, len(shown)), Next: next.Cursor}
	for i, n := range shown {
		out.Notifications[i] = m.view(n)
	}
	return &listOutput{Link: next.Link, Body: out}, nil
}

func (m *Module) view(n notification) notificationView {
	v := notificationView{
		NotificationID: n.ID.String(), UserID: n.UserID, Template: n.Template, Subject: n.Subject, Params: n.Params,
		CauseID: n.CauseID.String(), CauseType: n.CauseType, State: n.State, Attempts: n.Attempts,
		MessageID: m.service.sender.MessageID(n.mailID().String()), DigestID: n.DigestID, LastError: n.LastError,
		CreatedAt: n.CreatedAt.UTC(), UpdatedAt: n.UpdatedAt.UTC(),
	}
	if delayed := m.service.mails.Delayed(); delayed != nil && (n.State == queued || n.State == sending) {
		v.LastError = delayed.Error()
	}
	if n.SentAt != nil {
		at := n.SentAt.UTC()
		v.SentAt = &at
	}
	return v
}
