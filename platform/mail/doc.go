// Package mail sends one mail at a time to an SMTP server, and reports whether
// a retry can help.
//
// # Guarantees
//
//   - Send returns nil if and only if the server accepted the mail. It also
//     returns nil if the connection breaks after that.
//   - The Message-ID consists of Message.ID and the sender's domain. The same
//     ID gives the same Message-ID, so a mail that was sent twice can be
//     recognized.
//   - Send ends when its context does: it then closes the connection, even if
//     the server does not respond.
//   - ParseAddress is the only rule for addresses: what it accepts can be sent,
//     and Send rejects everything else as Final.
//   - Errors are *Error. The Meaning distinguishes errors of one mail (Final,
//     Later) from errors of every mail (Account, Unreachable). refusal.go has
//     the table from the step and the server's answer to the meaning.
//   - An error contains the step and the server's code, never the server's
//     text: servers often quote the address, and errors end up in logs and
//     events.
//   - Send requires no optional SMTP extension. EHLO names the sender's domain
//     as A-labels, or the address of our end of the connection if remote
//     servers would not accept the domain.
//
// # Not guaranteed
//
// That a mail is accepted only once. If the process dies or the connection
// breaks after the server accepted a mail and before its answer arrived, the
// caller cannot know that it was accepted, and sends it again with the same
// Message-ID.
//
// # Encryption
//
// The session is encrypted with checked certificates (STARTTLS, or TLS from the
// start on port 465), unless the server is on loopback or Config.TLS is
// "plaintext". A password is never sent unencrypted.
//
// Each Send uses its own connection. Package devinbox is a server for
// development and tests.
package mail
