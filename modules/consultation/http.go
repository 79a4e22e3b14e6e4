package consultation

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
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
		Memo          string                `json:"memo,omitempty" maxLength:"2000" format:"multiline"`
	}
	createInput struct {
		web.IdempotencyKey
		Body newConsultation
	}

	consultationFields struct {
		VisitorName *string `json:"visitorName,omitempty" maxLength:"100"`
		Phone       *string `json:"phone,omitempty" maxLength:"30"`
		Memo        *string `json:"memo,omitempty" maxLength:"2000" format:"multiline"`
	}
	changeInput struct {
		web.IfMatch
		ExpectedStatus consultationapi.Status `query:"expectedStatus" enum:"RECEIVED,CONTACTING,ABSENT,COUNSELED,RECONTACT,HOLD,FIXED,VISITED,TREATED,CLOSED,NO_SHOW,CANCELED,REJECTED" doc:"Make the change only in this status; otherwise 409, with the present state in current"`
		ID             int64                  `path:"id" minimum:"1" doc:"The consultation's id"`
		Body           consultationFields
	}

	newMove struct {
		To            consultationapi.Status `json:"to,omitempty" enum:"RECEIVED,CONTACTING,ABSENT,COUNSELED,RECONTACT,HOLD,FIXED,VISITED,TREATED,CLOSED,NO_SHOW,CANCELED,REJECTED" doc:"The new status"`
		ReservationAt *time.Time             `json:"reservationAt,omitempty" doc:"Instead of to: the reservation's new time, in a year from 1900 to 9999 in UTC; the status stays"`
		Actor         consultationapi.Actor  `json:"actor" enum:"MEMBER,HOSPITAL,SYSTEM" doc:"Who decided it"`
	}
	moveInput struct {
		web.IfMatch
		web.IdempotencyKey
		ExpectedStatus consultationapi.Status `query:"expectedStatus" enum:"RECEIVED,CONTACTING,ABSENT,COUNSELED,RECONTACT,HOLD,FIXED,VISITED,TREATED,CLOSED,NO_SHOW,CANCELED,REJECTED" doc:"Make the move only from this status; otherwise 409, with the present state in current"`
		ID             int64                  `path:"id" minimum:"1" doc:"The consultation's id"`
		Body           newMove
	}

	moveOutput struct {
		ETag string `header:"ETag" doc:"Of the consultation, for If-Match"`
		Body move
	}

	movesInput struct {
		web.Page
		ID int64 `path:"id" minimum:"1" doc:"The consultation's id"`
	}
	movesView struct {
		Moves []move `json:"moves" doc:"Newest first"`
		Next  string `json:"next,omitempty" doc:"There are older ones: ask again with cursor set to this"`
	}
	movesOutput struct {
		Link string `header:"Link" doc:"The next page, as <?…>; rel=\"next\""`
		Body movesView
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
		Version        int64                          `json:"version" doc:"Grows with every change, also of a deposit; in quotes, it is the ETag"`
		Deposits       []deposit                      `json:"deposits"`
		History        []move                         `json:"history" doc:"The newest 100 moves, oldest first; GET /consultations/{id}/moves has every one"`
		Truncated      []string                       `json:"truncated,omitempty" enum:"history,deposits" doc:"Lists that have older entries than the 100 that are shown"`
	}
	viewOutput struct {
		ETag string `header:"ETag" doc:"Of the consultation, for If-Match"`
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
		RejectUnknownQueryParameters: true,
		Summary:                      "Change fields of a consultation",
		Description:                  "Fields that are left out keep their value. The status is changed by a move. Without a condition (If-Match, expectedStatus) the later change wins.",
	}, m.change)
	web.Handle(api, huma.Operation{
		OperationID: "move-consultation", Method: http.MethodPost, Path: "/consultations/{id}/moves", DefaultStatus: http.StatusCreated, Tags: tags,
		RejectUnknownQueryParameters: true,
		Summary:                      "Move a consultation to another status, or its reservation to another time",
		Description: "Any status may move to any other, and without a condition (If-Match, expectedStatus) the later move wins. Refused with 409: the status that it is in already, or the time that it has; " +
			"FIXED, or a new time, while it is cancelled (NO_SHOW, CANCELED, REJECTED), until another move has re-opened it; FIXED while its deposit is refunded or being refunded, until it is paid again.",
	}, m.move)
	web.Handle(api, huma.Operation{
		OperationID: "get-consultation", Method: http.MethodGet, Path: "/consultations/{id}", Tags: tags,
		Summary: "Read a consultation with its history",
	}, m.get)
	web.Handle(api, huma.Operation{
		OperationID: "list-moves", Method: http.MethodGet, Path: "/consultations/{id}/moves", Tags: tags,
		Summary: "List the moves of a consultation, newest first",
	}, m.moves)
}

