package store

import "strings"

// Types that the bus itself gives to rows. No record from outside may have them: see
// Reserved. Each becomes a dead letter with a key of its own, so that nothing waits for
// it.
const (
	// TypeUnreadable is the type of a record that could not be read.
	TypeUnreadable = "unreadable"
	// TypeLost is the type of the first of a row of messages that never arrived.
	TypeLost = "millrace.lost"
	// TypeLostToo is the type of the others. They take no effect and are no dead letters.
	TypeLostToo = "millrace.lost.rest"
	// TypeRefused is the type of a message that cannot be what it claims to be.
	TypeRefused = "millrace.refused"
)

// Metadata of rows with these types.
const (
	MetaBadType     = "badtype"     // of an unreadable record: its type, escaped, if no message may have that type
	MetaRefused     = "refused"     // of a refused message: why
	MetaRefusedType = "refusedtype" // of a refused message: its type
	MetaRefusedID   = "refusedid"   // of a refused message: its ID
)

// Reserved reports whether a type is one of the bus itself, which no record may have.
func Reserved(messageType string) bool {
	return messageType == TypeUnreadable || strings.HasPrefix(messageType, "millrace.")
}

// Hopeless returns why it makes no sense to try a dead letter of a type again, or
// nothing: what stands for messages that never arrived, what nobody could read, and
// what was refused can only be discarded.
func Hopeless(messageType string) (why string) {
	switch {
	case strings.HasPrefix(messageType, TypeLost):
		return "it never arrived, so there is nothing to try: mend what its sender's message should have done, and discard it"
	case messageType == TypeUnreadable:
		return "nobody can read it, so there is nothing to try: have its producer send it again as a CloudEvent with a type of a–z, 0–9, '.', '_' and '-', and discard it"
	case messageType == TypeRefused:
		return "it was refused, so there is nothing to try: do what its error names, and discard it"
	}
	return ""
}
