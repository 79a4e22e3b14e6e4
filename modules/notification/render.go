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

// rendered is what a user reads.
type rendered struct {
	Title string // the mail's subject line
	Text  string
	HTML  string
}

// The texts: one file for each language, in it "<template>.title" and
// "<template>.text". The HTML is the same text in one layout, so that the two
// never differ.
//
//go:embed templates
var files embed.FS

var (
	texts = map[language]*texttemplate.Template{
		korean: parseTexts(korean), english: parseTexts(english),
	}
	layout = htmltemplate.Must(htmltemplate.ParseFS(files, "templates/layout.html"))
)

// parseTexts panics on a template that does not parse: they are compiled in.
func parseTexts(lang language) *texttemplate.Template {
	funcs := texttemplate.FuncMap{
		"money": func(amount, currency string) (string, error) { return money(lang, amount, currency) },
		"word":  func(w string) string { return word(lang, w) },
	}
	return texttemplate.Must(texttemplate.New("").Option("missingkey=error").Funcs(funcs).
		ParseFS(files, "templates/"+string(lang)+".txt"))
}

// words are the codes that appear in mails, as each language says them.
var words = map[language]map[string]string{
	korean: {
		"MEMBER": "고객", "HOSPITAL": "병원", "SYSTEM": "시스템",
		"cj-logistics": "CJ대한통운", "korea-post": "우체국택배", "ems": "EMS",
		"insufficient_funds": "잔액 부족", "card_declined": "카드사 승인 거절", "declined": "승인 거절",
		"address cannot be served": "배송할 수 없는 주소",
	},
	english: {
		"MEMBER": "the customer", "HOSPITAL": "the hospital", "SYSTEM": "the system",
		"cj-logistics": "CJ Logistics", "korea-post": "Korea Post", "ems": "EMS",
		"insufficient_funds": "insufficient funds", "card_declined": "the card was declined",
		"address cannot be served": "no carrier serves the address",
	},
}

// word says a code in the language; one without a row is shown as it is.
func word(lang language, code string) string {
	if said, known := words[lang][code]; known {
		return said
	}
	return code
}

// render writes a notification in a language. An error is Invalid: the same
// parameters never become a text.
func render(n notification, lang language) (r rendered, err error) {
	data := map[string]string{"subject": n.Subject}
	for name, value := range n.Params {
		data[name] = value
	}
	part := func(name string) string {
		var text strings.Builder
		if e := texts[lang].ExecuteTemplate(&text, name, data); e != nil && err == nil {
			err = errs.New(errs.Invalid, "template %s in %s: %w", n.Template, lang, e)
		}
		return strings.TrimSpace(text.String())
	}
	r.Title = strings.Map(printable, part(n.Template+".title"))
	r.Text = part(n.Template+".text") + "\n\n" + part("foot")
	if err != nil {
		return rendered{}, err
	}
	var html strings.Builder
	if err := layout.Execute(&html, map[string]any{"Language": lang, "Title": r.Title, "Paragraphs": paragraphs(r.Text)}); err != nil {
		return rendered{}, fmt.Errorf("layout of %s: %w", n.Template, err)
	}
	r.HTML = html.String()
	return r, nil
}

// paragraphs are the lines of a text, by its blank lines.
func paragraphs(text string) [][]string {
	var all [][]string
	for block := range strings.SplitSeq(text, "\n\n") {
		if block = strings.TrimSpace(block); block != "" {
			all = append(all, strings.Split(block, "\n"))
		}
	}
	return all
}

// printable drops what must not be in a header.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}
