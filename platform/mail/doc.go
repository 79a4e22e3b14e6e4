// Package mail hands one mail at a time to an SMTP server, and says whether
// trying again can help.
//
// What it promises:
//
//   - Send returns nil if and only if the server accepted the mail. A
//     connection that breaks after the acceptance does not make it a failure.
//   - The Message-ID is made of Message.ID and the sender's domain: the same ID
//     gives the same Message-ID, so that a mail sent twice can be recognised.
//   - Send ends when its context does: the connection is then closed, also in
//     the middle of a conversation with a server that hangs.
//   - Errors have a kind (package errs). Invalid: the server refused this mail
//     for good (a 5xx answer to the sender, the recipient or the content), or
//     the message itself cannot be written; the same mail is refused again.
//     Resource: everything else, as a server that is away, busy (4xx), that
//     hangs or does not know our password; it may pass.
//   - An error carries the step and the server's code, never its text: servers
//     like to repeat the address in it, and errors end up in logs and events.
//
// What it does not promise: that a mail is accepted once. When the process
// dies, or the connection breaks, between the server's acceptance and the
// arrival of its answer, the mail was accepted and nobody here knows: the
// caller sends it again, with the same Message-ID.
//
// The conversation is encrypted (STARTTLS, or TLS from the start on port 465,
// certificates checked) unless the server is on loopback or Config.TLS says
// "plaintext". A password is never sent in the clear.
//
// Each Send is one connection. Package devinbox is a server for development
// and tests.
package mail
