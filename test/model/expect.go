package model

// expectation is the model: everything that was said, in memory.
type expectation struct {
	said    map[int]known
	entries map[string][]int // topic → numbers in commit order, repetitions too
	ears    map[string]*ear
}

// known is what the model knows of a message.
type known struct {
	Kind string // paid, noted, rung, pack
	Key  string
}

// ear is a subscriber.
type ear struct {
	hears     map[string]reach
	fails     map[int]bool // fails whenever it is tried, until it is mended
	discarded map[int]bool
	early     map[int]bool // what it had come to of that which it may hear or not; nil: not known yet
}

// reach says which entries of a type a subscriber hears: those from certain on,
// and perhaps those from perhaps on.
type reach struct{ perhaps, certain int }

func newExpectation() *expectation {
	store := &ear{hears: map[string]reach{"paid": {}, "rung": {}, "pack": {}}, fails: map[int]bool{}, discarded: map[int]bool{}}
	return &expectation{said: map[int]known{}, entries: map[string][]int{}, ears: map[string]*ear{"store": store}}
}

func (e *expectation) commit(b body, kind string) {
	e.said[b.N] = known{kind, b.K}
	topic := topics[kind]
	e.entries[topic] = append(e.entries[topic], b.N)
}

// repeat says once more whatever was said in a topic.
func (e *expectation) repeat(topic string) {
	e.entries[topic] = append(e.entries[topic], e.entries[topic]...)
}

// outcomes are what became of messages at one subscriber.
type outcomes struct {
	effects map[string][]int // topic and key → numbers, in order
	aside   map[int]string   // dead, held, discarded
}

// of tells what must have become of everything at a subscriber. had tells of a
// message that it may hear or not whether it did; nil is no.
func (e *expectation) of(subscriber string, had func(n int) bool) outcomes {
	all := outcomes{map[string][]int{}, map[int]string{}}
	s := e.ears[subscriber]
	for topic, entries := range e.entries {
		decided, blocked := map[int]bool{}, map[string]bool{}
		for i, n := range entries {
			m := e.said[n]
			r, hears := s.hears[m.Kind]
			switch {
			case !hears || i < r.perhaps || decided[n]:
				continue
			case i < r.certain && s.early != nil && !s.early[n], i < r.certain && s.early == nil && (had == nil || !had(n)):
				continue
			}
			decided[n] = true
			switch place := topic + " " + m.Key; {
			case s.discarded[n]:
				all.aside[n] = "discarded"
			case blocked[m.Key]:
				all.aside[n] = "held"
			case s.fails[n]:
				all.aside[n] = "dead"
				blocked[m.Key] = true
			default:
				all.effects[place] = append(all.effects[place], n)
			}
		}
	}
	return all
}
