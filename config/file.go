package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"millrace/platform/errs"
)

// ErrUnread is wrapped by Load's error if the file could not be read at all.
// The returned Config is then not what the file means.
var ErrUnread = errors.New("no setting was read from it")

// file is a configuration file as far as it could be read. Values are kept as
// written, because YAML would change values such as 0123, 1e5 or yes.
type file struct {
	path   string
	all    []setting
	values map[string]value
	lines  map[string]int // line of each key, including sections
	faults []error
}

// value is a setting's value from a file or a variable.
type value struct {
	text string
	list []string // for a list
	from string   // the line, for errors; "" for a variable
}

func unread(path, format string, args ...any) error {
	return &errs.Error{Kind: errs.Invalid, Msg: "configuration file " + path + ": " + fmt.Sprintf(format, args...), Err: ErrUnread}
}

// readFile reads the settings of a file. Its error is ErrUnread; faults in
// single settings are collected in the file.
func readFile(path string, all []setting) (*file, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &errs.Error{Kind: errs.Invalid, Msg: "there is no configuration file " + path, Err: ErrUnread}
	} else if err != nil {
		return nil, unread(path, "%s", err)
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	if line := notUTF8(content); line > 0 {
		return nil, unread(path, "line %d is not UTF-8: save the file with this encoding", line)
	}
	f := &file{path: path, all: all, values: map[string]value{}, lines: map[string]int{}}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, another yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return f, nil // empty, or only comments
	} else if err != nil {
		return nil, unread(path, "%s", explain(err))
	}
	if err := decoder.Decode(&another); err == nil {
		return nil, unread(path, "line %d begins another document (after ---): keep one", another.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, unread(path, "%s", explain(err))
	}
	switch root := document.Content[0]; {
	case root.Kind == yaml.MappingNode:
		f.section(root, "")
	case !isNull(root):
		return nil, unread(path, "line %d is no setting: each is written as name: value", root.Line)
	}
	return f, nil
}

func notUTF8(content []byte) (line int) {
	for text := range bytes.Lines(content) {
		if line++; !utf8.Valid(text) {
			return line
		}
	}
	return 0
}

var unknownAnchor = regexp.MustCompile(`unknown anchor '.*' referenced`)

// explain returns the parser's error without parts that may be secret.
func explain(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	switch {
	case unknownAnchor.MatchString(text):
		return "a value begins with *, which YAML takes for a reference: put it in quotes"
	case strings.Contains(text, "cannot start any token"):
		return text + " (lines are indented with blanks, not with tabs, and a value that begins with @, ` or % is put in quotes)"
	}
	return text + " (a value with a colon, a # or brackets in it is put in quotes)"
}

// section reads a mapping. path is the section's name with a dot at the end.
func (f *file) section(mapping *yaml.Node, path string) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, node := mapping.Content[i], mapping.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			f.fault(path+"<<", key.Line, "a merge of YAML is not read here: write the settings out")
			continue
		}
		name := path + key.Value
		if first := f.lines[name]; first > 0 {
			f.fault(name, key.Line, "is set twice, first in line %d: keep one of them", first)
			continue
		}
		f.lines[name] = key.Line
		f.entry(name, key, node)
	}
}

func (f *file) entry(name string, key, node *yaml.Node) {
	if node.Kind == yaml.AliasNode && node.Alias.Kind != yaml.ScalarNode {
		node = node.Alias
	}
	known := slices.IndexFunc(f.all, func(s setting) bool { return s.name == name })
	isSection := slices.ContainsFunc(f.all, func(s setting) bool { return strings.HasPrefix(s.name, name+".") })
	switch {
	case known >= 0:
		f.setting(f.all[known], node)
	case !isSection && node.Kind == yaml.MappingNode && len(node.Content) > 0 && node.Anchor == "":
		for i := 0; i+1 < len(node.Content); i += 2 { // the full name helps to see what was meant
			f.entry(name+"."+node.Content[i].Value, node.Content[i], node.Content[i+1])
		}
	case !isSection:
		f.fault(name, key.Line, "no setting has this name%s; `millrace config` lists them all", suggestion(name, namesOf(f.all)))
	case node.Kind == yaml.MappingNode:
		f.section(node, name+".")
	case !isNull(node):
		f.fault(name, key.Line, "is a section: its settings stand below it, indented")
	}
}

func (f *file) setting(s setting, node *yaml.Node) {
	isList := s.field.Kind() == reflect.Slice
	got := value{from: fmt.Sprintf(" (line %d of %s)", node.Line, f.path)}
	switch {
	case isNull(node) && (node.Value == "" && node.Anchor == "" || s.field.Kind() != reflect.String):
		return // no value
	case node.Kind == yaml.ScalarNode, node.Kind == yaml.AliasNode:
		if !f.plain(s.name, node) {
			return
		}
		got.text = node.Value
	case node.Kind == yaml.SequenceNode && isList:
		got.list = []string{}
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode && item.Kind != yaml.AliasNode {
				f.fault(s.name, item.Line, "has an item that is not one value")
				return
			}
			if !f.plain(s.name, item) {
				return
			}
			got.list = append(got.list, item.Value)
		}
	case isList:
		f.fault(s.name, node.Line, "must be a list")
		return
	default:
		f.fault(s.name, node.Line, "must be one value, and no list or section")
		return
	}
	f.values[s.name] = got
}

// plain reports whether the parsed value of a scalar is the text as written.
func (f *file) plain(name string, node *yaml.Node) bool {
	quoted := node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch {
	case node.Kind == yaml.AliasNode:
		f.fault(name, node.Line, "begins with *, which YAML takes for a reference: put it in quotes, or write the value out")
	case node.Anchor != "":
		f.fault(name, node.Line, "begins with &, which YAML takes for a name: put it in quotes")
	case strings.HasPrefix(node.Tag, "!") && !strings.HasPrefix(node.Tag, "!!"), node.Tag == "!!binary":
		f.fault(name, node.Line, "begins with !, which YAML takes for a type: put it in quotes")
	case isNull(node) && !quoted:
		f.fault(name, node.Line, "is nothing to YAML: put it in quotes if it is meant as text, or leave it out")
	default:
		return true
	}
	return false
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

func (f *file) fault(name string, line int, format string, args ...any) {
	f.faults = append(f.faults, errs.InvalidField(name, "%s (line %d of %s)", fmt.Sprintf(format, args...), line, f.path))
}
