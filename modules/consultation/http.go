package consultation

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"millrace/modules/consultation/consultationapi"
	"millrace/platform/errs"
	"millrace/platform/web"
)

type (
	getInput struct {
		ID int64 `path:"id" minimum:"1" doc:"The consultation's id"`
	}
	newConsultation struct {
		HospitalID    int64                 `json:"hospitalId" minimum:"1" maximum:"9007199254740991"`
		MemberID      int64                 `json:"memberId" minimum:"1" maximum:"9007199254740991" doc:"The customer"`
		OpenedBy      consultationapi.Actor `json:"openedBy,omitempty" enum:"MEMBER,HOSPITAL" default:"MEMBER" doc:"MEMBER books; HOSPITAL opens a consultation without a booking"`
		ReservationAt *time.Time            `json:"reservationAt,omitempty" doc:"RFC 3339, to the second; a year from 1900 to 9999, in UTC"`
		VisitorName   string                `json:"visitorName,omitempty" maxLength:"100"`
		Phone         string                `json:"phone,omitempty" maxLength:"30"`
		Memo          string                `json:"memo,omitempty" maxLength:"2000"`
	}
	createInput struct {
		Key  string `header:"Idempotency-Key" maxLength:"128" doc:"Makes it safe to repeat this request: a copy with the same key has no second effect and gets the first one's answer"`
		Body newConsultation
	}

	consultationFields struct {
		VisitorName *string `json:"visitorName,omitempty" maxLength:"100"`
		Phone       *string `json:"phone,omitempty" maxLength:"30"`
		Memo        *string `json:"memo,omitempty" maxLength:"2000"`
	}
	changeInput struct {
		ID   int64 `path:"id" minimum:"1" doc:"The consultation's id"`
		Body consultationFields
	}

	newMove struct {
		To            consultationapi.Status `json:"to,omitempty" enum:"RECEIVED,CONTACTING,ABSENT,COUNSELED,RECONTACT,HOLD,FIXED,VISITED,TREATED,CLOSED,NO_SHOW,CANCELED,REJECTED" doc:"The new status"`
		ReservationAt *time.Time             `json:"reservationAt,omitempty" doc:"Instead of to: the reservation's new time, in a year from 1900 to 9999 in UTC; the status stays"`
		Actor         consultationapi.Actor  `json:"actor" enum:"MEMBER,HOSPITAL,SYSTEM" doc:"Who decided it"`
	}
	moveInput struct {
		ID   int64  `path:"id" minimum:"1" doc:"The consultation's id"`
		Key  string `header:"Idempotency-Key" maxLength:"128" doc:"Makes it safe to repeat this request: a copy with the same key has no second effect and gets the first one's answer"`
		Body newMove
	}

	moveOutput struct {
		Body move
	}

	consultationView struct {
		ID             int64                          `json:"consultationId"`
		HospitalID     int64                          `json:"hospitalId"`
		MemberID       int64                          `json:"memberId"`
		OpenedBy       consultationapi.Actor          `json:"openedBy"`
		Status         consultationapi.Status         `json:"status" doc:"As the hospital sees it"`
		CustomerStatus consultationapi.CustomerStatus `json:"customerStatus" enum:"received,confirmed,done,cancelled" doc:"As the customer sees it"`
		ReservationAt  *time.Time                     `json:"reservationAt,omitempty"`
		VisitorName    string                         `json:"visitorName"`
		Phone          string                         `json:"phone"`
		Memo           string                         `json:"memo"`
		RaisedAt       time.Time                      `json:"raisedAt"`
		ChangedAt      time.Time                      `json:"changedAt"`
		Deposits       []deposit                      `json:"deposits"`
		History        []move                         `json:"history" doc:"Every move, oldest first"`
	}
	viewOutput struct {
		Body consultationView
	}
)

