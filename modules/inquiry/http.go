package inquiry

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/platform/web"
)

type (
	newRoomMessage struct {
		Speaker inquiryapi.Speaker `json:"speaker" enum:"CUSTOMER,HOSPITAL"`
		Text    string             `json:"text" minLength:"1" maxLength:"2000" format:"multiline"`
	}
	postInput struct {
		web.IfMatch
		web.IdempotencyKey
		ID   int64 `path:"id" minimum:"1" doc:"The consultation's id"`
		Body newRoomMessage
	}

	transcriptInput struct {
		ID    int64 `path:"id" minimum:"1" doc:"The consultation's id"`
		After int64 `query:"after" minimum:"0" doc:"Only entries after this position"`
		Limit int   `query:"limit" minimum:"1" maximum:"200" default:"200"`
	}

	entriesInput struct {
		web.Page
		ID int64 `path:"id" minimum:"1" doc:"The consultation's id"`
	}

	// roomCard is a status card as the API returns it.
	roomCard struct {
		Card       inquiryapi.Card            `json:"card" enum:"reservation_received,reservation_confirmed,reservation_changed,reservation_cancelled"`
		Transition consultationapi.Transition `json:"transition" doc:"What happened"`
		Actor      consultationapi.Actor      `json:"actor" doc:"Who decided it"`
		PrevState  consultationapi.Status     `json:"prevState,omitempty" doc:"The status before; absent for a booking"`
		Title      words                      `json:"title"`
		Text       words                      `json:"text"`
	}
	roomEntry struct {
		Position int64              `json:"position" doc:"1, 2, 3, … in the room"`
		ID       string             `json:"id" format:"uuid"`
		Speaker  inquiryapi.Speaker `json:"speaker" enum:"CUSTOMER,HOSPITAL" doc:"The side on which it appears"`
		At       time.Time          `json:"at"`
		Card     *roomCard          `json:"card,omitempty" doc:"Of a status card"`
		Text     string             `json:"text,omitempty" doc:"Of a message"`
	}
	roomTranscript struct {
		RoomID         string      `json:"roomId" format:"uuid"`
		ConsultationID int64       `json:"consultationId"`
		HospitalID     int64       `json:"hospitalId"`
		MemberID       *int64      `json:"memberId,omitempty" doc:"The customer; absent while it is not known"`
		Entries        []roomEntry `json:"entries" doc:"In order"`
		Next           int64       `json:"next,omitempty" doc:"There may be more: ask again with after set to this"`
	}

	entriesView struct {
		Entries []roomEntry `json:"entries" doc:"Newest first"`
		Next    string      `json:"next,omitempty" doc:"There are older ones: ask again with cursor set to this"`
	}
	entriesOutput struct {
		Link string `header:"Link" doc:"The next page, as <?…>; rel=\"next\""`
		Body entriesView
	}
	entryOutput struct {
		ETag string `header:"ETag" doc:"Of the chat, for If-Match"`
		Body roomEntry
	}
	transcriptOutput struct {
		ETag string `header:"ETag" doc:"Of the chat, whatever part of it is shown, for If-Match"`
		Body roomTranscript
	}
)

// Routes registers the module's HTTP operations.
func (m *Module) Routes(api huma.API) {
	tags := []string{"inquiry"}
	web.Handle(api, huma.Operation{
		OperationID: "get-room", Method: http.MethodGet, Path: "/rooms/{id}", Tags: tags,
		Summary: "Read the chat of a consultation", Description: "Cards in Korean and English, and messages, in order from the first one, or from after on, to follow a chat. " +
			"GET /rooms/{id}/entries has the newest ones first. A room opens a moment after its consultation.",
	}, m.transcript)
	web.Handle(api, huma.Operation{
		OperationID: "list-room-entries", Method: http.MethodGet, Path: "/rooms/{id}/entries", Tags: tags,
		Summary: "List the cards and messages of a chat, newest first",
	}, m.entries)
	web.Handle(api, huma.Operation{
		OperationID: "post-message", Method: http.MethodPost, Path: "/rooms/{id}/messages", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Write in the chat of a consultation", Description: "With If-Match, only if nothing was written since.",
	}, m.post)
}

func (m *Module) post(ctx context.Context, in *postInput) (*entryOutput, error) {
	posted, version, err := m.service.post(ctx, in.ID, in.Key, in.Expect(""), newMessage{speaker: in.Body.Speaker, text: in.Body.Text})
	if err != nil {
		return nil, err
	}
	return &entryOutput{ETag: web.ETag(version), Body: shown(posted)}, nil
}

func (m *Module) transcript(ctx context.Context, in *transcriptInput) (*transcriptOutput, error) {
	r, entries, err := transcript(ctx, m.service.db, in.ID, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	t := roomTranscript{
		RoomID: r.id.String(), ConsultationID: r.consultationID, HospitalID: r.hospitalID, MemberID: r.memberID,
		Entries: make([]roomEntry, len(entries)),
	}
	for i, e := range entries {
		t.Entries[i] = shown(e)
	}
	if len(entries) == in.Limit {
		t.Next = entries[len(entries)-1].Position
	}
	return &transcriptOutput{ETag: web.ETag(r.version), Body: t}, nil
}

func (m *Module) entries(ctx context.Context, in *entriesInput) (*entriesOutput, error) {
	scope := fmt.Sprintf("entries of room %d", in.ID)
	before, err := web.Behind(in.Page, scope, int64(math.MaxInt64))
	if err != nil {
		return nil, err
	}
	found, err := newest(ctx, m.service.db, in.ID, before, in.Fetch())
	if err != nil {
		return nil, err
	}
	page, next := web.Cut(in.Page, scope, found, func(e entry) int64 { return e.Position })
	out := entriesView{Entries: make([]roomEntry, len(page)), Next: next.Cursor}
	for i, e := range page {
		out.Entries[i] = shown(e)
	}
	return &entriesOutput{Link: next.Link, Body: out}, nil
}

func shown(e entry) roomEntry {
	s := roomEntry{Position: e.Position, ID: e.ID.String(), Speaker: e.Speaker, At: e.At.UTC(), Text: e.Text}
	if e.Card != "" {
		row := statusCards[move{e.Transition, e.Actor}]
		s.Card = &roomCard{
			Card: e.Card, Transition: e.Transition, Actor: e.Actor, PrevState: e.PrevState, Title: row.title, Text: row.text,
		}
	}
	return s
}
