// Package paymentapi is the contract of the payment module: its events, its
// command, and the format of order keys.
//
// # Guarantees
//
//   - A captured payment has exactly one [Completed], written in the transaction
//     that captured it. A payment that the provider refused has exactly one
//     [Failed]. In rare cases a charge succeeds after that: then the Completed of
//     the same payment follows its Failed.
//   - A [Refunded] follows the Completed of the same payment, at most once. It
//     means that the whole captured amount was returned, by a Refund command or at
//     the provider. Exception: a Refunded with Duplicate set has no Completed
//     before it. A Refunded is never about another payment of the same order.
//   - Key is the order key, so the events of one order are handled in order. An
//     order whose payment failed may be paid again: its Failed comes first, and
//     the next payment has another payment id. A deposit may also be paid again
//     after its Refunded.
//   - [Refund] may be sent repeatedly and early. A second one for an order that
//     is refunded or being refunded changes nothing. One that arrives while the
//     payment is pending is stored and starts when the payment is captured. It
//     refunds the payment that it names, or else the order's payment that is open
//     or captured. Without such a payment it becomes a dead letter, because its
//     sender expects money back that was never taken, and a person must look.
//
// # Not guaranteed
//
//   - Partial refunds.
//   - An order between the events of different orders.
//
// Amounts are whole minor units of an ISO 4217 currency (KRW has no decimals:
// 15000 is ₩15,000; USD has two: 1500 is $15.00). Times are UTC, RFC 3339. No
// message contains personal data: a user is an id.
//
// An invalid message (an amount outside 1 to MaxAmount, an unknown currency, a
// malformed order key, an order kind that does not match the key, no user) fails
// its Validate and becomes a dead letter in each module that handles it.
//
// Contracts grow by adding fields; readers ignore unknown fields.
package paymentapi
