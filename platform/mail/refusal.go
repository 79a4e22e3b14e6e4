package mail

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"millrace/platform/errs"
)

// Meaning is what a failed Send affects, and so what helps.
type Meaning int

// The meanings.
const (
	Final       Meaning = iota + 1 // this mail is refused permanently; others are not affected
	Later                          // this mail is refused temporarily (greylisting, a busy mailbox)
	Account                        // the server rejects or rate-limits this account or machine: every mail waits
	Unreachable                    // the server is unreachable or does not work: every mail waits
)

// Error is the error of a failed Send. Its text names the step and the server's
// code. It never quotes the server's text, which often contains the address.
type Error struct {
	Meaning Meaning
	Fix     string // what an operator must do; "" unless every mail waits
	err     error
}

func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns an error of package errs: Invalid if the meaning is Final,
// else Resource.
func (e *Error) Unwrap() error { return e.err }

// step is a step of an SMTP session. The value is its name in errors.
type step string

const (
	greeting  step = "the connection"
	hello     step = "the greeting"
	startTLS  step = "encryption"
	signIn    step = "the sign-in"
	sender    step = "the sender"
	recipient step = "the recipient"
	content   step = "the content"
)

const (
	fixServer  = "start the mail server, or correct mail.smtp.host and mail.smtp.port; mails go on by themselves"
	fixSignIn  = "correct mail.smtp.user and mail.smtp.password, and see that the provider lets this account use SMTP; mails go on by themselves"
	fixLimit   = "the provider limits what this account may send: raise the limit, or wait; mails go on by themselves"
	fixAccount = "ask the mail provider why it refuses mail of this sender (mail.from) from this machine; mails go on by themselves"
)

// rule is one row of the table from a server's answer to its meaning. An empty
// field matches everything.
type rule struct {
	at     []step
	code   string         // prefix of the reply code
	status *regexp.Regexp // enhanced status code
	words  *regexp.Regexp // the server's text, in lower case
	not    *regexp.Regexp // the text must not match this
	means  Meaning
	fix    string
	source string
}

func status(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }

var atMail = []step{sender, recipient, content}

