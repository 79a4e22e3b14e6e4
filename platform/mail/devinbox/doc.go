// Package devinbox is a mail server for development and tests: it speaks real
// SMTP on loopback, delivers nothing to anybody, and shows what it received on
// a page.
//
// What it promises:
//
//   - A mail is in Messages before the client hears that it was accepted.
//   - Messages are kept in the order of their acceptance, each as often as it
//     was accepted: two with one Message-ID are a mail that was sent twice.
//   - The page runs no script, and nothing of a mail is ever part of it but as
//     text. A mail's HTML is shown in a sandboxed frame, under a policy that
//     loads nothing.
//
// Its pages lead back to the start page of the server that it is part of, at /.
//
// What it does not: it keeps mails in memory only, the newest Config.Keep of
// them; it listens on loopback only and asks for no password.
//
// [Inbox.Misbehave] makes it refuse, put off, hang or break, by recipient, so
// that a sender's answer to each can be tested.
package devinbox
