package notification

import (
	"embed"
	"fmt"
	htmltemplate "html/template"
	"strings"
	texttemplate "text/template"
	"unicode"

	"millrace/platform/errs"
)

// rendered is a mail's content.
type rendered struct {
	Title string // the mail's subject line
	Text  string
	HTML  string
}

// files holds the texts: one file for each language, with "<template>.title"
// and "<template>.text" in it. The HTML is generated from the same text, so the
// two never differ.
//
//go:embed templates
var files embed.FS

var (
	texts = map[language]*texttemplate.Template{
		korean: parseTexts(korean), english: parseTexts(english),
	}
	layout = htmltemplate.Must(htmltemplate.ParseFS(files, "templates/layout.html"))
)

// parseTexts panics if a template does not parse: the templates are compiled
// in.
func parseTexts(lang language) *texttemplate.Template {
	funcs := texttemplate.FuncMap{
		"money":   func(amount, currency string) (string, error) { return money(lang, amount, currency) },
		"failure": func(code string) string { return failureReason(lang, code) },
		"refund":  func(reason string) string { return refundReason(lang, reason) },
		"actor":   func(actor string) string { return actorName(lang, actor) },
		"carrier": func(carrier string) string { return carrierName(lang, carrier) },
	}
	return texttemplate.Must(texttemplate.New("").Option("missingkey=error").Funcs(funcs).
		ParseFS(files, "templates/"+string(lang)+".txt"))
}

// render renders a notification in a language. Its errors are Invalid: the same
// parameters fail every time.
func render(n notification, lang language) (rendered, error) {
	return renderAs(n.Template, n.data(), lang)
}

// data returns the values for a notification's template.
func (n notification) data() map[string]any {
	data := map[string]any{"subject": n.Subject}
	for name, value := range n.Params {
		data[name] = value
	}
	return data
}

func renderAs(template string, data map[string]any, lang language) (r rendered, err error) {
	title, err := renderPart(template+".title", data, lang)
	if err != nil {
		return rendered{}, err
	}
	text, err := renderPart(template+".text", data, lang)
	if err != nil {
		return rendered{}, err
	}
	foot, err := renderPart("foot", data, lang)
	if err != nil {
		return rendered{}, err
	}
	r = rendered{Title: strings.Map(printable, title), Text: text + "\n\n" + foot}
	var html strings.Builder
	if err := layout.Execute(&html, map[string]any{"Language": lang, "Title": r.Title, "Paragraphs": paragraphs(r.Text)}); err != nil {
		return rendered{}, fmt.Errorf("layout of %s: %w", template, err)
	}
	r.HTML = html.String()
	return r, nil
}

func renderPart(name string, data map[string]any, lang language) (string, error) {
	var text strings.Builder
	if err := texts[lang].ExecuteTemplate(&text, name, data); err != nil {
		return "", errs.New(errs.Invalid, "template %s in %s: %w", name, lang, err)
	}
	return strings.TrimSpace(text.String()), nil
}

// paragraphs splits a text at its blank lines and returns the lines of each
// paragraph.
func paragraphs(text string) [][]string {
	var all [][]string
	for block := range strings.SplitSeq(text, "\n\n") {
		if block = strings.TrimSpace(block); block != "" {
			all = append(all, strings.Split(block, "\n"))
		}
	}
	return all
}

// printable maps control characters to -1, so that strings.Map drops them from
// a header.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}