// rules are checked in order; the first match decides. Reply codes are from RFC
// 5321, status codes from RFC 3463 and the IANA registry. Gmail:
// support.google.com/a/answer/3726730; M365:
// learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online.
var rules = []rule{
	// About this mail, at any step.
	{at: atMail, code: "5", status: status(`5\.3\.4`), means: Final, source: "RFC 3463: the message is too big for the server"},

	// Steps before MAIL are never about one mail.
	{at: []step{signIn}, means: Account, fix: fixSignIn, source: "RFC 4954: 454, 534, 535, 538"},
	{at: []step{greeting, hello, startTLS}, code: "5", means: Account, fix: fixAccount, source: "RFC 5321: 554 at the greeting, 550 to EHLO"},
	{at: []step{greeting, hello, startTLS}, status: status(`4\.7\.\d+`), means: Account, fix: fixLimit, source: "Gmail: 421 4.7.0; M365: 421 4.7.5xx, 4.7.6xx"},
	{at: []step{greeting, hello, startTLS}, means: Unreachable, fix: fixServer, source: "RFC 5321: 421"},

	// About a recipient that accepts mail from some senders only.
	{at: atMail, code: "5", status: status(`5\.7\.1(2\d|3[0-6])`), means: Final, source: "M365: 550 5.7.124, 5.7.133 to 5.7.136: the group takes mail of its members only"},

	// About the account, at any step.
	{code: "53", means: Account, fix: fixSignIn, source: "RFC 4954, RFC 3207: 530, 534, 535, 538"},
	{code: "454", status: status(`|4\.7\.\d+`), means: Account, fix: fixSignIn, source: "RFC 4954: 454 4.7.0; Postfix: 454 4.7.1 relay access denied"},
	{status: status(`[45]\.4\.5`), means: Account, fix: fixLimit, source: "Gmail: 550 5.4.5 daily sending limit; RFC 3463: congestion"},
	{status: status(`[45]\.5\.3`), means: Account, fix: fixLimit, source: "RFC 3463: too many recipients, of a mail that has one; Gmail: 452 4.5.3"},
	{status: status(`[45]\.1\.[78]`), means: Account, fix: fixAccount, source: "RFC 3463: the sender's address; M365: 550 5.1.8 bad outbound sender"},
	{status: status(`5\.7\.(57|60|64|68|139|750)`), means: Account, fix: fixSignIn, source: "M365: not signed in, or not allowed to send as this sender"},
	{status: status(`[45]\.7\.(2[0-9]|3[0-2])`), means: Account, fix: fixAccount, source: "RFC 7372 and Gmail: SPF, DKIM, DMARC, reverse DNS of the sender"},
	{status: status(`[45]\.7\.(5\d\d|6\d\d|7\d\d)`), means: Account, fix: fixLimit, source: "M365: 4.7.500 busy, 5.7.5xx and 5.7.6xx blocked, 5.7.7xx limits of the tenant"},
	{words: ourLimit, not: ofRecipient, means: Account, fix: fixLimit, source: "Gmail: 450 4.2.1 and 550 5.7.1 SMTP relay limit; many servers: rate limit exceeded"},
	{words: anyLimit, not: theirs, means: Account, fix: fixLimit, source: "many servers: quota exceeded"},
	{words: noRelay, means: Account, fix: fixSignIn, source: "many servers: 550 5.7.1 relaying denied; SendGrid: 550 unauthenticated senders"},
	{words: ourHost, means: Account, fix: fixAccount, source: "Postfix: 554 5.7.1 client host rejected, 504 5.5.2 HELO command rejected; Yahoo: 451 [TSS04]"},
	{words: ourSender, not: toRecipient, means: Account, fix: fixAccount, source: "Postfix: 553 5.7.1 sender address rejected; M365: 554 5.2.252 SendAsDenied; SES, SendGrid, Postmark, Mailgun: sender not verified"},
	{words: ourAccount, means: Account, fix: fixAccount, source: "SES: 554 sending paused; Mailgun: 550 your account is suspended"},
	{status: status(`[45]\.7\.\d+`), words: anAccount, means: Account, fix: fixAccount, source: "Mailgun: 550 5.7.1 account disabled; 5.2.1 is the recipient's"},
	{at: []step{content}, words: anAccount, means: Account, fix: fixAccount, source: "the recipient was accepted: it is our account"},
	{words: blocked, not: byRecipient, means: Account, fix: fixAccount, source: "Postfix: 554 5.7.1 client host blocked using a block list"},
	{at: []step{sender}, code: "5", means: Account, fix: fixAccount, source: "RFC 5321: 550, 552, 553 and 554 to MAIL"},
	{code: "421", status: status(`4\.7\.\d+`), means: Account, fix: fixLimit, source: "Gmail: 421 4.7.0 rate of this machine"},

	// About the server.
	{code: "421", means: Unreachable, fix: fixServer, source: "RFC 5321: the server closes the connection"},
	{status: status(`[45]\.3\.[12]`), means: Unreachable, fix: fixServer, source: "RFC 3463: the server's storage is full; it accepts no mail"},
	{at: []step{sender}, status: status(`4\.3\.\d+`), means: Unreachable, fix: fixServer, source: "RFC 3463: the server's system"},
	{at: []step{sender}, code: "4", means: Account, fix: fixLimit, source: "RFC 5321: 450, 451, 452 to MAIL"},
	{code: "500", means: Unreachable, fix: fixServer, source: "RFC 5321: the server does not know the command"},
	{code: "502", means: Unreachable, fix: fixServer, source: "RFC 5321: the server does not have the command"},
	{code: "503", means: Unreachable, fix: fixServer, source: "RFC 5321: bad sequence of commands"},

	// About this mail: its recipient or its content.
	{at: []step{recipient, content}, code: "4", means: Later, source: "RFC 5321: 450, 451, 452; greylisting (RFC 6647)"},
	{at: []step{recipient, content}, code: "5", means: Final, source: "RFC 5321: 550 no such mailbox, 552, 553, 554"},
	{means: Unreachable, fix: fixServer, source: "an answer that is none of SMTP's"},
}

