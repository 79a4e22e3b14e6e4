package devinbox

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
)

// headersOf returns the headers that the list shows; both are "" if the mail
// cannot be parsed.
func headersOf(raw []byte) (messageID, subject string) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return "", ""
	}
	subject = m.Header.Get("Subject")
	if decoded, err := new(mime.WordDecoder).DecodeHeader(subject); err == nil {
		subject = decoded
	}
	return strings.Trim(m.Header.Get("Message-ID"), "<> "), subject
}

// Bodies returns a mail's decoded text and HTML; either may be "".
func (m Message) Bodies() (text, html string) {
	read, err := mail.ReadMessage(bytes.NewReader(m.Raw))
	if err != nil {
		return string(m.Raw), ""
	}
	collect(textproto.MIMEHeader(read.Header), read.Body, &text, &html, 0)
	return text, html
}

func collect(header textproto.MIMEHeader, body io.Reader, text, html *string, depth int) {
	const deepest = 5 // nested parts; our mails have one level
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && depth < deepest {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err != nil {
				return // the end, or invalid
			}
			collect(part.Header, part, text, html, depth+1)
		}
	}
	switch strings.ToLower(header.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	read, _ := io.ReadAll(body) // as far as it can be decoded
	switch kind {
	case "text/plain":
		*text += string(read)
	case "text/html":
		*html += string(read)
	}
}