func (m *Module) create(ctx context.Context, in *createInput) (*viewOutput, error) {
	if in.Body.OpenedBy == "" {
		in.Body.OpenedBy = consultationapi.Member
	}
	b := in.Body
	if fault := paymentapi.UserIDFault(strconv.FormatInt(b.MemberID, 10)); fault != "" { // the member's mails go to the contact with this id
		return nil, errs.InvalidField("memberId", "%s", fault)
	}
	at, err := reservationTime(b.ReservationAt)
	if err != nil {
		return nil, err
	}
	c := consultation{
		hospitalID: b.HospitalID, memberID: b.MemberID, openedBy: b.OpenedBy, reservationAt: at,
		fields: fields{visitorName: b.VisitorName, phone: b.Phone, memo: b.Memo},
	}
	by := fmt.Sprintf("member %d", b.MemberID)
	if b.OpenedBy == consultationapi.Hospital {
		by = fmt.Sprintf("hospital %d", b.HospitalID)
	}
	r, err := web.NewRequest("create", by, in.Key, b)
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
	now, err := m.service.change(ctx, in.ID, in.Expect(string(in.ExpectedStatus)), edit)
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
	r, err := web.NewRequest(fmt.Sprintf("move %d", in.ID), string(b.Actor), in.Key, b)
	if err != nil {
		return nil, err
	}
	made, version, err := m.service.move(ctx, r, in.ID, in.Expect(string(in.ExpectedStatus)), moveRequest{to: b.To, actor: b.Actor, reservationAt: at})
	if err != nil {
		return nil, err
	}
	return &moveOutput{ETag: web.ETag(version), Body: made}, nil
}

func (m *Module) get(ctx context.Context, in *getInput) (*viewOutput, error) {
	r, err := read(ctx, m.service.db, in.ID)
	if err != nil {
		return nil, err
	}
	return r.view(), nil
}

func (m *Module) moves(ctx context.Context, in *movesInput) (*movesOutput, error) {
	scope := fmt.Sprintf("moves of consultation %d", in.ID)
	before, err := web.Behind(in.Page, scope, int64(math.MaxInt64))
	if err != nil {
		return nil, err
	}
	found, err := newestMoves(ctx, m.service.db, in.ID, before, in.Fetch())
	if err != nil {
		return nil, err
	}
	out := &movesOutput{}
	shown, next := web.Cut(in.Page, scope, found, func(m move) int64 { return m.Position })
	out.Body.Moves, out.Body.Next, out.Link = shown, next.Cursor, next.Link
	return out, nil
}

// view returns the API's representation of a consultation.
func (r record) view() *viewOutput {
	return &viewOutput{ETag: web.ETag(r.version), Body: consultationView{
		ID: r.id, HospitalID: r.hospitalID, MemberID: r.memberID, OpenedBy: r.openedBy,
		Status: r.status, CustomerStatus: r.status.Customer(), ReservationAt: r.reservationAt,
		VisitorName: r.fields.visitorName, Phone: r.fields.phone, Memo: r.fields.memo,
		RaisedAt: r.raisedAt, ChangedAt: r.changedAt, Version: r.version, Deposits: r.deposits, History: r.history, Truncated: r.truncated,
	}}
}

func set(field, value *string) {
	if value != nil {
		*field = *value
	}
}
