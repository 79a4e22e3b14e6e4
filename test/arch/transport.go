package arch

import (
	"regexp"
	"strings"
)

// transports are words that tell how messages travel: the libraries, our parts
// around them, and the tables that only one of them fills.
var transports = regexp.MustCompile(`(?i)kafka|sarama|franz-go|\bkgo\b|fakebroker|sqltransport|watermill-sql|watermill-kafka|\b(inbound|outbox)\b`)

// modulesKnowNoTransport: nothing under modules/ imports, names or mentions a
// transport, its tests and migrations included, and of the bus a module sees
// only what an author calls. So no handler can depend on it.
func modulesKnowNoTransport(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if !within(s.dir(), "modules") {
			continue
		}
		for _, imported := range s.imports {
			part, inside := strings.CutPrefix(own(imported), "platform/bus/")
			if inside && part != "bustest" {
				fault("%s: a module imports %s; of the bus it may import package bus, and bustest in tests", s.path, imported)
			}
		}
	}
	for name, text := range t.texts {
		if !within(name, "modules") {
			continue
		}
		if word := transports.FindString(text); word != "" {
			fault("%s: %q tells how messages travel; a module does not know", name, word)
		}
	}
}
