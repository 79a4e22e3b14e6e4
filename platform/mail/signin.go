package mail

import (
	"slices"
	"strings"

	"github.com/wneessen/go-mail/smtp"
)

// signIn authenticates with the best mechanism that both sides support. On an
// unencrypted connection it uses none that reveals the password.
func (s *Sender) signIn(client *smtp.Client) error {
	_, line := client.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(line))
	user, password := s.cfg.User, s.cfg.Password
	state, err := client.GetTLSConnectionState()
	encrypted := err == nil
	for _, m := range []struct {
		name  string
		plain bool // reveals the password, so needs encryption
		with  func() smtp.Auth
	}{
		{"SCRAM-SHA-256-PLUS", true, func() smtp.Auth { return smtp.ScramSHA256PlusAuth(user, password, state) }},
		{"SCRAM-SHA-256", false, func() smtp.Auth { return smtp.ScramSHA256Auth(user, password) }},
		{"SCRAM-SHA-1-PLUS", true, func() smtp.Auth { return smtp.ScramSHA1PlusAuth(user, password, state) }},
		{"SCRAM-SHA-1", false, func() smtp.Auth { return smtp.ScramSHA1Auth(user, password) }},
		{"NTLM", false, func() smtp.Auth { return smtp.NTLMAuth(user, password, "") }},
		{"CRAM-MD5", false, func() smtp.Auth { return smtp.CRAMMD5Auth(user, password) }},
		{"PLAIN", true, func() smtp.Auth { return smtp.PlainAuth("", user, password, s.cfg.Host, false) }},
		{"LOGIN", true, func() smtp.Auth { return smtp.LoginAuth(user, password, s.cfg.Host, false) }},
	} {
		if slices.Contains(offered, m.name) && (encrypted || !m.plain) {
			return client.Auth(m.with())
		}
	}
	return failure(Account, fixSignIn, "the mail server offers no sign-in that can be used on this connection")
}
