package consultationapi

import "errors"

// Validate returns an error that names every invalid field, or nil. The bus calls
// it before any handler. It accepts unknown transitions, actors and statuses,
// because a newer release may add some.
func (e Created) Validate() error {
	return errors.Join(positive("consultationId", e.ConsultationID), positive("hospitalId", e.HospitalID), positive("memberId", e.MemberID))
}

// Validate works like [Created.Validate].
func (e Changed) Validate() error {
	return errors.Join(positive("consultationId", e.ConsultationID), positive("hospitalId", e.HospitalID))
}

func positive(field string, id int64) error {
	if id <= 0 {
		return errors.New(field + ": must be an id, more than 0")
	}
	return nil
}
