package consultationapi

import "strconv"

// Created is published when a consultation was created. For a booking the
// transition is CONSULTATION_RECEIVED by MEMBER, without a previous state. A
// consultation that the hospital opened has no transition, because nobody booked
// it.
type Created struct {
	ConsultationID       int64      `json:"consultationId"`
	HospitalID           int64      `json:"hospitalId"`
	MemberID             int64      `json:"memberId"`
	TxDateTime           Time       `json:"txDateTime"`
	RaisedAt             Time       `json:"raisedAt"`
	StateTransition      Transition `json:"stateTransition,omitempty"`
	StateTransitionActor Actor      `json:"stateTransitionActor,omitempty"`
}

// EventName is the name on the wire.
func (Created) EventName() string { return "consultation.created" }

// Key is the decimal consultation id.
func (e Created) Key() string { return Key(e.ConsultationID) }

// DataSchema names the payload's format.
func (Created) DataSchema() string { return "consultation.created/1-fat" }

// Changed is published when a consultation changed. The last three fields describe
// the move; they are absent if the status did not move.
type Changed struct {
	ConsultationID       int64      `json:"consultationId"`
	HospitalID           int64      `json:"hospitalId"`
	TxDateTime           Time       `json:"txDateTime"`
	RaisedAt             Time       `json:"raisedAt"`
	StateTransition      Transition `json:"stateTransition,omitempty"`
	StateTransitionActor Actor      `json:"stateTransitionActor,omitempty"`
	PrevState            Status     `json:"prevState,omitempty"`
}

// EventName is the name on the wire.
func (Changed) EventName() string { return "consultation.changed" }

// Key is the decimal consultation id.
func (e Changed) Key() string { return Key(e.ConsultationID) }

// DataSchema names the payload's format. In "/1-fat" a missing transition means
// that the status did not move. In the older "/1-thin", which has ids and times
// only, it means nothing.
func (Changed) DataSchema() string { return "consultation.changed/1-fat" }

// Key returns the key of every message about a consultation: its decimal id.
func Key(consultationID int64) string { return strconv.FormatInt(consultationID, 10) }
