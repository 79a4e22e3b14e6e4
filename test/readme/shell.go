package readme

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Command is a shell command in a document, without comments and variables.
type Command struct {
	File string   // "docs/kafka.md"
	Args []string // "go", "run", "./cmd/millrace"
}

// String returns the document and the command, for messages.
func (c Command) String() string { return c.File + ": " + strings.Join(c.Args, " ") }

// Millrace returns the arguments of the program, if the command runs it.
func (c Command) Millrace() (args []string, ok bool) {
	switch {
	case c.Args[0] == "millrace":
		return c.Args[1:], true
	case len(c.Args) > 2 && c.Args[0] == "go" && c.Args[1] == "run" && c.Args[2] == "./cmd/millrace":
		return c.Args[3:], true
	}
	return nil, false
}

// Documents returns the texts of all documents under root, by path.
func Documents(root string) (map[string]string, error) {
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "test/README.md"} {
		paths, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			found[filepath.ToSlash(name)] = string(text)
		}
	}
	return found, nil
}

var (
	fenced   = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	variable = regexp.MustCompile(`^[A-Z][A-Z0-9_]*=`)
)

// Shell returns the commands of the sh blocks in all documents under root.
func Shell(root string) ([]Command, error) {
	documents, err := Documents(root)
	if err != nil {
		return nil, err
	}
	var all []Command
	for file, text := range documents {
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			for _, line := range strings.Split(strings.ReplaceAll(block[1], "\\\n", " "), "\n") {
				args, err := words(line)
				if err != nil {
					return nil, fmt.Errorf("%s: %q: %w", file, line, err)
				}
				for len(args) > 0 && variable.MatchString(args[0]) {
					args = args[1:]
				}
				if len(args) > 0 {
					all = append(all, Command{file, args})
				}
			}
		}
	}
	return all, nil
}

// words splits a line like a shell. It supports what the documents use: blanks, both
// kinds of quotes, and comments, but no variables and no pipes.
func words(line string) (all []string, err error) {
	var word strings.Builder
	var quote rune
	in := false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, in = r, true
		case r == '#' && !in:
			return all, nil
		case r == ' ':
			if in {
				all = append(all, word.String())
				word.Reset()
				in = false
			}
		default:
			word.WriteRune(r)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote is open")
	}
	return all, nil
}
