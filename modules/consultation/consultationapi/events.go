package consultationapi

import "strconv"

// Created says that a consultation was raised. For a booking the transition is
// CONSULTATION_RECEIVED by MEMBER, without a previous state, because there was
// none. A consultation that the hospital opened by itself carries no
// transition: nobody booked anything.
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

// DataSchema names the form of the payload.
func (Created) DataSchema() string { return "consultation.created/1-fat" }

// Changed says that a consultation is different now. If its status moved, the
// last three fields say how; if they are absent, it did not.
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

// DataSchema names the form of the payload: in "/1-fat" the absence of a
// transition means that the status did not move. A "/1-thin" payload, ids and
// times only, would not tell.
func (Changed) DataSchema() string { return "consultation.changed/1-fat" }

// Key is the key of every message about a consultation: its id in decimal.
func Key(consultationID int64) string { return strconv.FormatInt(consultationID, 10) }
