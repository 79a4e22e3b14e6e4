package arch

import "regexp"

// weakens matches advice to do without encryption, or without proof of who the
// server is.
var weakens = regexp.MustCompile(`(?i)(use|write|set|try|need|needs|with|or|to) sslmode=(disable|allow|prefer|require)\b|` +
	`(switch|turn)(ing)?( the)? (TLS|SSL|encryption) off|(switch|turn) off( the)? (TLS|SSL|encryption)|disable (TLS|SSL|encryption)|` +
	`correct mail\.smtp\.tls|(use|write|set|try)( \S+)?( to)? plaintext|skip.?verify`)

// noTextSwitchesEncryptionOff: what an error or a help text advises is done, so
// none advises to encrypt less.
func noTextSwitchesEncryptionOff(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if s.test || within(s.path, "test") {
			continue
		}
		eachString(s.ast, func(text string) {
			if found := weakens.FindString(text); found != "" {
				fault("%s: %q advises to encrypt less", s.path, found)
			}
		})
	}
}
