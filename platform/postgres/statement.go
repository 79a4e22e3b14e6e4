package postgres

import (
	"regexp"
	"slices"
	"strings"
)

// EndsTransaction reports whether an SQL text contains a statement that ends the current
// transaction: COMMIT, END, ABORT, ROLLBACK (except to a savepoint), PREPARE TRANSACTION. It
// splits the text like PostgreSQL's lexer with standard_conforming_strings on, so strings,
// quoted names, dollar-quoted bodies, function bodies and comments do not count. It does not
// detect a procedure that commits; the server refuses that inside a transaction.
func EndsTransaction(query string) bool {
	if start := strings.TrimSpace(query); !strings.Contains(start, ";") && !strings.ContainsRune("CcEeAaRrPp-/", first(start)) {
		return false // true for most texts
	}
	var words []string // the first three words of the statement, in upper case
	body := 0          // the number of open BEGIN and CASE in a function's body
	for query != "" {
		token := tokens.FindString(query)
		query = query[len(token):]
		word := strings.ToUpper(token)
		switch {
		case token == ";" && body == 0:
			if ends(words) {
				return true
			}
			words = nil
		case strings.HasPrefix(token, "/*"):
			query = afterComment(query)
		case strings.HasPrefix(token, "--"), strings.TrimSpace(token) == "":
		case strings.HasPrefix(token, "$") && len(token) > 1:
			_, query, _ = strings.Cut(query, token)
		case len(words) < 3:
			words = append(words, word)
		case words[0] == "CREATE" && (word == "BEGIN" || word == "CASE" && body > 0):
			body++
		case word == "END" && body > 0:
			body--
		}
	}
	return ends(words)
}

func first(text string) rune {
	for _, r := range text {
		return r
	}
	return 0
}

// tokens matches the next token: space, a line comment, the start of a block comment, a string
// with escapes, a string, a quoted name, the start of a dollar-quoted body, a word, or one
// character.
var tokens = regexp.MustCompile(`(?s)^(?:\s+|--[^\n]*|/\*|[eE]'(?:[^'\\]|\\.|'')*'?|'[^']*'?|"[^"]*"?` +
	`|\$(?:[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_\x{80}-\x{10ffff}]*)?\$|[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_$\x{80}-\x{10ffff}]*|.)`)

// afterComment returns the text after a block comment whose start was read. Comments nest.
func afterComment(query string) string {
	for depth := 1; depth > 0; {
		at := commentEdge.FindStringIndex(query)
		if at == nil {
			return ""
		}
		if query[at[0]] == '/' {
			depth++
		} else {
			depth--
		}
		query = query[at[1]:]
	}
	return query
}

var commentEdge = regexp.MustCompile(`/\*|\*/`)

func ends(words []string) bool {
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "COMMIT", "END", "ABORT":
		return true
	case "ROLLBACK":
		return !slices.Contains(words, "TO") // "ROLLBACK WORK TO s": the third word
	case "PREPARE":
		return len(words) > 1 && words[1] == "TRANSACTION"
	}
	return false
}
