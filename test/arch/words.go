package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// banned are the words in whose place docs/glossary.md has the field's terms:
// publish, subscribe, log, park. They are put together here, so that this file
// does not match.
var banned = strings.Fields("s" + "ay s" + "ays s" + "aid h" + "ear h" + "ears h" + "eard h" + "earer h" + "earers t" + "ell t" + "ells t" + "old " +
	"an" + "ew who" + "ever as" + "ide ro" + "use ch" + "ase ch" + "ased br" + "ought")

var bannedPhrases = regexp.MustCompile(`(?i)\b(?:carried ` + `out|for e` + `ver|keep h` + `ouse|it is the \w+ t` + `hat)\b`)

// wordsOf splits an identifier or a text: "UnheardBy" is "Unheard", "By".
var wordsOf = regexp.MustCompile(`[A-Z]?[a-z]+|[A-Z]+`)

// ceilings has a line for each folder that still has banned words: how many at
// the most. A folder without a line has none. It is made by -update-words, and
// the numbers only get smaller.
const ceilings = "test/arch/words.txt"

// wordsAreThoseOfTheGlossary looks at identifiers, comments and, in product code,
// at texts: log lines, errors, the output of commands.
func wordsAreThoseOfTheGlossary(t *tree, fault func(string, ...any)) {
	most := map[string]int{}
	for line := range strings.Lines(t.texts[ceilings]) {
		folder, n, _ := strings.Cut(strings.TrimSpace(line), " ")
		most[folder], _ = strconv.Atoi(n) // a line without a number allows none
	}
	found := bannedWords(t)
	for folder, places := range found {
		if len(places) > most[folder] {
			fault("%s: %d words that docs/glossary.md replaces, %d are allowed by %s: %s", folder, len(places), most[folder], ceilings, strings.Join(places, ", "))
		}
	}
	for folder, n := range most {
		if len(found[folder]) < n {
			fault("%s: only %d such words are left of %d: note it with `go test ./test/arch -run Words -update-words`", folder, len(found[folder]), n)
		}
	}
}

// bannedWords lists, by folder, where they are.
func bannedWords(t *tree) map[string][]string {
	found := map[string][]string{}
	note := func(s source, text string) {
		for _, word := range wordsOf.FindAllString(text, -1) {
			if slices.Contains(banned, strings.ToLower(word)) {
				found[s.dir()] = append(found[s.dir()], fmt.Sprintf("%s %s", path.Base(s.path), word))
			}
		}
		for _, phrase := range bannedPhrases.FindAllString(text, -1) {
			found[s.dir()] = append(found[s.dir()], fmt.Sprintf("%s %q", path.Base(s.path), phrase))
		}
	}
	for _, s := range t.sources {
		for _, group := range s.ast.Comments {
			note(s, group.Text())
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				note(s, n.Name)
			case *ast.BasicLit:
				if n.Kind == token.STRING && !s.test {
					note(s, n.Value)
				}
			}
			return true
		})
	}
	return found
}
