package model

// expectation is the model: all committed messages, in memory.
type expectation struct {
	committed   map[int]known
	entries     map[string][]int // topic → numbers in commit order, including redeliveries
	subscribers map[string]*subscriber
}

// known is what the model knows of a message.
type known struct {
	Kind string // paid, noted, rung, pack
	Key  string
}

// subscriber is the model of a subscriber.
type subscriber struct {
	types     map[string]reach // by message type
	fails     map[int]bool     // these messages fail in every attempt, until they are fixed
	discarded map[int]bool
	early     map[int]bool // which of the optional messages it has handled; nil: not known yet
}

// reach has two positions in a topic's entries: from certain on, the subscriber must
// handle messages of a type; between perhaps and certain it may.
type reach struct{ perhaps, certain int }

func newExpectation() *expectation {
	store := &subscriber{types: map[string]reach{"paid": {}, "rung": {}, "pack": {}}, fails: map[int]bool{}, discarded: map[int]bool{}}
	return &expectation{committed: map[int]known{}, entries: map[string][]int{}, subscribers: map[string]*subscriber{"store": store}}
}

func (e *expectation) commit(b body, kind string) {
	e.committed[b.N] = known{kind, b.K}
	topic := topics[kind]
	e.entries[topic] = append(e.entries[topic], b.N)
}

// repeat records that everything in a topic was delivered again.
func (e *expectation) repeat(topic string) {
	e.entries[topic] = append(e.entries[topic], e.entries[topic]...)
}

// outcomes are the outcomes of all messages at one subscriber.
type outcomes struct {
	effects map[string][]int // topic and key → numbers, in order
	parked  map[int]string   // dead, blocked, discarded
}

// of returns the required outcomes at a subscriber. had reports whether it has
// handled a message that it may handle or not; nil means it has handled none.
func (e *expectation) of(name string, had func(n int) bool) outcomes {
	all := outcomes{map[string][]int{}, map[int]string{}}
	s := e.subscribers[name]
	for topic, entries := range e.entries {
		decided, blocked := map[int]bool{}, map[string]bool{}
		for i, n := range entries {
			m := e.committed[n]
			r, subscribed := s.types[m.Kind]
			switch {
			case !subscribed || i < r.perhaps || decided[n]:
				continue
			case i < r.certain && s.early != nil && !s.early[n], i < r.certain && s.early == nil && (had == nil || !had(n)):
				continue
			}
			decided[n] = true
			switch place := topic + " " + m.Key; {
			case s.discarded[n]:
				all.parked[n] = "discarded"
			case blocked[m.Key]:
				all.parked[n] = "blocked"
			case s.fails[n]:
				all.parked[n] = "dead"
				blocked[m.Key] = true
			default:
				all.effects[place] = append(all.effects[place], n)
			}
		}
	}
	return all
}