// Patterns for what a text is about: our limit, host, sender or account, or the
// recipient. Addresses are removed from a text first. If several patterns
// match, the order of the rules decides.
var (
	ourLimit = regexp.MustCompile(`rate.?limit|(sending|relay|submission) (limit|quota|rate)|(daily|hourly|monthly|per (day|hour|minute)).{0,40}(limit|quota)|(limit|quota).{0,40}(per (day|hour|minute)|daily|hourly|monthly)|\byour .{0,30}(limit|quota)\b|` +
		`too many (messages|mails|emails|e-mails|connections|recipients)|throttl|max(imum)? (e-?mails?|messages?|recipients?|defers?) (per|this|in)|(e-?mails|messages|recipients) (per|this|in (an?|one|the last)) (minute|hour|day)|` +
		`unusual .{0,20}activity|credits? (limit )?exceeded|(limit|number) (on|of) .{0,20}(allowed|outgoing) .{0,20}messages|(발송|발신|전송).{0,20}(한도|제한|초과)`)
	anyLimit    = regexp.MustCompile(`(limit|quota) (was |is |has been )?(exceeded|reached)|exceed(ed|s)? .{0,30}(limit|quota)`)
	theirs      = regexp.MustCompile(`mailbox|inbox|recipient|user|size|length|large|storage|space|disk|folder|account that you tried`)
	ofRecipient = regexp.MustCompile(`(user|account|person|recipient|address|contact) (that )?you (are|were) trying|(user|recipient|customer)('s)? (mailbox|inbox|account)|mailbox .{0,30}(quota|full|size|storage)|receiving (mail|e-?mail|messages)|수신자|받는 ?사람|메일함|편지함|사서함`)
	noRelay     = regexp.MustCompile(`relay(ing)? (access )?(is )?(denied|disallowed|not (permitted|allowed)|prohibited)|(unable|not (permitted|allowed)) to relay|credentials for relay|authentication (is )?required|must (first )?(be )?authenticat|must issue a starttls|smtp auth\b|unauthenticated (senders?|commands?|users?|clients?)|(senders?|client|you) (is|are|was) not authenticated`)
	ourHost     = regexp.MustCompile(`client host rejected|\b(helo|ehlo)\b|(messages|mail|connections?) from .{0,60}(deferred|not (be )?accepted)`)
	ourSender   = regexp.MustCompile(`sender address rejected|sender (was |is )?(rejected|denied|not allowed|verif\w+ failed)|send ?as ?denied|sender signature|sender identity|from address .{0,60}(verified|match)|(address|identity|identities|domain|sender) (is |are |was )?(not |un)verified|not (allowed|authori[sz]ed|permitted) to send|permissions? to send|ses:send|sandbox (sub)?domain`)
	toRecipient = regexp.MustCompile(`to send ((e-?mails?|messages?|mail) )?to\b`)
	ourAccount  = regexp.MustCompile(`sending (is |was |has been )?(paused|suspended|disabled|blocked)|your .{0,40}(account|domain) .{0,30}(suspended|disabled|blocked|locked|deactivated)|(발송|발신|전송).{0,20}(정지|중지|차단|불가)`)
	anAccount   = regexp.MustCompile(`account (is |was |has been |temporarily )*(suspended|disabled|blocked|locked|deactivated)|계정.{0,20}(정지|중지|차단|잠)`)
	blocked     = regexp.MustCompile(`spamhaus|block ?list|black ?list|(client|host|ip|address|sender|\d+\.\d+\.\d+\.\d+\]?).{0,80}\bblocked\b`)
	byRecipient = regexp.MustCompile(`blocked by (the |this )?(recipient|user)`)
)

func (r rule) matches(at step, code int, status, text string) bool {
	return (len(r.at) == 0 || slices.Contains(r.at, at)) &&
		strings.HasPrefix(strconv.Itoa(code), r.code) &&
		(r.status == nil || r.status.MatchString(status)) &&
		(r.words == nil || r.words.MatchString(text)) &&
		(r.not == nil || !r.not.MatchString(text))
}

var statusForm = regexp.MustCompile(`^([245]\.\d{1,3}\.\d{1,3})\b`)

// address matches anything that looks like an address, because words in it must
// not match a rule.
var address = regexp.MustCompile(`<?[^\s<>@]+@[^\s<>@]+>?`)

// refused returns the meaning of the server's answer at a step.
func refused(at step, answer *textproto.Error) *Error {
	status := statusForm.FindString(answer.Msg)
	text := strings.ToLower(address.ReplaceAllString(strings.ReplaceAll(answer.Msg, "\n", " "), "<>"))
	for _, r := range rules {
		if r.matches(at, answer.Code, status, text) {
			return failure(r.means, r.fix, "the mail server refused %s (%s)", at, strings.TrimSpace(fmt.Sprintf("%d %s", answer.Code, status)))
		}
	}
	return failure(Unreachable, fixServer, "the mail server refused %s (%d)", at, answer.Code) // impossible: the last rule matches everything
}

// broken returns the meaning of a step that ended without an answer. If the
// content was sent, the mail may have been accepted, so the meaning is Later:
// each retry uses up an attempt, which limits the number of duplicates.
func broken(at step, contentSent, inTime bool, err error) *Error {
	means, fix := Unreachable, fixServer
	if contentSent {
		means, fix = Later, ""
	}
	var protocol textproto.ProtocolError
	var network net.Error
	lost := errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case !inTime:
		return failure(means, fix, "the mail server did not answer in time (%s)", at)
	case errors.As(err, &protocol): // its text quotes the server
		return failure(means, fix, "the mail server does not speak SMTP (%s)", at)
	case at == signIn && !lost: // the mechanism failed, for example because the server's challenge shows that it does not know the password
		return failure(Account, fixSignIn, "the mail server and we cannot agree on a sign-in")
	}
	return failure(means, fix, "the connection to the mail server broke (%s): %w", at, err)
}

func failure(means Meaning, fix, format string, args ...any) *Error {
	kind := errs.Resource
	if means == Final {
		kind = errs.Invalid
	}
	return &Error{Meaning: means, Fix: fix, err: errs.New(kind, format, args...)}
}
