// Package inquiryapi is the contract of the inquiry module, the chat between a
// customer and a hospital: what it says.
//
// Each consultation has one room. [CardPosted] says that a status card appeared
// in it, [MessagePosted] that someone wrote. Neither carries a text: what
// people write stays in the module, and a card's text follows from its fields.
//
// The key of both is the decimal consultation id. Position is the place in the
// room: 1, 2, 3, … without gaps, over cards and messages together.
package inquiryapi
