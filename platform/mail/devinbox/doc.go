// Package devinbox is a mail server for development and tests: it accepts mails
// over SMTP on loopback, delivers none, and shows them on a web page.
//
// # Guarantees
//
//   - A mail is in Messages before the client gets the answer that it was
//     accepted.
//   - Messages are in the order of acceptance, and every acceptance is one
//     entry: a mail that was sent twice appears twice, with the same
//     Message-ID.
//   - The pages run no script, and contain data of mails only as escaped text.
//     A mail's HTML is shown in a sandboxed frame, under a policy that loads
//     nothing.
//
// The pages link to the start page of the surrounding server, at /.
//
// # Limits
//
// Mails are kept in memory only: the newest Config.Keep, and at most
// Config.KeepBytes. Mails over 1 MiB are refused. The server listens on
// loopback only and requires no password.
//
// [Inbox.Misbehave] makes the server refuse, delay, hang or disconnect by
// recipient, to test how a sender reacts.
package devinbox