// Routes registers the module's operations.
func (m *Module) Routes(api huma.API) {
	tags := []string{"consultation"}
	web.Handle(api, huma.Operation{
		OperationID: "create-consultation", Method: http.MethodPost, Path: "/consultations", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Raise a consultation", Description: "A customer's is a booking: it is received, and its chat shows the card.",
	}, m.create)
	web.Handle(api, huma.Operation{
		OperationID: "change-consultation", Method: http.MethodPatch, Path: "/consultations/{id}", Tags: tags,
		Summary: "Change fields of a consultation", Description: "Fields that are left out keep their value. The status is changed by a move.",
	}, m.change)
	web.Handle(api, huma.Operation{
		OperationID: "move-consultation", Method: http.MethodPost, Path: "/consultations/{id}/moves", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary:     "Move a consultation to another status, or its reservation to another time",
		Description: "Any status may move to any other. The status that it is in already, or the time that it has, is refused with 409.",
	}, m.move)
	web.Handle(api, huma.Operation{
		OperationID: "get-consultation", Method: http.MethodGet, Path: "/consultations/{id}", Tags: tags,
		Summary: "Read a consultation with its history",
	}, m.get)
}

func (m *Module) create(ctx context.Context, in *createInput) (*viewOutput, error) {
	if in.Body.OpenedBy == "" {
		in.Body.OpenedBy = consultationapi.Member
	}
	b := in.Body
	at, err := reservationTime(b.ReservationAt)
	if err != nil {
		return nil, err
	}
	c := consultation{
		hospitalID: b.HospitalID, memberID: b.MemberID, openedBy: b.OpenedBy, reservationAt: at,
		fields: fields{visitorName: b.VisitorName, phone: b.Phone, memo: b.Memo},
	}
	if err := storable(c.fields); err != nil {
		return nil, err
	}
	r, err := newRequest(in.Key, "create", b)
	if err != nil {
		return nil, err
	}
	made, err := m.service.create(ctx, r, c)
	if err != nil {
		return nil, err
	}
	return made.view(), nil
}

func (m *Module) change(ctx context.Context, in *changeInput) (*viewOutput, error) {
	b := in.Body
	if b.VisitorName == nil && b.Phone == nil && b.Memo == nil {
		return nil, errs.InvalidField("body", "give at least one of visitorName, phone and memo")
	}
	edit := func(f fields) fields {
		set(&f.visitorName, b.VisitorName)
		set(&f.phone, b.Phone)
		set(&f.memo, b.Memo)
		return f
	}
	if err := storable(edit(fields{})); err != nil {
		return nil, err
	}
	now, err := m.service.change(ctx, in.ID, edit)
	if err != nil {
		return nil, err
	}
	return now.view(), nil
}

func (m *Module) move(ctx context.Context, in *moveInput) (*moveOutput, error) {
	b := in.Body
	at, err := reservationTime(b.ReservationAt)
	if err != nil {
		return nil, err
	}
	r, err := newRequest(in.Key, fmt.Sprintf("move %d", in.ID), b)
	if err != nil {
		return nil, err
	}
	made, err := m.service.move(ctx, r, in.ID, wish{to: b.To, actor: b.Actor, reservationAt: at})
	if err != nil {
		return nil, err
	}
	return &moveOutput{Body: made}, nil
}

func (m *Module) get(ctx context.Context, in *getInput) (*viewOutput, error) {
	r, err := read(ctx, m.service.db, in.ID)
	if err != nil {
		return nil, err
	}
	return r.view(), nil
}

// view is what is told of a consultation.
func (r record) view() *viewOutput {
	return &viewOutput{Body: consultationView{
		ID: r.id, HospitalID: r.hospitalID, MemberID: r.memberID, OpenedBy: r.openedBy,
		Status: r.status, CustomerStatus: r.status.Customer(), ReservationAt: r.reservationAt,
		VisitorName: r.fields.visitorName, Phone: r.fields.phone, Memo: r.fields.memo,
		RaisedAt: r.raisedAt, ChangedAt: r.changedAt, Deposits: r.deposits, History: r.history,
	}}
}

// storable refuses the one character that PostgreSQL cannot keep in a text.
func storable(f fields) error {
	for name, value := range map[string]string{"visitorName": f.visitorName, "phone": f.phone, "memo": f.memo} {
		if strings.ContainsRune(value, 0) {
			return errs.InvalidField(name, "contains the character U+0000")
		}
	}
	return nil
}

func set(field, value *string) {
	if value != nil {
		*field = *value
	}
}
